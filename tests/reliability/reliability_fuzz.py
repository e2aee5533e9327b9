"""Hostile bytes for what reads the service's answers and images: nothing but our own errors may come out, and soon.

``reliability_fuzz.py SECONDS [TARGET]`` runs each target for that long: with atheris, which follows the code's
branches, where it is installed, else with blind mutations. ``make fuzz`` calls it in an environment that has atheris.
"""

from __future__ import annotations

import importlib.util
import io
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ATHERIS = importlib.util.find_spec("atheris")
PNG = b"\x89PNG\r\n\x1a\n"
ONE_INPUT = 10  # seconds that one input may take; it takes about a millisecond

if ATHERIS and __name__ == "__main__":
    import atheris

    with atheris.instrument_imports(include=["airflow_provider_qwenimage.api"]):
        from airflow_provider_qwenimage.api import embed, errors, images, models, wire
else:
    from airflow_provider_qwenimage.api import embed, errors, images, models, wire

NOW = datetime(2026, 10, 21, 7, 28, tzinfo=timezone.utc)
FACTS = {"prompt": "a <kite> & \x00 a cliff", "model_id": "0-24", "generation_id": "abc", "created": "2026-11-22"}
CALLS: list[Callable[[], wire.Call[Any]]] = [
    lambda: wire.create(models.GenerationRequest(prompt="a kite")),
    lambda: wire.get("abc"),
    wire.get_credits,
    lambda: wire.upload_form("photo.png", "image/png"),
]
STATUSES = (200, 400, 401, 402, 403, 404, 429, 500, 502, 503)
BODIES: list[Any] = [
    {"code": 1, "message": "success", "data": {"task_id": "abc", "estimated_time": 15}},
    {"code": 1, "data": {"task_id": "abc", "status": 2, "result_urls": ["https://cdn.pixwith.ai/images/abc_0.jpeg"]}},
    {"code": 1, "data": {"task_id": "abc", "status": 1, "result_urls": None}},
    {"code": 1, "data": {"credits": 500}},
    {"code": 1, "data": {"upload_url": {"url": "https://s3/x", "fields": {"key": "a"}}, "image_url": "https://s3/y"}},
    {"code": 0, "message": "Credits not enough"},
    {"code": 2, "msg": "Invalid API key"},
]


def read_a_reply(data: bytes) -> None:
    """A reply is an answer or an error of ours, fit for a log, and no create looks as if it could be sent again."""
    which, status, wait, body = *(data[:3] or b"\0").ljust(3, b"\0"), data[3:]
    call = CALLS[which % len(CALLS)]()
    retry_after = body[-20:].decode("latin-1") if wait % 2 else None
    reply = wire.Reply(STATUSES[status % len(STATUSES)], body, retry_after, secret="key_abc")
    found = _result_or_error(lambda: wire.read(call, reply, NOW), errors.QwenImageError)
    if isinstance(found, errors.QwenImageError):
        assert str(found).isprintable()
        assert len(str(found)) < 2000
        assert "key_abc" not in str(found)
        assert found.retry_after is None or 0 <= found.retry_after <= wire.MAX_RETRY_AFTER
        assert not (call.buys and found.retry_safe) or isinstance(found, errors.OverloadedError)
    if isinstance(found, models.Submission):
        assert wire.get(found.generation_id).content()  # what was paid for can be asked for
    if isinstance(found, models.Generation):
        assert bool(found.result_urls) == (found.status is models.GenerationStatus.COMPLETED)


def inspect_an_image(data: bytes) -> None:
    """A file is a whole image of a sane size or an error of ours; a PNG also with its checksums put right."""
    if data.startswith(PNG):
        _inspect(_with_right_checksums(data))
    _inspect(data)


def _inspect(data: bytes) -> None:
    facts = _result_or_error(lambda: images.inspect(io.BytesIO(data)), errors.BrokenImageError)
    if isinstance(facts, errors.BrokenImageError):
        assert str(facts).isprintable()
        return
    assert 0 < facts.width * facts.height <= images.MAX_PIXELS
    _embed(data, facts)


