"""Everything that can go wrong with the service, as one tree.

::

    QwenImageError
    ├── InvalidRequestError         found before anything was sent; also a ValueError
    ├── InvalidSettingsError        no API key, or a base URL that is none; also a ValueError
    ├── TransientError              may work later: a read is retried
    │   ├── NotSentError            the connection was never made
    │   ├── OverloadedError         429 or 503: refused before it was worked on
    │   ├── ServiceError            other 5xx, time-outs, lost connections while reading
    │   │   └── UnexpectedReplyError    an answer that can't be understood
    │   └── UploadError             the input image did not reach the service's storage
    ├── RejectedError               the service understood and said no
    │   ├── AuthenticationError     wrong, missing or disabled API key
    │   ├── InsufficientCreditsError
    │   ├── InvalidImageError       the input image is unreachable or of the wrong format
    │   └── NotFoundError           the service does not know (any more) what was asked for
    ├── UnknownOutcomeError         a create whose answer was lost: it may have been charged
    ├── GenerationError             about one generation, named by ``generation_id``
    │   ├── GenerationFailedError   the service tried and failed
    │   │   └── NoImagesError       completed, but without a single image
    │   ├── MissingImagesError      fewer images than asked for
    │   └── GenerationTimeoutError  we stopped waiting
    └── ImageError                  about the bytes of one result image
        ├── ImageGoneError          its URL answers 4xx: expired or never valid
        ├── ForbiddenHostError      its URL leads into a private network
        ├── ImageDownloadError      it could not be fetched this time
        └── BrokenImageError        truncated, mislabelled or no image at all
            └── ImageTooLongError       longer than is accepted

Each class says what it means for money (``money``), what to do next (``advice``) and whether doing the same again
is safe and may help (``retry_safe``); the text of an error ends with these sentences.
"""

from __future__ import annotations

from typing import ClassVar

from airflow_provider_qwenimage.api.text import printable


class QwenImageError(Exception):
    """Base of all errors of this package.

    :param message: what happened, one sentence.
    :param http_status: status of the HTTP answer, if there was one.
    :param service_message: the service's own words, if it gave any.
    :param retry_after: seconds that the service asked to wait before the next request.
    :param generation_id: the generation that this is about, if it is about one.
    """

    money: str = ""  # of the class; an error that knows more says it itself
    advice: str = ""
    retry_safe: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        service_message: str | None = None,
        retry_after: float | None = None,
        generation_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = printable(message, 2000)  # it may hold ids and URLs, which are words of others too
        self.http_status = http_status
        self.service_message = None if service_message is None else printable(service_message)
        self.retry_after = retry_after
        self.generation_id = generation_id

    def __str__(self) -> str:
        facts = [f"HTTP {self.http_status}"] if self.http_status is not None else []
        if self.service_message:
            facts.append(f"service message: {self.service_message!r}")
        what = self.message + (f" ({', '.join(facts)})" if facts else "")
        return " ".join(part for part in (what, self.money, self.advice) if part)


class InvalidRequestError(QwenImageError, ValueError):
    """The request breaks a rule of the service; found before anything was sent. Retrying can't help."""

    money = "Nothing was sent, so no credits were spent."


class InvalidSettingsError(QwenImageError, ValueError):
    """The client can't be built from these settings. Retrying can't help before they are mended."""

    money = "Nothing was sent, so no credits were spent."


class TransientError(QwenImageError):
    """The request may work later. Reads are retried, a create only where the class says that nothing was bought."""

    retry_safe = True


class NotSentError(TransientError):
    """The connection to the service was never made. Retrying is safe."""

    money = "Nothing was sent, so no credits were spent."
    advice = "Check the base URL in the connection, and the network, proxy and certificates of this machine."


class OverloadedError(TransientError):
    """The service refused to work on the request now (HTTP 429 or 503). Retrying later is safe."""

    money = "The request was refused before it was worked on, so no credits were spent."
    advice = "Try again later, or send fewer requests at a time."


