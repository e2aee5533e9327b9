"""Runs an event loop in a thread of its own, so that signals, which the main thread gets, find that one idle.

Airflow raises out of a signal handler when ``execution_timeout`` is over. Inside a loop the exception could strike any
callback, and be lost there.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")

GRACE = 8.0  # seconds that a loop which is stopped has to come to its end


class Stopped(Exception):
    """The work was stopped from outside."""


class LoopThread(Generic[Result]):
    """One coroutine in one loop in one thread."""

    def __init__(self) -> None:
        self._result: Future[Result] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Result] | None = None
        self._stopped = False

    def run(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run the coroutine to its end.

        :raises Stopped: ``stop`` was called.
        """
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._main, work), name="qwenimage-batch", daemon=True)
        thread.start()
        try:
            return self._result.result()
        except CancelledError:
            raise Stopped from None
        finally:  # a signal's exception comes out of here as well
            self.stop()
            thread.join(GRACE)

    def stop(self) -> None:
        """Cancel the coroutine, or keep it from being run. May be called from any thread, and from a signal handler."""
        self._stopped = True  # first: a loop that starts just now looks at it when it can be found here
        loop, task = self._loop, self._task
        if loop and task:
            with suppress(RuntimeError):  # it has ended by now
                loop.call_soon_threadsafe(task.cancel)

    def _main(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> None:
        try:
            with _imports_left_alone():
                result = asyncio.run(self._supervised(work))
        except asyncio.CancelledError:
            self._result.set_exception(CancelledError())
        except BaseException as error:
            self._result.set_exception(error)
        else:
            self._result.set_result(result)

    async def _supervised(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._stopped:
            raise asyncio.CancelledError
        return await work()


@contextmanager
def _imports_left_alone() -> Iterator[None]:
    """Keep the garbage collector from going through all that Airflow has imported, each time a tenth of a second."""
    if gc.get_freeze_count():  # somebody has seen to it
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
