"""Loads what a wait needs in a thread: aiohttp and our models would hold an event loop up for most of a second."""

from __future__ import annotations

import asyncio
from importlib import import_module

from asgiref.sync import sync_to_async

MODULES = ("airflow_provider_qwenimage.clients", "airflow_provider_qwenimage.sessions")

_loading: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}
_loaded = False


async def load() -> None:
    """Load the modules; of all that ask meanwhile, one does it. An import statement after it takes no time."""
    if _loaded:
        return
    loop = asyncio.get_running_loop()
    if loop not in _loading:
        _loading[loop] = loop.create_task(_load(loop))
    await asyncio.shield(_loading[loop])  # one who is cancelled must not take it from the others


async def _load(loop: asyncio.AbstractEventLoop) -> None:
    global _loaded
    try:
        for module in MODULES:
            await sync_to_async(import_module)(module)
        _loaded = True
    finally:
        del _loading[loop]
