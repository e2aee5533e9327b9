"""
A stand-in for the service: the contract's endpoints, its upload target and its image host, on your own machine.

Start it with ``python -m airflow_provider_qwenimage.emulator``, or in a test::

    from airflow_provider_qwenimage.emulator import Emulator

    with Emulator(duration=0.2, image_size=128) as emulator:
        requests.post(f"{emulator.url}/api/task/get_credits", headers={"Api-Key": emulator.api_key, ...})

It knows the published contract and nothing else of this distribution: a field that client and emulator both
misspelt would go unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_qwenimage.emulator.server import Emulator

__all__ = ["Emulator"]


def __getattr__(name: str) -> Any:
    # Late, so that this package can be imported (and found by tools) without the extra.
    if name != "Emulator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from airflow_provider_qwenimage.emulator.server import Emulator
    except ModuleNotFoundError as error:
        raise ImportError(
            f"The emulator needs {error.name!r}: pip install 'airflow-provider-qwenimage[emulator]'"
        ) from error
    return Emulator