def _result_or_error(read: Callable[[], Any], kind: type[Exception]) -> Any:
    try:
        return read()
    except kind as error:
        return error


def _with_right_checksums(png: bytes) -> bytes:
    """Return the file with checksums that let a reader come to what stands behind them."""
    data, at = bytearray(png), len(PNG)
    while len(data) >= at + 12:
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(data)


def _embed(data: bytes, facts: images.ImageFacts) -> None:
    """What passed as whole is whole after facts were written into it, and of the same size."""
    target = io.BytesIO()
    if embed.embed(io.BytesIO(data), target, FACTS):
        assert images.inspect(target) == facts


TARGETS: dict[str, Callable[[bytes], None]] = {"wire": read_a_reply, "images": inspect_an_image}


def seeds(target: str) -> list[bytes]:
    """Good inputs, from which bad ones are made."""
    if target == "wire":
        return [bytes([which, 0, 0]) + json.dumps(body).encode() for which in range(len(CALLS)) for body in BODIES]
    from PIL import Image

    found = []
    for kind, options in [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {"lossless": True})]:
        for mode in ("RGB", "L" if kind != "WEBP" else "RGBA"):
            file = io.BytesIO()
            Image.effect_noise((9, 7), 50).convert(mode).save(file, kind, **options)
            found.append(file.getvalue())
    return found


def mutated(seed: bytes, dice: random.Random) -> bytes:
    """Return an input with some bytes changed, cut out, doubled or made extreme."""
    data = bytearray(seed)
    for _ in range(dice.randint(1, 6)):
        at, end = sorted((dice.randint(0, len(data)), dice.randint(0, len(data))))
        change = dice.randrange(5)
        if change == 0:
            data[at:at] = dice.randbytes(dice.randint(1, 8))
        elif change == 1:
            del data[at : min(end, at + 16)]
        elif change == 2:
            data[at:at] = data[at : min(end, at + 64)]
        elif change == 3 and data:
            data[at - 1] ^= 1 << dice.randrange(8)
        else:
            data[at : at + 4] = dice.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xd9", b'"', b"[" * 9])
    return bytes(data)


@contextmanager
def no_hang() -> Iterator[None]:
    """Interrupt an input that takes too long."""

    def interrupt(*_: Any) -> None:
        raise TimeoutError(f"one input took more than {ONE_INPUT} s")

    known = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(ONE_INPUT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, known)


def mutate_for(target: str, seconds: float, seed: int) -> int:
    """Run a target on blind mutations; return how many. What fails is written to a file that is named."""
    dice, good, count = random.Random(seed), seeds(target), 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data = mutated(dice.choice(good), dice)
        try:
            with no_hang():
                TARGETS[target](data)
        except Exception:
            Path(f"fuzz-{target}-failed").write_bytes(data)
            print(f"{target} fails on the bytes in fuzz-{target}-failed (seed {seed})")
            raise
        count += 1
    return count


def follow_branches(target: str, seconds: int) -> None:
    """Run a target with atheris, which ends this process."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as corpus:
        for number, data in enumerate(seeds(target)):
            (Path(corpus) / str(number)).write_bytes(data)
        limits = [f"-max_total_time={seconds}", f"-timeout={ONE_INPUT}", "-max_len=4096", "-rss_limit_mb=2048"]
        quiet = ["-verbosity=0", "-print_final_stats=1", f"-artifact_prefix=fuzz-{target}-"]
        atheris.Setup([sys.argv[0], *limits, *quiet, corpus], TARGETS[target])
        atheris.Fuzz()


if __name__ == "__main__":
    seconds, *names = sys.argv[1:]
    if not ATHERIS:
        for name in names or TARGETS:
            print(f"{name}: {mutate_for(name, float(seconds), time.time_ns())} executions in {seconds} s, no finding")
    elif names:
        follow_branches(names[0], int(seconds))
    else:
        ended = {name: subprocess.run([sys.executable, __file__, seconds, name], check=False) for name in TARGETS}
        print(*(f"{name}: {'FOUND SOMETHING' if end.returncode else 'no finding'}" for name, end in ended.items()))
        sys.exit(any(end.returncode for end in ended.values()))
