"""Image-to-image: where the input image may come from, and what is refused before anything is sent."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import Run
from dags_made_here import Bench, task
from PIL import Image

from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.operators import QwenImageGenerateOperator
from airflow_provider_qwenimage.transfers import ObjectStorageToQwenImageOperator


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, kind)
    return file.getvalue()


def drawn(service: Emulator, run: Run, task_id: str = "gen") -> Any:
    """The generation that a run has bought, as the service knows it; nothing about it broke the contract."""
    assert run.state == "success", run.errors
    assert service.report()["violations"] == []
    return service.state.generation(run.xcom(task_id, "generation_id"))


@pytest.mark.parametrize("shape", [str, lambda url: [url]], ids=["text", "list of one"])
def test_url_goes_on_unchanged(shape: Callable[[str], Any], bench: Bench, service: Emulator):
    """An http(s) URL, signature and all, is sent as it is; nothing is uploaded."""
    url = bench.generate().xcom("gen")[0]
    run = bench.generate(image=shape(url))
    assert drawn(service, run).source
    (body,) = [entry["body"] for entry in service.requests() if entry["endpoint"] == "create"][1:]
    assert url in str(body)
    assert service.report()["requests"]["pre_url"] == 0


def test_output_of_another_task(bench: Bench, service: Emulator):
    """The list of one that a generate task returns is what the next one starts from."""

    def two_steps() -> None:
        first = QwenImageGenerateOperator(task_id="first", prompt="a kite", aspect_ratio="3:4")
        QwenImageGenerateOperator(task_id="gen", prompt="as a woodcut", image=first.output)

    assert drawn(service, bench.run_one(two_steps)).source


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [("in.jpg", "JPEG"), ("in.jpeg", "JPEG"), ("in.png", "PNG"), ("in.png", "JPEG"), ("in.jpg", "PNG"), ("in", "PNG")],
)
def test_file_is_uploaded_as_what_it_is(
    scheme: str, name: str, kind: str, bench: Bench, service: Emulator, tmp_path: Path
):
    """A local file is uploaded with the form unchanged and the file last; its content says what it is, not its name."""
    (tmp_path / name).write_bytes(picture(kind))
    run = bench.generate(image=f"{scheme}{tmp_path / name}")
    assert drawn(service, run).source
    report = service.report()
    assert (report["requests"]["pre_url"], report["uploads"], report["bought"]) == (1, 1, 1)
    (form,) = [entry["body"] for entry in service.requests() if entry["endpoint"] == "pre_url"]
    assert f"image/{kind.lower()}" in str(form)


def _text(folder: Path) -> Path:
    path = folder / "in.png"
    path.write_text("no image at all")
    return path


def _webp(folder: Path) -> Path:
    path = folder / "in.jpg"
    path.write_bytes(picture("WEBP"))
    return path


def _truncated(folder: Path) -> Path:
    path = folder / "in.png"
    path.write_bytes(picture()[:-20])
    return path


def _empty(folder: Path) -> Path:
    path = folder / "in.png"
    path.touch()
    return path


def _too_long(folder: Path) -> Path:
    path = folder / "in.png"
    path.write_bytes(picture() + bytes(10 * 1024 * 1024))
    return path


BAD_FILES = [
    (_text, "not a JPEG"),
    (_webp, "image/webp"),
    (_truncated, "truncated"),
    (_empty, "empty"),
    (_too_long, "10,485,760 are allowed"),
]


@pytest.mark.parametrize(("make", "says"), BAD_FILES)
@pytest.mark.parametrize("how", ["generate", "transfer"])
def test_unusable_file_is_found_before_any_request(
    how: str, make: Callable[[Path], Path], says: str, bench: Bench, service: Emulator, tmp_path: Path
):
    """No request at all leaves for a file that the service would refuse; not even the balance is asked for."""
    path = str(make(tmp_path))
    if how == "generate":
        run = bench.generate(image=path, min_credits=1, retries=2)
    else:
        run = bench.run_one(lambda: ObjectStorageToQwenImageOperator(task_id="gen", image_path=path), retries=2)
    error = run.error("gen")
    assert isinstance(error, errors.InvalidRequestError)
    assert says in str(error)
    assert set(service.report()["requests"].values()) == {0}


def test_limit_on_input_images_is_an_argument(bench: Bench, service: Emulator, tmp_path: Path):
    """max_upload_bytes moves the limit: one byte less than the file refuses it, its length lets it pass."""
    path = tmp_path / "in.png"
    path.write_bytes(picture())
    length = path.stat().st_size
    run = bench.generate(image=str(path), max_upload_bytes=length - 1)
    assert isinstance(run.error("gen"), errors.InvalidRequestError)
    assert service.requests() == []
    assert drawn(service, bench.generate(image=str(path), max_upload_bytes=length))


def test_missing_file_buys_nothing(bench: Bench, service: Emulator, tmp_path: Path):
    """A path where nothing is fails with a FileNotFoundError that names it, before any request."""
    run = bench.generate(image=str(tmp_path / "nothing.png"))
    assert isinstance(run.error("gen"), FileNotFoundError)
    assert "nothing.png" in str(run.error("gen"))
    assert service.requests() == []


def test_expired_form_is_asked_for_anew(bench: Bench, service: Emulator, tmp_path: Path):
    """A form that the storage no longer takes is replaced by a new one; the image is bought once."""
    (tmp_path / "in.png").write_bytes(picture())
    service.plan("upload", "http_error", status=403, body="text", message="Policy expired")
    run = bench.generate(image=str(tmp_path / "in.png"))
    assert drawn(service, run).source
    report = service.report()
    assert (report["requests"]["pre_url"], report["requests"]["upload"], report["uploads"]) == (2, 2, 1)
    assert report["bought"] == 1


def test_storage_that_takes_nothing_fails_before_buying(bench: Bench, service: Emulator, tmp_path: Path):
    """When every form is refused the task fails with the storage's words, free of charge, for Airflow to retry."""
    (tmp_path / "in.png").write_bytes(picture())
    service.plan("upload", "http_error", status=403, body="text", message="AccessDenied", times=99)
    error = bench.generate(image=str(tmp_path / "in.png")).error("gen")
    assert isinstance(error, errors.UploadError)
    assert "AccessDenied" in str(error)
    assert error.retry_safe
    assert service.report()["bought"] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"image": "/a.png", "aspect_ratio": "16:9"}, "aspect_ratio"),
        ({"image": "/a.png", "image_urls": "http://127.0.0.1/a.png"}, "image and image_urls"),
        ({"image": "/a.png", "image_urls": ["http://127.0.0.1/a.png"]}, "image and image_urls"),
        ({"on_missing_images": "maybe"}, "on_missing_images"),
        *[({"timeout": value}, "timeout must be") for value in (None, "900", 0, -1, float("inf"), True)],
        *[({"poll_interval": value}, "poll_interval must be") for value in ("5", 0, -1, float("nan"))],
        ({"output_path": "images"}, "absolute"),
        ({"output_path": "/tmp", "file_name": "../{index}.{ext}"}, "file name"),
        ({"output_path": "/tmp", "file_name": "{seed}.{ext}"}, "Placeholders are"),
    ],
)
def test_contradictions_fail_when_the_dag_is_parsed(arguments: dict[str, Any], says: str):
    """What can never be right fails in the constructor and names the argument."""
    with pytest.raises(errors.InvalidRequestError, match=says):
        QwenImageGenerateOperator(task_id="gen", prompt="a kite", **arguments)


