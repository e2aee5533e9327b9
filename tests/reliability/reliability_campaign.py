"""Thousands of generations under randomly drawn faults: real operators, triggers and stores against real emulators.

There is no scheduler: a try is a new operator object with what Airflow would give it, so that a thousand generations
take a minute. As a process: ``reliability_campaign.py [SEED [GENERATIONS]]`` prints the table.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from inspect import unwrap
from pathlib import Path
from typing import Any
from unittest.mock import patch

from airflow_provider_qwenimage._compat import AirflowException, AirflowFailException, AirflowSensorTimeout
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.emulator import Emulator, pictures

LANES = 8  # workers, each with a service of its own
TRIES = 6
MODES = ("on the worker", "deferred", "create, sensor, save")
READ_TIMEOUT = 0.6

# Chance per request. Everything that the emulator can do, but "Task not found": that is not a fault but a fact.
FAULTS: list[dict[str, Any]] = [
    {"endpoint": "create", "kind": "close_before", "probability": 0.01},
    {"endpoint": "create", "kind": "close_after", "probability": 0.01},
    {"endpoint": "create", "kind": "http_error", "status": 429, "retry_after": 1, "probability": 0.03},
    {"endpoint": "create", "kind": "http_error", "status": 503, "body": "text", "probability": 0.03},
    {"endpoint": "create", "kind": "http_error", "status": 500, "body": "empty", "probability": 0.01},
    {"endpoint": "create", "kind": "html", "status": 200, "probability": 0.01},
    {"endpoint": "create", "kind": "html", "status": 502, "probability": 0.01},
    {"endpoint": "create", "kind": "refuse", "message": "Credits not enough", "probability": 0.01},
    {"endpoint": "create", "kind": "malformed", "probability": 0.01},
    {"endpoint": "create", "kind": "truncated", "probability": 0.01},
    {"endpoint": "create", "kind": "oversized", "probability": 0.005},
    {"endpoint": "create", "kind": "delay", "seconds": 1, "when": "after", "probability": 0.005},
    {"endpoint": "create", "kind": "delay", "seconds": 1, "when": "before", "probability": 0.005},
    {"endpoint": "create", "kind": "data", "delete": ["task_id"], "probability": 0.005},
    {"endpoint": "create", "kind": "data", "set": {"estimated_time": "soon"}, "probability": 0.02},
    {"endpoint": "create", "kind": "fail", "probability": 0.04},
    {"endpoint": "create", "kind": "stuck", "probability": 0.005},
    {"endpoint": "create", "kind": "missing_urls", "urls": "null", "probability": 0.01},
    {"endpoint": "create", "kind": "missing_urls", "urls": "fewer", "probability": 0.01},
    {"endpoint": "get", "kind": "close_before", "probability": 0.03},
    {"endpoint": "get", "kind": "close_after", "probability": 0.03},
    {"endpoint": "get", "kind": "http_error", "status": 500, "probability": 0.03},
    {"endpoint": "get", "kind": "http_error", "status": 429, "retry_after": 0, "probability": 0.03},
    {"endpoint": "get", "kind": "html", "status": 200, "probability": 0.03},
    {"endpoint": "get", "kind": "refuse", "message": "Server busy", "probability": 0.03},
    {"endpoint": "get", "kind": "malformed", "probability": 0.02},
    {"endpoint": "get", "kind": "truncated", "probability": 0.02},
    {"endpoint": "get", "kind": "oversized", "probability": 0.005},
    {"endpoint": "get", "kind": "delay", "seconds": 1, "probability": 0.003},
    {"endpoint": "get", "kind": "slow", "bytes": 64, "pause": 0.05, "probability": 0.01},
    {"endpoint": "get", "kind": "data", "set": {"status": 9}, "probability": 0.02},
    {"endpoint": "get", "kind": "data", "set": {"task_id": "somebody else's"}, "probability": 0.02},
    {"endpoint": "get", "kind": "data", "set": {"result_urls": ["ftp://x/y"]}, "probability": 0.02},
    {"endpoint": "get_credits", "kind": "http_error", "status": 500, "probability": 0.1},
    {"endpoint": "get_credits", "kind": "malformed", "probability": 0.1},
    {"endpoint": "pre_url", "kind": "http_error", "status": 503, "probability": 0.1},
    {"endpoint": "pre_url", "kind": "close_after", "probability": 0.1},
    {"endpoint": "upload", "kind": "http_error", "status": 403, "probability": 0.1},
    {"endpoint": "upload", "kind": "close_after", "probability": 0.1},
    {"endpoint": "image", "kind": "close_before", "probability": 0.03},
    {"endpoint": "image", "kind": "close_after", "probability": 0.03},
    {"endpoint": "image", "kind": "http_error", "status": 500, "probability": 0.05},
    {"endpoint": "image", "kind": "http_error", "status": 403, "probability": 0.03},
    {"endpoint": "image", "kind": "html", "status": 200, "probability": 0.03},
    {"endpoint": "image", "kind": "truncated", "probability": 0.05},
    {"endpoint": "image", "kind": "truncated_image", "probability": 0.05},
    {"endpoint": "image", "kind": "mislabelled", "actual": "html", "probability": 0.03},
    {"endpoint": "image", "kind": "slow", "bytes": 512, "pause": 0.01, "probability": 0.02},
]

# Chance per try that the worker is killed at this point.
DEATHS = {
    "before the submit": 0.01,
    "after the submit": 0.01,
    "after the note": 0.03,
    "while waiting": 0.03,
    "while saving": 0.03,
}
LOST_TRIGGERS = 0.05  # chance per deferral
MOVED_TRIGGERS = 0.05
MEANT = threading.local()  # the death that is planned for the try that runs in this thread


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours may catch it."""


