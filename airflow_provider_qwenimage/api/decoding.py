"""Unpacks bodies that come compressed although nobody asked for it, a bounded step at a time.

The HTTP libraries can, too; but older ones unpack all of what has arrived before anybody sees how long it is, and a few
kilobytes fill the memory of the process then.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

AS_IT_IS: Mapping[str, str] = {"Accept-Encoding": "identity"}
"""The headers that ask for a body that is not compressed."""

STEP = 256 * 1024  # bytes
MAX_MEMBERS = 100  # streams that a gzip body may consist of; most have one
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class UndecodableError(Exception):
    """A body is not what its ``Content-Encoding`` says."""


class Decoder:
    """Decodes one body.

    :param encoding: its ``Content-Encoding``. Only gzip and deflate are unpacked. With any other the body is left as it
        is: some stores write anything there, and what is still packed is no image and no reply.
    """

    def __init__(self, encoding: str | None) -> None:
        self._encoding = (encoding or "").strip().lower()
        self._is_packed = self._encoding in ("gzip", "x-gzip", "deflate")
        self._stream: Any = None  # zlib's class has no public name
        self._members = 0
        self._is_over = False

    def decode(self, data: bytes) -> Iterable[bytes]:
        """Return what the next bytes of the body hold, ``STEP`` bytes at most at a time if they are packed.

        To be taken to the end before more bytes are given, or else given up.

        :raises UndecodableError: they are not what the header says.
        """
        return self._unpacked(data) if self._is_packed else (data,)

    def _unpacked(self, data: bytes) -> Iterator[bytes]:
        piece = b""
        while not self._is_over and (data or len(piece) == STEP):  # a full step may have left some within zlib
            if self._stream is None:
                self._begin(data[0])
            piece = self._step(data)
            if piece:
                yield piece
            if self._stream.eof:
                data, piece, self._stream = self._stream.unused_data, b"", None
                self._is_over = self._encoding == "deflate"
            else:
                data = self._stream.unconsumed_tail

    def _begin(self, first: int) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise UndecodableError(f"the body consists of more than {MAX_MEMBERS} compressed streams")
        if self._encoding == "deflate":  # the header of zlib is left out by some servers
            self._stream = zlib.decompressobj(_ZLIB if first & 0x0F == zlib.DEFLATED else _RAW)
        else:
            self._stream = zlib.decompressobj(_GZIP)

    def _step(self, data: bytes) -> bytes:
        try:
            return bytes(self._stream.decompress(data, STEP))
        except zlib.error as error:
            if self._members == 1:
                raise UndecodableError(f"the body is no {self._encoding}") from error
            self._is_over = True  # what follows a whole stream and is none, is not the body's
            return b""