def test_times_are_numbers_or_timedeltas():
    """Both are what DAG authors write."""
    minute = timedelta(minutes=1)
    for value in (60, 60.0, minute):
        made = QwenImageGenerateOperator(task_id="gen", prompt="a kite", timeout=value, poll_interval=value)
        assert (made.timeout, made.poll_interval) == (60, 60)


@pytest.mark.parametrize(
    "arguments",
    [
        {"image": "{{ '/a.png' }}", "aspect_ratio": "{{ '16:9' }}"},
        {"image": "{{ '/a.png' }}", "image_urls": "{{ 'http://127.0.0.1/a.png' }}"},
        {"image": "{{ ['/a.png', '/b.png'] }}"},
        {"image": ["/a.png", "/b.png"]},
        {"output_path": "{{ 'images' }}"},
        {"output_path": "/tmp", "file_name": "{{ '..' }}/{index}.{ext}"},
        {"output_path": "/tmp", "file_name": "{{ '{seed}' }}.{ext}"},
        {"output_path": "/tmp", "file_name": "one.{ext}", "num_outputs": "{{ 2 }}"},
    ],
)
def test_contradictions_after_rendering_send_nothing(arguments: dict[str, Any], bench: Bench, service: Emulator):
    """What turns out wrong once the templates are rendered is found before any request."""
    error = bench.generate(**arguments).error("gen")
    assert isinstance(error, errors.InvalidRequestError)
    assert service.requests() == []


def test_empty_image_means_text_to_image(bench: Bench, service: Emulator):
    """A template that renders to nothing leaves the image out, so that one DAG serves both."""
    run = bench.generate(image="{{ None }}", aspect_ratio="{{ '3:4' }}")
    assert drawn(service, run).aspect_ratio == "3:4"


def test_upload_operator_returns_a_url_for_others(bench: Bench, service: Emulator, tmp_path: Path):
    """ObjectStorageToQwenImageOperator returns a text that fits image_urls; it can be mapped over files."""
    paths = []
    for number in range(2):
        paths.append(str(tmp_path / f"{number}.png"))
        Path(paths[-1]).write_bytes(picture(size=(20 + number, 20)))

    def upload_and_generate() -> None:
        uploaded = ObjectStorageToQwenImageOperator.partial(task_id="up").expand(image_path=paths)
        QwenImageGenerateOperator.partial(task_id="gen", prompt="as a woodcut").expand(image_urls=uploaded.output)

    run = bench.run_one(upload_and_generate)
    assert run.state == "success"
    urls = [run.xcom("up", map_index=index) for index in (0, 1)]
    assert all(type(url) is str and url.startswith(service.url) for url in urls)
    assert service.report()["violations"] == []
    sources = {service.state.generation(run.xcom("gen", "generation_id", map_index=index)).source for index in (0, 1)}
    assert len(sources) == 2


@pytest.mark.parametrize("value", [None, "", 7])
def test_upload_operator_wants_a_path(value: Any, bench: Bench, service: Emulator):
    """An upstream task that returned nothing is named as the likely reason; nothing is sent."""

    def upload_what_is_given() -> None:
        @task
        def given() -> Any:
            return value

        ObjectStorageToQwenImageOperator(task_id="gen", image_path=given())

    error = bench.run_one(upload_what_is_given).error("gen")
    assert isinstance(error, (errors.InvalidRequestError, FileNotFoundError))
    assert service.requests() == []


def test_hook_uploads_too(bench: Bench, service: Emulator, tmp_path: Path):
    """QwenImageHook.upload_image does the same from a function of one's own."""
    (tmp_path / "in.jpg").write_bytes(picture("JPEG"))
    assert QwenImageHook().upload_image(f"file://{tmp_path}/in.jpg").startswith(service.url)
    assert service.report()["uploads"] == 1
