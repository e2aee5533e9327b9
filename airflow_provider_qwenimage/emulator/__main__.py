"""The command line: ``python -m airflow_provider_qwenimage.emulator``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from airflow_provider_qwenimage.emulator.faults import KINDS
from airflow_provider_qwenimage.emulator.options import Options

DEFAULTS = Options()


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the emulator until SIGTERM or SIGINT.

    :param arguments: of the command line; None takes the process's own
    :return: exit code: 0 stopped by a signal, 1 couldn't start; wrong arguments exit with 2
    """
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    faults = options.pop("faults", [])
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        return _run(options, faults, stop)
    except ImportError as error:
        return _complain(str(error))
    except ValueError as error:
        return parser.error(str(error))
    except OSError as error:
        reason = str(error.strerror or error).partition(" (")[0]  # the address follows in brackets
        return _complain(f"Cannot listen on {options['host']} port {options['port']}: {reason}")


def _run(options: dict[str, Any], faults: list[Any], stop: threading.Event) -> int:
    from airflow_provider_qwenimage.emulator import Emulator

    emulator = Emulator(**options)
    emulator.state.plan(*faults)
    with emulator:
        print(f"Qwen Image emulator ready at {emulator.url} (API key: {emulator.api_key})", flush=True)  # noqa: T201
        stop.wait()
    return 0


def _complain(message: str) -> int:
    print(message, file=sys.stderr)  # noqa: T201
    return 1


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and leaves the lines of the epilog as they are."""


def _fault_kinds() -> str:
    lines = [f"  {name:17}{', '.join(kind.parameters)}".rstrip() for name, kind in KINDS.items()]
    head = 'kinds of faults and their parameters (besides "times" or "probability", and "skip"):'
    return "\n".join([head, *lines])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_qwenimage.emulator",
        description="A stand-in for the Qwen Image service by Pixwith: same requests, same answers, no credits.",
        epilog=_fault_kinds(),
        formatter_class=_Formatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=_port, default=8089, help="port to listen on; 0 chooses a free one")
    parser.add_argument(
        "--seed", type=int, default=argparse.SUPPRESS, help="make ids, durations and chance the same every time"
    )
    parser.add_argument(
        "--faults",
        type=_json_plans,
        action="extend",
        default=argparse.SUPPRESS,
        metavar="JSON",
        help='a fault or a list of them, as {"endpoint": "get", "kind": "http_error", "status": 503}; may be repeated',
    )
    _add_account_options(parser.add_argument_group("account"))
    _add_time_options(parser.add_argument_group("time"))
    _add_answer_options(parser.add_argument_group("images and answers"))
    return parser


def _add_account_options(group: Any) -> None:
    group.add_argument("--api-key", default=DEFAULTS.api_key, help="key of the account")
    group.add_argument("--credits", type=int, default=DEFAULTS.credits, help="its balance")
    group.add_argument("--price", type=int, default=DEFAULTS.price, help="credits per image")
    group.add_argument(
        "--charge", choices=["create", "completion"], default=DEFAULTS.charge, help="when credits are taken"
    )
    group.add_argument(
        "--refund-failed",
        action="store_true",
        default=argparse.SUPPRESS,
        help="give back the credits of a failed generation",
    )


def _add_time_options(group: Any) -> None:
    group.add_argument(
        "--estimated-time", type=int, default=DEFAULTS.estimated_time, help="seconds announced for a generation"
    )
    group.add_argument(
        "--spread",
        type=float,
        default=DEFAULTS.spread,
        help="how far the real time is drawn around it: 0.2 is up to 20 %% less or more",
    )
    group.add_argument(
        "--duration",
        type=_seconds,
        default=argparse.SUPPRESS,
        help="seconds it really takes, as 3 or as 2-5, whatever is announced",
    )


def _add_answer_options(group: Any) -> None:
    group.add_argument("--image-size", type=int, default=DEFAULTS.image_size, help="pixels on the long side")
    group.add_argument(
        "--image-format", choices=["jpeg", "png"], default=DEFAULTS.image_format, help="format of the results"
    )
    group.add_argument(
        "--unsigned-urls",
        dest="signed_urls",
        action="store_false",
        default=argparse.SUPPRESS,
        help="result URLs without a signature",
    )
    group.add_argument(
        "--http-errors",
        action="store_true",
        default=argparse.SUPPRESS,
        help="refusals answer 400, 401, 402 or 404 rather than 200",
    )
    group.add_argument(
        "--pending-urls",
        choices=["absent", "null", "empty"],
        default=DEFAULTS.pending_urls,
        help="what result_urls is while there are none",
    )


def _json_plans(text: str) -> list[Any]:
    try:
        plans = json.loads(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON") from None
    return plans if isinstance(plans, list) else [plans]


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def _seconds(text: str) -> float | tuple[float, float]:
    low, dash, high = text.partition("-")
    try:
        return (float(low), float(high)) if dash else float(low)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither seconds nor a range of them") from None


if __name__ == "__main__":
    sys.exit(main())
