"""Planned faults: what can be planned, and which request one falls on."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

API = frozenset({"create", "get", "get_credits", "pre_url"})
IMAGE = frozenset({"image"})
EVERYWHERE = API | IMAGE | {"upload"}

Check = Callable[[Any], bool]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kind of fault: its default, what is allowed in words, and the same as a check."""

    default: Any
    allowed: str
    check: Check


@dataclass(frozen=True)
class Kind:
    """One kind of fault: the endpoints where it makes sense, and its parameters."""

    endpoints: frozenset[str]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


def _integer(default: int, low: int, high: int) -> Parameter:
    return Parameter(
        default, f"an integer from {low} to {high}", lambda value: type(value) is int and low <= value <= high
    )


def _number(default: float, low: float, high: float) -> Parameter:
    return Parameter(
        default, f"a number from {low} to {high}", lambda value: _is_number(value) and low <= value <= high
    )


def _choice(*choices: str) -> Parameter:
    return Parameter(choices[0], " or ".join(choices), lambda value: value in choices)


def _text(default: str | None) -> Parameter:
    return Parameter(default, "a string", lambda value: isinstance(value, str))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_header(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


KINDS: Mapping[str, Kind] = {
    # The request does not take effect:
    "http_error": Kind(
        EVERYWHERE,
        {
            "status": _integer(500, 400, 599),
            "body": _choice("envelope", "text", "empty"),
            "message": _text(None),
            "retry_after": Parameter(
                None, "seconds, or an HTTP date as a string", lambda value: _is_number(value) or _is_header(value)
            ),
        },
    ),
    "html": Kind(EVERYWHERE, {"status": _integer(200, 200, 599)}),
    "refuse": Kind(
        EVERYWHERE,
        {
            "code": _integer(0, -1_000_000, 1_000_000),
            "message": _text("Server busy"),
            "status": _integer(200, 200, 599),
            "field": _choice("message", "msg"),
        },
    ),
    "close_before": Kind(EVERYWHERE),
    # The request takes effect, but the answer suffers:
    "close_after": Kind(EVERYWHERE),
    "delay": Kind(EVERYWHERE, {"seconds": _number(1, 0, 3600), "when": _choice("after", "before")}),
    "slow": Kind(API | IMAGE, {"bytes": _integer(1024, 1, 1_000_000), "pause": _number(0.05, 0, 60)}),
    "truncated": Kind(API | IMAGE),
    "oversized": Kind(
        API | IMAGE,
        {
            "bytes": _integer(2_000_000, 1, 100_000_000),
            "chunked": Parameter(False, "true or false", lambda value: isinstance(value, bool)),
        },
    ),
    "malformed": Kind(API, {"body": _text('{"code": 1, "data": ')}),
    "data": Kind(
        API,
        {
            "set": Parameter({}, "an object", lambda value: isinstance(value, dict)),
            "delete": Parameter(
                [],
                "an array of strings",
                lambda value: isinstance(value, list) and all(isinstance(x, str) for x in value),
            ),
        },
    ),
    # The generation that this create makes turns out badly:
    "fail": Kind(frozenset({"create"})),
    "stuck": Kind(frozenset({"create"})),
    "missing_urls": Kind(
        frozenset({"create"}), {"urls": _choice("fewer", "null", "absent", "empty"), "count": _integer(1, 1, 4)}
    ),
    # The image is served, but not as it should be:
    "truncated_image": Kind(IMAGE, {"keep": _number(0.5, 0, 1)}),
    "mislabelled": Kind(IMAGE, {"actual": _choice("png", "jpeg", "html")}),
}


@dataclass
class Fault:
    """
    One planned fault.

    :param times: how often it strikes; None for no limit
    :param probability: with which it strikes, 0 to 1
    :param skip: how many of the first requests it lets through
    :param seen: how many requests it has counted
    :param used: how often it has struck
    """

    endpoint: str
    kind: str
    parameters: dict[str, Any]
    times: int | None
    probability: float
    skip: int
    seen: int = 0
    used: int = 0

    def __getitem__(self, name: str) -> Any:
        return self.parameters[name]

    def applies_to(self, endpoint: str) -> bool:
        """Whether a request to ``endpoint`` counts for this fault."""
        return self.endpoint in {endpoint, "*"} and endpoint in KINDS[self.kind].endpoints

    def strikes(self, rng: random.Random) -> bool:
        """Whether the request that has just been counted gets this fault."""
        if self.seen <= self.skip or (self.times is not None and self.used >= self.times):
            return False
        return self.probability >= 1 or rng.random() < self.probability

    def as_json(self) -> dict[str, Any]:
        """The fault as it was planned, with how often it was used."""
        plan = {"times": self.times, "probability": self.probability, "skip": self.skip, "used": self.used}
        return {"endpoint": self.endpoint, "kind": self.kind, **self.parameters, **plan}


def plan_fault(plan: Any) -> Fault:
    """
    Read a fault as the control face and the command line take it.

    :param plan: ``{"endpoint": ..., "kind": ..., "times" or "probability", "skip", parameters of the kind}``
    :raises ValueError: an unknown endpoint, kind or parameter, or a value out of range; names what is allowed
    """
    if not isinstance(plan, dict):
        raise ValueError("A fault must be an object with endpoint and kind")
    given = dict(plan)
    endpoint = _one_of(given.pop("endpoint", None), "endpoint", [*sorted(EVERYWHERE), "*"])
    kind = _one_of(given.pop("kind", None), "kind", list(KINDS))
    if endpoint != "*" and endpoint not in KINDS[kind].endpoints:
        raise ValueError(f"{kind} is not possible on {endpoint}, only on {', '.join(sorted(KINDS[kind].endpoints))}")
    common = {"times": _integer(1, 1, 1_000_000), "probability": _number(1, 0, 1), "skip": _integer(0, 0, 1_000_000)}
    values = _read(given, {**common, **KINDS[kind].parameters}, kind)
    parameters = {name: values[name] for name in KINDS[kind].parameters}
    # By probability a fault goes on for ever, unless a number of times is given as well.
    times = None if "probability" in given and "times" not in given else values["times"]
    return Fault(endpoint, kind, parameters, times, values["probability"], values["skip"])


def strike(faults: list[Fault], endpoint: str, rng: random.Random) -> Fault | None:
    """
    Count a request for every fault that it concerns and choose the fault it gets.

    Each fault counts on its own, so ``skip=2`` means the third request whatever else is planned; the first that
    strikes, in the order of planning, wins.
    """
    struck: Fault | None = None
    for fault in faults:
        if fault.applies_to(endpoint):
            fault.seen += 1
            if struck is None and fault.strikes(rng):
                fault.used += 1
                struck = fault
    return struck


def _one_of(value: Any, name: str, allowed: list[str]) -> str:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return str(value)


def _read(given: Mapping[str, Any], known: Mapping[str, Parameter], kind: str) -> dict[str, Any]:
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{name} is not a parameter of {kind}; it has {', '.join(known)}")
        if not known[name].check(value):
            raise ValueError(f"{name} of {kind} must be {known[name].allowed}, not {value!r}")
    return {name: given.get(name, parameter.default) for name, parameter in known.items()}
