"""What is asked of the service and what it answers, as values that can't be changed.

Requests refuse unknown fields, so that a typo is found; replies ignore them, so that a new one does no harm.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from airflow_provider_qwenimage.api import rules
from airflow_provider_qwenimage.api.errors import InvalidRequestError


class GenerationRequest(BaseModel):
    """One request for images: text-to-image, or image-to-image when ``image_urls`` is given.

    :param prompt: what to draw, in any language.
    :param image_urls: exactly one public http(s) URL of the image to start from.
    :param aspect_ratio: ``3:4``, ``9:16``, ``4:3`` or ``16:9``; text-to-image only, None means ``16:9`` there.
    :param num_outputs: how many images, 1 to 4.
    :param prompt_optimization: whether the service translates the prompt into English.
    :param model_id: the service's name of the model.
    :raises pydantic.ValidationError: a field breaks a rule; it is a ``ValueError`` and names every such field.
    """

    # Before 2.10 pydantic warns, whenever this is imported, that a name like model_id may clash with its own.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    prompt: str
    image_urls: tuple[str, ...] | None = None
    aspect_ratio: str | None = None
    num_outputs: int = 1
    prompt_optimization: bool = True
    model_id: str = rules.DEFAULT_MODEL_ID

    @field_validator(*rules.FIELDS, mode="before")
    @classmethod
    def _follow_the_rules(cls, value: Any, info: Any) -> Any:
        return rules.FIELDS[info.field_name](value)

    @model_validator(mode="after")
    def _one_mode(self) -> GenerationRequest:
        rules.no_ratio_with_image(self.image_urls, self.aspect_ratio)
        return self

    @classmethod
    def checked(cls, **fields: Any) -> GenerationRequest:
        """Build a request, or raise one error that tells all that is wrong with it.

        :raises InvalidRequestError: a field is unknown or breaks a rule.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            raise InvalidRequestError(f"The request is invalid: {_problems(error)}.") from None

    def payload(self) -> dict[str, Any]:
        """Return the JSON object that the service expects, with its fields in the order of the service's page."""
        options: dict[str, Any] = {"prompt_optimization": self.prompt_optimization, "num_outputs": self.num_outputs}
        if self.image_urls is None:
            options["aspect_ratio"] = self.aspect_ratio or rules.DEFAULT_ASPECT_RATIO
            return {"prompt": self.prompt, "model_id": self.model_id, "options": options}
        return {
            "prompt": self.prompt,
            "image_urls": list(self.image_urls),
            "model_id": self.model_id,
            "options": options,
        }


def _problems(error: ValidationError) -> str:
    return "; ".join(_problem(item["type"], item["loc"], item["msg"]) for item in error.errors(include_url=False))


def _problem(kind: str, place: tuple[int | str, ...], message: str) -> str:
    name = ".".join(map(str, place))
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return f"{name} is not a field of a request (fields: {', '.join(GenerationRequest.model_fields)})"
    return f"{name}: {message}"


class Submission(BaseModel):
    """The service's answer to an accepted create.

    ``estimated_time`` is in seconds; None if the service gave none that can be used.
    """

    model_config = ConfigDict(frozen=True)

    generation_id: str
    estimated_time: float | None = None


class UploadForm(BaseModel):
    """Where to send an input image: a form of an object store, good for some minutes.

    :param url: target of the form.
    :param fields: the form's fields, to be sent unchanged and each exactly once.
    :param image_url: where the image will be, for ``image_urls``.
    """

    model_config = ConfigDict(frozen=True)

    url: str
    fields: dict[str, str]
    image_url: str


class GenerationStatus(IntEnum):
    """How far a generation is, in the service's numbers."""

    PROCESSING = 1
    COMPLETED = 2
    FAILED = 3


class Generation(BaseModel):
    """What the service knows of a generation; ``result_urls`` is empty unless it is completed."""

    model_config = ConfigDict(frozen=True)

    generation_id: str
    status: GenerationStatus
    result_urls: tuple[str, ...] = ()
