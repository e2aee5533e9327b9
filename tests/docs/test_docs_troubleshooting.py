"""docs/troubleshooting.md: each text in its tables is provoked, so that page and code can't drift apart."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from api_servers import CREDITS, Authority, Server, closed_port
from dags_made_here import Bench
from docs_pages import DOCS, prose_of, tables

from airflow_provider_qwenimage.api.models import GenerationRequest
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.emulator.pictures import sample
from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.operators import QwenImageCreateTaskOperator, QwenImageGenerateOperator
from airflow_provider_qwenimage.sensors import QwenImageTaskSensor
from airflow_provider_qwenimage.transfers import QwenImageToObjectStorageOperator

CONNECTION = "AIRFLOW_CONN_QWENIMAGE_DEFAULT"
KITE = GenerationRequest(prompt="a kite")
IMAGE_URL = "https://example.com/in.png"


class World:
    """What a provocation has at hand: a service, the connection to it, an Airflow and a folder."""

    def __init__(self, service: Emulator, bench: Bench, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.service, self.bench, self.folder, self.patch = service, bench, folder, patch
        self.hook = QwenImageHook()

    def connect(self, **fields: Any) -> QwenImageHook:
        """Change fields of the connection."""
        given = {"conn_type": "qwenimage", "host": self.service.url, "password": self.service.api_key, **fields}
        self.patch.setenv(CONNECTION, json.dumps(given))
        return self.hook

    def credits(self, **fields: Any) -> float:
        """Ask for the balance over a changed connection."""
        return self.connect(**fields).get_credits()

    def plan(self, endpoint: str, kind: str, **parameters: Any) -> QwenImageHook:
        self.service.plan(endpoint, kind, **parameters)
        return self.hook

    def wait(self, kind: str, **parameters: Any) -> Any:
        """Buy a generation that turns out badly, and wait for it."""
        self.plan("create", kind, **parameters)
        return self.hook.wait_for_task(self.hook.create_task(KITE).generation_id, timeout=0.5, poll_interval=0.1)

    def generate(self, **arguments: Any) -> None:
        """Run the operator in a DAG, and raise what it failed with."""
        raise self.bench.generate(**arguments).error("gen")

    def save_with(self, kind: str, **parameters: Any) -> None:
        self.plan("image", kind, times=100, **parameters)
        self.generate(output_path=str(self.folder))

    def file(self, content: bytes) -> str:
        path = self.folder / "in.jpeg"
        path.write_bytes(content)
        return str(path)

    def run(self, *command: str) -> None:
        """Run this Python, and raise what it complained of."""
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
        raise RuntimeError(done.stderr)


@pytest.fixture
def world(service: Emulator, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("airflow_provider_qwenimage.api.retrying.Retries._wait", lambda self, state: 0.0)
    return World(service, bench, tmp_path, monkeypatch)


def no_connection(w: World) -> None:
    w.patch.delenv(CONNECTION)
    w.hook.get_credits()


def no_ca_bundle(w: World) -> None:
    w.patch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    w.credits(host="https://127.0.0.1:1")


def bad_certificate(w: World) -> None:
    with Server(CREDITS, tls=Authority(w.folder).server) as server:
        w.credits(host=server.url)


def bad_proxy(w: World) -> None:
    w.patch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{closed_port()}")
    w.credits(host="https://api.qwenimage.invalid")


def not_the_service(w: World) -> None:
    raise RuntimeError(w.plan("get_credits", "html", times=10).test_connection()[1])


def ui_test_button(w: World) -> None:
    if not airflow_version.startswith("3.3"):
        pytest.skip("the UI of Airflow 3.3 says this")
    from airflow.api_fastapi.core_api.routes.public import connections

    raise RuntimeError(inspect.getsource(connections))


def no_id(w: World) -> None:
    def build() -> None:
        QwenImageTaskSensor(task_id="wait", generation_id="{{ ti.xcom_pull(task_ids='nobody') }}")

    raise w.bench.run_one(build).error("wait")


def wrong_function(w: World) -> None:
    from dags_made_here import task

    def build() -> None:
        @task.qwenimage
        def draw() -> Any:
            return 7

        draw()

    raise w.bench.run_one(build).error("draw")


def no_credits(w: World) -> None:
    w.service.state.set_account(w.service.api_key, 0, enabled=True)
    w.hook.create_task(KITE)


def unreachable_image(w: World) -> None:
    w.plan("create", "refuse", message="Invalid image url")
    w.hook.create_task(GenerationRequest(prompt="a kite", image_urls=(IMAGE_URL,)))


def cut_off(w: World) -> None:
    from logging import getLogger

    from airflow_provider_qwenimage.durable import FileStore, Record
    from airflow_provider_qwenimage.purchase import Purchase

    store = FileStore(str(w.folder), "a task")
    store.save(Record("f", 0, intended_at=1.0))
    Purchase(w.hook, store, fingerprint="f", marker=0, resubmit=False, is_killed=bool, log=getLogger()).of_earlier_try()


def damaged_record(w: World) -> None:
    from airflow_provider_qwenimage.durable import FileStore, Record

    store = FileStore(str(w.folder), "a task")
    store.save(Record("f", 0, intended_at=1.0))
    (file,) = (w.folder / ".qwenimage").iterdir()
    file.write_text("{}")
    store.load()


def strange_event(w: World) -> None:
    from airflow_provider_qwenimage.triggers import WaitEvent

    WaitEvent.read({"status": "well done"})


def private_host(w: World) -> None:
    w.patch.delenv(CONNECTION)

    def build() -> None:
        QwenImageToObjectStorageOperator(
            task_id="save", result_urls=["http://127.0.0.1:1/a_0.png"], output_path=str(w.folder)
        )

    raise w.bench.run_one(build).error("save")


def create(**fields: Any) -> Callable[[World], Any]:
    return lambda w: QwenImageCreateTaskOperator(task_id="create", **{"prompt": "a kite", **fields})


def generate(**fields: Any) -> Callable[[World], Any]:
    return lambda w: QwenImageGenerateOperator(task_id="generate", prompt="a kite", **fields)


EMULATOR = "airflow_provider_qwenimage.emulator"
WITHOUT_UVICORN = f"import sys; sys.modules['uvicorn'] = None; from {EMULATOR} import Emulator"

# The text of a row, as it stands on the page -> what provokes it.
PROVOCATIONS: dict[str, Callable[[World], Any]] = {
    "The conn_id `qwenimage_default` isn't defined": no_connection,
    "can't be used: There is no API key.": lambda w: w.credits(password=""),
    "The API key holds blanks or characters that no key has: paste it again.": lambda w: w.credits(password="key 1"),
    "The base URL must look like https://api.pixwith.ai, not …": lambda w: w.credits(host="ftp://127.0.0.1"),
    "read_timeout must be a number of seconds, not …": lambda w: w.credits(extra={"read_timeout": "soon"}),
    "Time-outs must be more than 0 and at most 86,400 seconds.": lambda w: w.credits(extra={"read_timeout": 0}),
    "There is no CA bundle at …": no_ca_bundle,
    "Could not connect to …: connection refused or unreachable.": lambda w: w.credits(
        host=f"http://127.0.0.1:{closed_port()}"
    ),
    "Could not connect to …: the name can't be resolved.": lambda w: w.credits(host="https://api.qwenimage.invalid"),
    "Could not connect to …: its certificate is not trusted.": bad_certificate,
    "Could not connect to …: the proxy can't be reached or refused.": bad_proxy,
    "answers, but not as the Qwen Image service does.": not_the_service,
    "The reply to get_credits is an HTML page.": lambda w: w.plan("get_credits", "html", times=10).get_credits(),
    "The service did not take the create.": lambda w: w.plan("create", "http_error", status=503, times=10).create_task(
        KITE
    ),
    "The service failed to answer the get_credits.": lambda w: w.plan(
        "get_credits", "http_error", status=500, body="empty", times=10
    ).get_credits(),
    "The host or port to test differs from the stored connection": ui_test_button,
    "prompt must be a text that is not blank, not …": create(prompt=" "),
    "… has become None: did the task that it comes from return it?": lambda w: w.generate(
        image="{{ ti.xcom_pull(task_ids='nobody') }}"
    ),
    "aspect_ratio must be one of 3:4, 9:16, 4:3, 16:9, not …": create(aspect_ratio="1:1"),
    "aspect_ratio is for text-to-image only": create(aspect_ratio="4:3", image_urls=IMAGE_URL),
    "num_outputs must be a whole number from 1 to 4, not …": create(num_outputs=5),
    "image_urls must hold exactly one URL": create(image_urls=[IMAGE_URL, IMAGE_URL]),
    "image and image_urls are two ways to give one image": generate(image="/a.png", image_urls=IMAGE_URL),
    "output_path must be an absolute path or a URL such as s3://bucket/folder, not …": generate(output_path="images"),
    "2 images would get the same name: add {index}": lambda w: w.generate(
        num_outputs=2, output_path=str(w.folder), file_name="{generation_id}.{ext}"
    ),
    "generation_id must be a text, not …: did the task that it comes from return it?": no_id,
    "The input image can't be used.": lambda w: w.hook.upload_image(w.file(sample("jpeg")[:500])),
    "The input image has … bytes, and … are allowed.": lambda w: w.hook.upload_image(
        w.file(sample("jpeg")), max_bytes=10
    ),
    "A @task.qwenimage function must return a prompt or a dict of request fields, not …": wrong_function,
    "service message: 'Invalid API KEY'": lambda w: w.credits(password="key_00000000000000000000000000000000"),
    "service message: 'Credits not enough'": no_credits,
    "The account has … credits, and min_credits asks for …: nothing was submitted.": lambda w: w.generate(
        min_credits=10_000
    ),
    "service message: 'Invalid image url'": unreachable_image,
    "The create was sent, but its outcome is unknown: …": lambda w: w.plan("create", "close_after").create_task(KITE),
    "An earlier try of this task was cut off while it submitted.": cut_off,
    "what an earlier try has stored can't be read: …": damaged_record,
    "Generation … failed at the service, which gives no reason.": lambda w: w.wait("fail"),
    "Generation … is completed but has no images.": lambda w: w.wait("missing_urls", urls="empty"),
    "Generation … has 1 of 2 images.": lambda w: w.plan("create", "missing_urls") and w.generate(num_outputs=2),
    "Stopped waiting for generation … after … s: …": lambda w: w.wait("stuck"),
    "The service refused the get.": lambda w: w.hook.get_task("0" * 32),
    "The trigger sent an event that is not understood: …": strange_event,
    "The image at … could not be fetched.": lambda w: w.save_with("http_error", status=404),
    "The image at … could not be fetched: …": lambda w: w.save_with("close_before"),
    "The JPEG image is truncated or damaged: …": lambda w: w.save_with("truncated_image"),
    "The answer is not a JPEG, PNG or WebP image: it …": lambda w: w.save_with("mislabelled", actual="html"),
    "The service names an image on …, which is no public address: not fetched.": private_host,
    "The emulator needs 'uvicorn': pip install 'airflow-provider-qwenimage[emulator]'": lambda w: w.run(
        "-c", WITHOUT_UVICORN
    ),
    "Cannot listen on 127.0.0.1 port …: Address already in use": lambda w: w.run(
        "-m", EMULATOR, "--port", w.service.url.rpartition(":")[2]
    ),
}

ROWS = [row for table in tables(prose_of(DOCS / "troubleshooting.md")) for row in table]
TEXTS = [row[0].strip("`") for row in ROWS]


def test_each_row_is_provoked_and_says_what_to_do():
    """No row without its provocation, none twice, and each tells what it means or what to do."""
    assert sorted(TEXTS) == sorted(PROVOCATIONS)
    assert all(len(row) == 3 and row[2] for row in ROWS)


@pytest.mark.parametrize("text", TEXTS)
def test_the_text_is_what_a_user_sees(text: str, world: World):
    """What the page quotes is in the words of the error."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 (which one is what the page says)
        PROVOCATIONS[text](world)
    pattern = ".*".join(re.escape(part) for part in text.split("…"))
    assert re.search(pattern, str(caught.value), re.DOTALL), str(caught.value)[:600]
