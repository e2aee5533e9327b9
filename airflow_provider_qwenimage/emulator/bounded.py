"""Bytes kept within a limit."""

from __future__ import annotations

import threading


class BoundedBytes:
    """
    A mapping of names to bytes that forgets the least recently used ones past a limit; safe to share between threads.

    :param limit: bytes kept in all; a single entry larger than that is not kept
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self.size = 0

    def put(self, name: str, content: bytes) -> None:
        """Keep ``content`` under ``name``, in place of what was there."""
        with self._lock:
            self._drop(name)
            self._entries[name] = content
            self.size += len(content)
            while self.size > self._limit:
                self._drop(next(iter(self._entries)))

    def get(self, name: str) -> bytes | None:
        """Return what is kept under ``name``, or None if nothing is (any longer)."""
        with self._lock:
            content = self._entries.pop(name, None)
            if content is not None:
                self._entries[name] = content  # now the most recently used one
            return content

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self.size = 0

    def _drop(self, name: str) -> None:
        self.size -= len(self._entries.pop(name, b""))
