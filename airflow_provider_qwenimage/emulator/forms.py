"""The upload forms that ``pre_url`` hands out, made like Amazon S3's."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from airflow_provider_qwenimage.emulator.contract import FORM_LIFETIME, MAX_IMAGE_BYTES

CREDENTIAL = "AKIAQWENIMAGEEMULATR"


@dataclass(frozen=True)
class Form:
    """
    One upload form.

    :param name: name of the picture that is uploaded with it
    :param fields: what has to be sent along, unchanged
    :param expires: when it can't be used any longer, in seconds since the epoch
    """

    name: str
    content_type: str
    fields: dict[str, str]
    expires: float


def make_form(name: str, content_type: str, now: float, sign: Callable[[str], str]) -> Form:
    """
    Make the form with which a picture of that name can be uploaded in the next 10 minutes.

    :param now: seconds since the epoch
    :param sign: makes the signature of a text
    """
    moment = datetime.fromtimestamp(now, timezone.utc)
    expires = datetime.fromtimestamp(now + FORM_LIFETIME, timezone.utc)
    fields = {
        "key": f"uploads/{name}",
        "Content-Type": content_type,
        "x-amz-credential": f"{CREDENTIAL}/{moment:%Y%m%d}/us-east-1/s3/aws4_request",
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-date": f"{moment:%Y%m%dT%H%M%SZ}",
    }
    conditions = [{field: value} for field, value in fields.items()]
    policy = {
        "expiration": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
        "conditions": [*conditions, ["content-length-range", 1, MAX_IMAGE_BYTES]],
    }
    fields["policy"] = base64.b64encode(json.dumps(policy).encode()).decode()
    fields["x-amz-signature"] = sign(fields["policy"])
    return Form(name, content_type, fields, now + FORM_LIFETIME)
