"""S3 through ``s3://`` and Airflow's Amazon provider: read from, written to, and breaking in mid-write."""

from __future__ import annotations

import io
import json
import sys
import threading
from hashlib import sha256
from typing import Any

import pytest
from dags_made_here import Bench, asset_events
from PIL import Image
from storage_servers import Bucket, FaultyProxy

from airflow_provider_qwenimage import _compat
from airflow_provider_qwenimage._compat import AIRFLOW_3, asset_types
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.operators import QwenImageGenerateOperator
from airflow_provider_qwenimage.transfers import ObjectStorageToQwenImageOperator, QwenImageToObjectStorageOperator

pytest.importorskip("airflow.providers.amazon.aws.fs.s3", reason="the Amazon provider is not installed")


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("login", ["", "pictures@"], ids=["environment", "connection"])
@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
def test_images_are_saved(login: str, deferrable: bool, bench: Bench, service: Emulator, bucket: Bucket):
    """Images, sidecars and embedded facts go to a bucket; records and objects agree, byte for byte."""
    run = bench.generate(
        num_outputs=2,
        output_path=f"s3://{login}{bucket.name}/made",
        file_name="{generation_id}/{index}.{ext}",
        sidecar=True,
        embed_metadata=True,
        deferrable=deferrable,
    )
    assert run.state == "success", run.errors
    generation_id = run.xcom("gen", "generation_id")
    names = [f"made/{generation_id}/{index}.jpeg" for index in (0, 1)]
    assert bucket.keys() == sorted([*names, *(f"{name}.json" for name in names)])
    assert run.xcom("gen") == [f"s3://{login}{bucket.name}/{name}" for name in names]
    for name, record in zip(names, run.xcom("gen", "images"), strict=True):
        content = bucket.get(name)
        assert (record["bytes"], record["sha256"]) == (len(content), sha256(content).hexdigest())
        Image.open(io.BytesIO(content)).load()
        assert json.loads(bucket.get(f"{name}.json"))["sha256"] == record["sha256"]
        assert bucket.content_type(name) == record["content_type"] == "image/jpeg"
        assert bucket.content_type(f"{name}.json") == "application/json"
    assert service.report()["bought"] == 1


def test_without_a_connection_in_the_path_none_is_used(
    bench: Bench, service: Emulator, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
):
    """s3://bucket means what the worker's environment says, not the connection aws_default."""
    elsewhere = {"conn_type": "aws", "login": "a", "password": "b", "extra": {"endpoint_url": "http://127.0.0.1:9"}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(elsewhere))
    run = bench.generate(output_path=f"s3://{bucket.name}/made")
    assert run.state == "success", run.errors
    assert len(bucket.keys()) == 1


@pytest.mark.parametrize("login", ["", "pictures@"], ids=["environment", "connection"])
def test_input_image_is_read(login: str, bench: Bench, service: Emulator, bucket: Bucket):
    """image= opens an object of a bucket; the upload keeps to the contract."""
    bucket.put("in/photo", picture())
    run = bench.generate(image=f"s3://{login}{bucket.name}/in/photo")
    assert run.state == "success", run.errors
    assert service.state.generation(run.xcom("gen", "generation_id")).source
    assert service.report()["violations"] == []


def test_from_bucket_to_bucket(bench: Bench, service: Emulator, bucket: Bucket):
    """Upload, generate and save as three tasks, and the saved image as the input of a next one."""
    bucket.put("in.jpg", picture())
    folder = f"s3://pictures@{bucket.name}/out"

    def build() -> None:
        url = ObjectStorageToQwenImageOperator(task_id="up", image_path=f"s3://{bucket.name}/in.jpg")
        made = QwenImageGenerateOperator(task_id="gen", prompt="as a woodcut", image_urls=url.output)
        saved = QwenImageToObjectStorageOperator(task_id="save", result_urls=made.output, output_path=folder)
        QwenImageGenerateOperator(task_id="again", prompt="as an etching", image=saved.output, output_path=folder)

    run = bench.run_one(build)
    assert run.state == "success", run.errors
    assert len(bucket.keys()) == 3
    assert service.report()["violations"] == []


def test_connection_id_is_no_part_of_the_asset(bench: Bench, service: Emulator, bucket: Bucket):
    """Who may open the bucket is not what it is called: an alias gets the bucket's own URI."""
    _, alias = asset_types()
    run = bench.generate(output_path=f"s3://pictures@{bucket.name}/made", outlets=[alias(f"alias-{bucket.name}")])
    (event,) = asset_events(run)
    about = getattr(event, "asset", None) or event.dataset
    assert about.uri == f"s3://{bucket.name}/made"


def test_lineage_names_the_object(bench: Bench, service: Emulator, bucket: Bucket, monkeypatch: pytest.MonkeyPatch):
    """Airflow's lineage learns of the object by the URI that others know it by, without our connection's id."""
    told = []

    def tell(*, uri: str, **context: Any) -> None:
        told.append((uri, threading.current_thread() is threading.main_thread()))

    module = sys.modules[type(_compat._lineage()).__module__]  # where it stands differs, on Airflow 3.0 to 3.2 too
    collector = module.HookLineageCollector()
    monkeypatch.setattr(collector, "add_output_asset" if AIRFLOW_3 else "add_output_dataset", tell)
    monkeypatch.setattr(module, "get_hook_lineage_collector", lambda: collector)
    run = bench.generate(output_path=f"s3://pictures@{bucket.name}/made", num_outputs=2)
    # From one thread alone: Airflow's collector is not made for several, and loses some.
    assert [entry for entry in told if ".qwenimage/" not in entry[0]] == [
        (path.replace("pictures@", ""), True) for path in run.xcom("gen")
    ]


def test_broken_write_is_made_good_in_the_client(bench: Bench, service: Emulator, bucket: Bucket, proxy: FaultyProxy):
    """A store that breaks off in mid-write is written to again: one purchase, whole objects."""
    proxy.breaks = 2
    run = bench.generate(num_outputs=2, output_path=f"s3://{bucket.name}/made")
    assert run.state == "success", run.errors
    assert proxy.broken == 2
    assert proxy.puts >= 4
    for record in run.xcom("gen", "images"):
        assert sha256(bucket.get(record["path"].split("/", 3)[3])).hexdigest() == record["sha256"]
    assert service.report()["bought"] == 1


def test_store_that_stays_broken_keeps_no_half(bench: Bench, service: Emulator, bucket: Bucket, proxy: FaultyProxy):
    """When the client gives up the task fails with the store's error, and no object is there, whole or half."""
    proxy.breaks = 1_000
    run = bench.generate(output_path=f"s3://{bucket.name}/made")
    assert run.state == "failed"
    assert proxy.broken > 1
    assert bucket.keys() == []
    assert run.xcom("gen", "generation_id") is not None
    assert service.report()["bought"] == 1


def test_missing_bucket_is_named(bench: Bench, service: Emulator, bucket: Bucket):
    """A bucket that does not exist fails with a FileNotFoundError that names it."""
    run = bench.generate(output_path="s3://no-such-bucket-here/made")
    assert run.state == "failed"
    (error,) = {type(error): error for _, error in run.errors}.values()
    assert isinstance(error, FileNotFoundError)
    assert "bucket" in str(error).lower()