class ServiceError(TransientError):
    """A request that only reads got no usable answer. Retrying is safe: reading costs nothing."""

    money = "Reading costs no credits."


class UnexpectedReplyError(ServiceError):
    """The answer can't be understood: no envelope, HTML, an unknown status. Retrying is safe: reading costs nothing."""

    advice = "Check that the base URL in the connection is the service's."


class UploadError(TransientError):
    """The input image could not be uploaded. Retrying is safe: it costs nothing, and each try gets a new form."""

    money = "Uploading costs no credits, and nothing was generated."


class RejectedError(QwenImageError):
    """The service understood the request and said no. The same request will be refused again."""

    money = "The service refused the request, so no credits were spent."


class AuthenticationError(RejectedError):
    """The API key is missing, wrong or disabled. Retrying can't help before it is mended."""

    advice = "Check the API key in the password field of the Airflow connection."


class InsufficientCreditsError(RejectedError):
    """The account has too few credits. Retrying can't help before it is topped up."""

    advice = "Top up the account, then clear the task."


class InvalidImageError(RejectedError):
    """The service can't use the input image. Retrying can't help."""

    advice = "Give a JPEG or PNG at a URL that is reachable from the public internet."


class NotFoundError(RejectedError):
    """The service does not know what was asked for: a wrong id, another account's, or one that has expired."""

    money = "Reading costs no credits."
    advice = "Check the generation id, and that the connection holds the key of the account that made it."


class UnknownOutcomeError(QwenImageError):
    """A create was sent but its answer was lost: something may have been bought. It is never sent again blindly."""

    money = "The generation may have been started and charged."
    advice = (
        "It is not sent again by itself, since that could pay twice: compare the account's credits, "
        "then clear the task to generate anew."
    )


class GenerationError(QwenImageError):
    """About one generation; ``generation_id`` names it."""


class GenerationFailedError(GenerationError):
    """The service gave up on the generation. It is over: waiting again can't help, only a new one can."""

    money = "Whether the service refunds failed generations is not published: look at the account's credits."
    advice = "Change the prompt or the image if it fails again: a new generation is a new purchase."


class NoImagesError(GenerationFailedError):
    """Completed without an image, as a moderation block may look. The same request will probably end the same."""

    money = "It has probably been charged."


class MissingImagesError(GenerationError):
    """Completed with fewer images than asked for. Waiting again can't help; those that there are, were saved."""

    money = "It has probably been charged in full."
    advice = 'Set on_missing_images="keep" to go on with what there is.'


class GenerationTimeoutError(GenerationError):
    """We stopped waiting; the generation itself may still complete."""

    money = "The generation goes on at the service and may be charged."
    advice = "Wait for the same generation id again (a QwenImageTaskSensor does) instead of submitting anew."
    retry_safe = True


class ImageError(QwenImageError):
    """About the bytes of one result image. The generation itself is done and paid for; saving it again is free."""

    money = "The generation is already paid for; saving its images again costs nothing."


class ImageGoneError(ImageError):
    """The image's URL answers 4xx. Retrying soon can't help."""

    advice = (
        "Result URLs do not live for ever: save images soon after they are made, with the URLs unchanged. "
        "No retry buys again: clear the task that generates, for a new image that is paid for."
    )


class ForbiddenHostError(ImageError):
    """The image's URL, or a redirect of it, leads to a private address. Retrying can't help."""

    advice = "Only a connection whose base URL is a private address itself may lead to one."


class ImageDownloadError(ImageError):
    """The image could not be fetched this time. Retrying is safe."""

    retry_safe = True


class BrokenImageError(ImageError):
    """What was fetched is truncated, mislabelled or no image at all. Retrying is safe and may help."""

    retry_safe = True


class ImageTooLongError(BrokenImageError):
    """What was fetched is longer than is accepted. Retrying can't help: it would be as long again."""

    retry_safe = False
