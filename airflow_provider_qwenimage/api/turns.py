"""Lets so many do something at a time; the others wait in line, and cost next to nothing there.

aiohttp has such a line too, for free connections. But a request that stands in it is complete, some sixty objects, and
where thousands stand there they are what memory and garbage collection go into.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """A number of places. Belongs to one event loop.

    :param places: how many there are.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._line: deque[asyncio.Future[None]] = deque()

    async def enter(self, timeout: float) -> None:
        """Take a place; whoever does gives it back with ``leave``.

        :param timeout: seconds to wait for one.
        :raises asyncio.TimeoutError: there was none in that time.
        """
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await asyncio.wait([turn], timeout=timeout)
        except asyncio.CancelledError:
            if not turn.cancel():  # it was our turn already
                self.leave()
            raise
        if turn.cancel():
            raise asyncio.TimeoutError

    def leave(self) -> None:
        """Give the place to the first in line who still wants it."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
