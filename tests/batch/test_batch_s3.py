"""The batch on an S3: images, ledger and manifest as objects, and a kill between them."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any

import pytest
import requests
from batch_tries import Tries

from airflow_provider_qwenimage.emulator import Emulator

pytest.importorskip("airflow.providers.amazon.aws.fs.s3", reason="the Amazon provider is not installed")


def ledger_objects(bucket: Any) -> list[str]:
    """The names of all objects of a ledger."""
    listing = requests.get(bucket._url, headers=bucket._headers, timeout=10).text
    return sorted(key for key in re.findall("<Key>(.*?)</Key>", listing) if ".qwenimage/" in key)


@pytest.mark.parametrize("login", ["", "pictures@"], ids=["environment", "connection"])
def test_from_a_bucket_to_a_bucket(login: str, service: Emulator, bucket: Any):
    """Requests are read from an object; images, sidecars, manifest and ledger become objects; a retry buys nothing."""
    lines = "".join(json.dumps({"prompt": f"picture {i}", "key": f"k/{i}"}) + "\n" for i in range(12))
    bucket.put("in/requests.jsonl", lines.encode())
    folder = f"s3://{login}{bucket.name}"
    run = Tries(
        {
            "requests": f"{folder}/in/requests.jsonl",
            "output_path": f"{folder}/made",
            "file_name": "{key}/{index}.{ext}",
            "sidecar": True,
        }
    )
    path = run.next()
    assert path, run.error
    assert path.startswith(f"{folder}/made/manifest-shop.catalogue.manual__")
    made = [json.loads(line) for line in bucket.get(path.removeprefix(f"{folder}/")).decode().splitlines()]
    assert [line["outcome"] for line in made] == ["saved"] * 12
    for line in made:
        (record,) = line["images"]
        key = record["path"].removeprefix(f"{folder}/")
        assert sha256(bucket.get(key)).hexdigest() == record["sha256"]
        assert json.loads(bucket.get(f"{key}.json"))["key"] == line["key"]
        assert bucket.content_type(key) == "image/jpeg"
    assert len(ledger_objects(bucket)) < 40
    assert run.next() == path
    assert service.report()["bought"] == 12


def test_a_bucket_that_is_away_buys_nothing(service: Emulator, bucket: Any):
    """What can't be noted is not bought."""
    run = Tries({"requests": ["a cat"], "output_path": "s3://no-such-bucket-here/made"})
    run.next()
    assert isinstance(run.error, FileNotFoundError)
    assert service.report()["bought"] == 0


def test_images_that_break_in_mid_write(service: Emulator, bucket: Any, proxy: Any):
    """The store fails for some: they are not saved, not half saved, and not bought again by the retry."""
    run = Tries({"requests": [f"picture {i}" for i in range(6)], "output_path": f"s3://{bucket.name}/made"})
    proxy.breaks = 1_000
    run.next()
    assert "6 not_saved" in str(run.error)
    assert [key for key in list(bucket.keys()) if key.endswith(".jpeg")] == []
    proxy.breaks = 0
    assert run.next(), run.error
    assert service.report()["bought"] == 6
