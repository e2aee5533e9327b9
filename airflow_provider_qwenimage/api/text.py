"""Words of others, made fit to print."""

from __future__ import annotations


def printable(text: str, limit: int = 300) -> str:
    """Return ``text`` on one line of at most ``limit`` characters, without control characters: fit for a log."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: limit * 2]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