def die_at(point: str) -> None:
    if getattr(MEANT, "death", None) == point:
        MEANT.death = None
        raise Killed(point)


@dataclass
class Ti:
    """A task instance, as much of it as tasks see."""

    run_id: str
    task_id: str
    dag_id: str = "campaign"
    map_index: int = -1
    max_tries: int = TRIES - 1
    xcoms: dict[str, str] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.dumps(value)

    def xcom_pull(self, key: str, **_: Any) -> Any:
        return json.loads(self.xcoms.get(key, "null"))


class StateOfTask:
    """Airflow 3.3's store: JSON under a name, over all tries."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def get(self, key: str) -> Any:
        return json.loads(self._kept.get(key, "null"))

    def set(self, key: str, value: Any) -> None:
        self._kept[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self._kept.pop(key, None)


@dataclass
class Story:
    """One generation that was asked for, and what became of it."""

    number: int
    mode: str
    conn_id: str
    folder: Path
    resubmit: bool
    num_outputs: int
    file_store: bool
    image: str | None
    tries: int = 0
    deaths: int = 0
    seen: list[str] = field(default_factory=list)
    error: BaseException | None = None
    paths: list[str] = field(default_factory=list)
    saved_from: set[str] = field(default_factory=set)
    intact: bool = False
    stores: dict[str, StateOfTask] = field(default_factory=dict)
    done: dict[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        return f"generation {self.number} of the campaign"

    def steps(self) -> dict[str, Callable[[], Any]]:
        """The tasks of this story, by name; each call makes a new operator, as each try does."""
        from airflow_provider_qwenimage.operators import QwenImageCreateTaskOperator, QwenImageGenerateOperator
        from airflow_provider_qwenimage.sensors import QwenImageTaskSensor
        from airflow_provider_qwenimage.transfers import QwenImageToObjectStorageOperator

        name = f"t{self.number}_{self.tries}"
        ours = {"qwenimage_conn_id": self.conn_id}
        submit: dict[str, Any] = {
            **ours,
            "prompt": self.prompt,
            "num_outputs": self.num_outputs,
            "min_credits": 1 if self.number % 5 == 0 else None,
            "on_unknown_submit": "resubmit" if self.resubmit else "fail",
        }
        if self.mode == MODES[2]:
            wait = {"deferrable": True, "timeout": 3, "poll_interval": 0.05, **ours}
            return {
                "create": lambda: QwenImageCreateTaskOperator(task_id=f"{name}_c", **submit),
                "wait": lambda: QwenImageTaskSensor(task_id=f"{name}_w", generation_id=self.done["create"], **wait),
                "save": lambda: QwenImageToObjectStorageOperator(
                    task_id=f"{name}_s", result_urls=self.done["wait"], output_path=str(self.folder), **ours
                ),
            }
        generate = {"deferrable": self.mode == MODES[1], "timeout": 3, "output_path": str(self.folder)}
        return {
            "generate": lambda: QwenImageGenerateOperator(task_id=f"{name}_g", image=self.image, **submit, **generate)
        }

    def context(self, step: str) -> dict[str, Any]:
        context: dict[str, Any] = {"ti": Ti(run_id=str(self.number), task_id=step)}
        if not self.file_store:
            context["task_state_store"] = self.stores.setdefault(step, StateOfTask())
        return context


class Lane:
    """One worker with a service of its own, and with its own dice."""

    def __init__(self, emulator: Emulator, seed: str) -> None:
        self.emulator = emulator
        self.dice = random.Random(seed)
        self.faulty = True

    def live(self, story: Story, tries: int = TRIES) -> None:
        """Run a story to its end: every step, with retries as Airflow has them."""
        for step in list(story.steps()):
            if step not in story.done and not self._succeeds(story, step, tries):
                return
        story.paths = story.done["save" if "save" in story.done else "generate"]

    def _succeeds(self, story: Story, step: str, tries: int) -> bool:
        for _ in range(tries):
            story.tries += 1
            story.error = None
            self._plan_a_death()
            try:
                story.done[step] = self._try(story.steps()[step], story.context(step))
                return True
            except Killed as death:
                story.deaths += 1
                story.seen.append(f"killed {death}")
                story.error = death
            except (AirflowFailException, AirflowSensorTimeout) as error:
                story.error = error
                story.seen.append(type(error).__name__)
                return False
            except Exception as error:
                story.error = error
                story.seen.append(type(error).__name__)
        return False

    def _plan_a_death(self) -> None:
        MEANT.death = None
        if self.faulty:
            points, chances = list(DEATHS), list(DEATHS.values())
            MEANT.death = self.dice.choices([None, *points], [1 - sum(chances), *chances])[0]

    def _try(self, make: Callable[[], Any], context: dict[str, Any]) -> Any:
        operator = make()
        try:
            found = unwrap(type(operator).execute)(operator, context)
            return getattr(found, "xcom_value", found)
        except BaseException as deferral:
            if type(deferral).__name__ != "TaskDeferred":
                raise
            path, arguments = deferral.trigger.serialize()
            method = deferral.method_name
        if self.faulty and self.dice.random() < LOST_TRIGGERS:
            # Airflow ends a deferral only long after the trigger's own deadline, and a sensor has no more to wait for.
            how = self.dice.choice(
                ["Trigger failure", "Trigger timeout"] if "_g" in operator.task_id else ["Trigger failure"]
            )
            return make().resume_execution("__fail__", {"error": how}, context)
        event = self._triggerer(path, json.dumps(arguments))
        return make().resume_execution(method, {"event": json.loads(json.dumps(event))}, context)

    def _triggerer(self, path: str, row: str) -> Any:
        module, _, name = path.rpartition(".")
        kind = getattr(sys.modules[module], name)

        async def run() -> Any:
            if self.faulty and self.dice.random() < MOVED_TRIGGERS:
                first = asyncio.ensure_future(anext(kind(**json.loads(row)).run()))
                await asyncio.wait([first], timeout=0.1)
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
            return (await anext(kind(**json.loads(row)).run())).payload

        return asyncio.run(run())


@contextmanager
def planned_deaths() -> Iterator[None]:
    """Let workers die where DEATHS says, and wait less than in real life."""
    from airflow_provider_qwenimage import purchase, waits, worker_wait
    from airflow_provider_qwenimage.api import client, retrying, waiting
    from airflow_provider_qwenimage.operators import submitting
    from airflow_provider_qwenimage.saving import images

    create, push, poll, store = (
        client.QwenImageClient.create_task,
        submitting.SubmittingOperator.push,
        worker_wait.poll,
        images.deliver,
    )

    def create_and_die(*given: Any) -> Any:
        die_at("before the submit")
        found = create(*given)
        die_at("after the submit")
        return found

    def before(point: str, known: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given, **more: (die_at(point), known(*given, **more))[1]

    with ExitStack() as stack:
        for place, name, new in (
            (client.QwenImageClient, "create_task", create_and_die),
            (submitting.SubmittingOperator, "push", before("after the note", push)),
            (worker_wait, "poll", before("while waiting", poll)),
            (images, "deliver", before("while saving", store)),
            (waits, "SHORTEST_DEFERRAL", 0.05),
            (waiting, "SHORTEST_INTERVAL", 0.05),
            (waiting, "LONGEST_BACKOFF", 0.3),
            (waiting.Waiting, "_next_poll", lambda self, age, keenness: age + 0.05),
            (retrying.Retries, "_wait", lambda self, state: 0.0),
        ):
            stack.enter_context(patch.object(place, name, new))
        assert purchase
        yield


@dataclass
class Campaign:
    """What a campaign has shown."""

    seed: str
    seconds: float
    stories: list[Story]
    generations: dict[int, list[Any]]
    faults: Counter[str]
    second_life: Counter[str]


def run_campaign(seed: str, count: int) -> Campaign:
    """Run ``count`` generations; then, without faults, what was left unfinished gets one more retry."""
    began = time.monotonic()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campaign-")))
        photo = scratch / "photo.png"
        photo.write_bytes(pictures.sample("png"))
        stack.enter_context(planned_deaths())
        stack.enter_context(patch.dict(os.environ))
        lanes = [_lane(stack, seed, number) for number in range(LANES)]
        stories = [_story(seed, number, scratch, str(photo)) for number in range(count)]
        with ThreadPoolExecutor(LANES) as pool:
            list(pool.map(lambda at: [lanes[at].live(story) for story in stories[at::LANES]], range(LANES)))
        faults = _faults(lanes)
        for lane in lanes:
            lane.emulator.clear_faults()
            lane.faulty = False
        second_life = Counter(_live_again(lanes[story.number % LANES], story) for story in stories if not story.paths)
        generations = _what_services_know(lanes, stories)
    return Campaign(seed, time.monotonic() - began, stories, generations, faults, second_life)


def _lane(stack: ExitStack, seed: str, number: int) -> Lane:
    options = {"estimated_time": 1, "duration": (0.0, 0.3), "credits": 1_000_000, "image_size": 64}
    emulator = stack.enter_context(
        Emulator(seed=int(hashlib.sha256(f"{seed} {number}".encode()).hexdigest()[:8], 16), **options)
    )
    emulator.state.plan(*FAULTS)
    connection = {"conn_type": "qwenimage", "host": emulator.url, "password": emulator.api_key}
    connection["extra"] = {"connect_timeout": 5, "read_timeout": READ_TIMEOUT}
    os.environ[f"AIRFLOW_CONN_LANE_{number}"] = json.dumps(connection)
    return Lane(emulator, f"{seed} {number}")


def _story(seed: str, number: int, scratch: Path, photo: str) -> Story:
    dice = random.Random(f"{seed} story {number}")
    mode = dice.choice(MODES)
    return Story(
        number,
        mode,
        f"lane_{number % LANES}",
        scratch / str(number),
        resubmit=dice.random() < 0.2,
        num_outputs=dice.choice([1, 1, 1, 2, 4]),
        file_store=mode != MODES[2] and dice.random() < 0.5,
        image=photo if mode != MODES[2] and dice.random() < 0.2 else None,
    )


def _live_again(lane: Lane, story: Story) -> str:
    """Give an unfinished story the retry that it would get, if its error is not final; return what became of it."""
    if isinstance(story.error, (AirflowFailException, AirflowSensorTimeout)):
        return "final"
    lane.live(story, tries=2)
    return "saved" if story.paths else type(story.error).__name__


def _faults(lanes: list[Lane]) -> Counter[str]:
    found: Counter[str] = Counter()
    for lane in lanes:
        for fault in lane.emulator.report()["faults"]:
            found[f"{fault['endpoint']} {fault['kind']}"] += fault["used"]
    return found


def _what_services_know(lanes: list[Lane], stories: list[Story]) -> dict[int, list[Any]]:
    """Return the generations of each story, and compare what it has saved with the bytes that the service has made."""
    by_caption: dict[str, list[Any]] = {}
    for lane in lanes:
        for generation in lane.emulator.state._generations._by_id.values():
            by_caption.setdefault(generation.caption, []).append(generation)
    for story in stories:
        images = lanes[story.number % LANES].emulator.state.images
        files = [Path(path.removeprefix("file://")) for path in story.paths]
        story.intact = all(file.read_bytes() == images.get(f"/images/{file.name}") for file in files)
        story.saved_from = {file.name.rpartition("_")[0] for file in files}
    return {story.number: by_caption.get(story.prompt, []) for story in stories}


def table(campaign: Campaign) -> str:
    """The campaign in words and numbers."""
    lines = [f"seed {campaign.seed}: {len(campaign.stories)} generations asked for, {campaign.seconds:.0f} s"]
    head = f"{'mode':24}{'asked':>7}{'bought':>8}{'saved':>7}{'intact':>8}{'tries':>7}{'killed':>8}"
    lines += ["", head]
    for mode in MODES:
        mine = [story for story in campaign.stories if story.mode == mode]
        bought = sum(len(campaign.generations[story.number]) for story in mine)
        saved = [story for story in mine if story.paths]
        intact = sum(story.intact for story in saved)
        tries, deaths = sum(story.tries for story in mine), sum(story.deaths for story in mine)
        lines.append(f"{mode:24}{len(mine):>7}{bought:>8}{len(saved):>7}{intact:>8}{tries:>7}{deaths:>8}")
    lines += ["", "purchases that are not one saved generation each:"]
    lines += [f"{name:60}{count:>6}" for name, count in sorted(losses(campaign).items())]
    lines += ["", "errors that tries ended in:"]
    errors_seen = Counter(name for story in campaign.stories for name in story.seen)
    lines += [f"{name:60}{count:>6}" for name, count in errors_seen.most_common()]
    lines += ["", f"faults that struck ({sum(campaign.faults.values())}):"]
    lines += [f"{name:60}{count:>6}" for name, count in sorted(campaign.faults.items())]
    return "\n".join(lines)


def losses(campaign: Campaign) -> Counter[str]:
    """Every generation that was bought but not saved, and every request that bought none, by its reason."""
    found: Counter[str] = Counter()
    for story in campaign.stories:
        bought = campaign.generations[story.number]
        for generation in bought:
            if generation.id not in story.saved_from:
                found[f"bought, not saved: {_over(generation, story)}"] += 1
        if not bought:
            found[f"nothing bought: {type(story.error).__name__}"] += 1
    return found


def _over(generation: Any, story: Story) -> str:
    """Why a generation was not saved; "NO REASON" would be money lost, or paid twice."""
    if generation.state == "failed":
        return "it failed at the service"
    if generation.ends == float("inf"):
        return "it never ended"
    if generation.urls in ("null", "absent", "empty"):
        return "it had no images"
    if generation.urls == "fewer":
        return "images were missing"
    if "UnknownOutcomeError" in story.seen or any(seen.endswith("the submit") for seen in story.seen):
        return "the outcome of its submission was unknown" + (", and it was to be sent again" if story.resubmit else "")
    return "NO REASON"


def is_named(error: BaseException | None) -> bool:
    """Tell whether a story ended in an error of ours, which is one of Airflow's too."""
    return isinstance(error, errors.QwenImageError) and isinstance(error, AirflowException)


if __name__ == "__main__":
    given = sys.argv[1:]
    print(table(run_campaign(given[0] if given else str(time.time_ns()), int(given[1]) if given[1:] else 2000)))
