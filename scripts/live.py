"""`make live`: one small order at the real service, with your key: does it still answer as this project believes?

It says what it will buy, asks, and then makes one image from a text and one from an uploaded image. What was answered
is kept in build/live, without secrets; what differs from the published contract is printed.
PIXWITH_BASE_URL names another address.
"""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import deviations
from envs import ROOT, install_dev
from processes import Failure, script
from redaction import without_secrets

if TYPE_CHECKING:
    from airflow_provider_qwenimage.api.client import QwenImageClient
    from airflow_provider_qwenimage.api.models import GenerationRequest, Submission

PATIENCE = 900  # seconds for one generation
IMAGES = 2


class Live:
    """One run: the client, what was answered, and what was strange about it.

    :param folder: where images and replies go.
    """

    def __init__(self, key: str, base_url: str, folder: Path) -> None:
        self.base_url, self.folder = base_url, folder
        self.replies: list[dict[str, Any]] = []
        self.strange: list[str] = []
        self._key = key
        self.client = self._recording_client()

    def _recording_client(self) -> QwenImageClient:
        from airflow_provider_qwenimage.api import wire
        from airflow_provider_qwenimage.api.client import QwenImageClient
        from airflow_provider_qwenimage.api.settings import Settings

        live = self

        class Recording(QwenImageClient):
            """Shows every reply before it is read."""

            def _exchange(self, session: Any, call: wire.Call[Any]) -> wire.Reply:
                reply = super()._exchange(session, call)
                live.note(call.name, reply.status, reply.body)
                return reply

        return Recording(Settings(api_key=self._key, base_url=self.base_url))

    def note(self, name: str, status: int, body: bytes) -> None:
        """Keep a reply without its secrets, and what is strange about it."""
        for text in deviations.of_reply(name, status, body, self.base_url):
            self.tell(text)
        try:
            content = json.loads(body)
        except ValueError:
            content = body[:2000].decode(errors="replace")
        self.replies.append({"call": name, "http_status": status, "body": without_secrets(content, self._key)})

    def tell(self, text: str) -> None:
        """Say once that something differs."""
        text = without_secrets(text, self._key)
        if text not in self.strange:
            self.strange.append(text)

    def generate(self, what: str, request: GenerationRequest) -> list[Path]:
        """Buy one image, wait for it and save it."""
        before, began = self.client.get_credits(), time.monotonic()
        submission = self.client.create_task(request)
        at_once = self.client.get_credits()
        print(f"{what}: generation {submission.generation_id}, estimate {submission.estimated_time} s", flush=True)
        urls = self._wait(submission)
        for text in deviations.of_time(submission.estimated_time, time.monotonic() - began):
            self.tell(text)
        if len(urls) != request.num_outputs:
            self.tell(f"get: {len(urls)} result_urls for num_outputs {request.num_outputs}")
        after = self.client.get_credits()
        when = "at create" if at_once != before else "at completion" if after != before else "nowhere yet"
        print(f"  done in {time.monotonic() - began:.0f} s; {before - after:g} credits taken, {when}", flush=True)
        return [self._save(url, f"{what.replace(' ', '-')}-{index}") for index, url in enumerate(urls)]

    def _wait(self, submission: Submission) -> tuple[str, ...]:
        from airflow_provider_qwenimage.api.models import GenerationStatus

        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            time.sleep(min(max((submission.estimated_time or 10) / 4, 0.2), 5))
            generation = self.client.get_task(submission.generation_id)
            if generation.status is GenerationStatus.COMPLETED:
                return generation.result_urls
            if generation.status is GenerationStatus.FAILED:
                raise Failure(f"The service gave up on generation {submission.generation_id}.")
        raise Failure(f"Generation {submission.generation_id} is not completed after {PATIENCE} s; it goes on there.")

    def _save(self, url: str, name: str) -> Path:
        from airflow_provider_qwenimage.api.download import Downloader

        path = self.folder / name
        with path.open("w+b") as file:
            found = Downloader().fetch(url, file)
        kind = found.facts.format.content_type
        if kind != "image/jpeg":
            self.tell(f"image: {kind}, where image/jpeg is in the published samples")
        whole = path.rename(path.with_suffix(f".{kind.partition('/')[2]}"))
        print(f"  {whole}: {kind}, {found.facts.width} x {found.facts.height}, {found.bytes:,} bytes", flush=True)
        return whole


def agreed(arguments: list[str]) -> bool:
    """Whether the user wants to pay: a typed yes, or ``--yes``."""
    if "--yes" in arguments:
        return True
    try:
        return input(f"Buy {IMAGES} images? Type yes: ").strip().lower() == "yes"
    except EOFError:
        return False


def order(live: Live) -> None:
    """Make an image from a text, upload it, and make one from it."""
    from airflow_provider_qwenimage.api.models import GenerationRequest

    drawn = live.generate("text to image", GenerationRequest(prompt="a lighthouse at dusk, watercolour", num_outputs=1))
    with drawn[0].open("rb") as file:
        url = live.client.upload_image(file)
    print(f"upload: taken by {urlsplit(url).hostname}", flush=True)
    live.generate("image to image", GenerationRequest(prompt="the same in winter", image_urls=(url,), num_outputs=1))


def report(live: Live) -> None:
    """Keep the replies and print what differs."""
    file = live.folder / "replies.json"
    file.write_text(json.dumps({"strange": live.strange, "replies": live.replies}, indent=1), encoding="utf-8")
    print(f"\nThe replies are in {file}, without your key and without signatures.")
    if not live.strange:
        print("Nothing differs from the published contract.")
    else:
        print("This differs from the published contract; please report it, the file is fit to be shown:")
        print("\n".join(f"  - {text}" for text in live.strange), flush=True)


def run(key: str, base_url: str, place: Path, arguments: list[str]) -> int:
    """Test the connection, ask, order, report; returns the exit code."""
    from airflow_provider_qwenimage.api.errors import QwenImageError

    folder = place / datetime.now(timezone.utc).strftime("%Y-%m-%d_%H-%M-%S")
    live = Live(key, base_url, folder)
    try:
        print(f"{base_url} answers and accepts the key: {live.client.get_credits():g} credits.", flush=True)
        print(f"This buys {IMAGES} images. What one costs is not published: your balance will tell.", flush=True)
        if not agreed(arguments):
            print("Nothing was bought.")
            return 1
        folder.mkdir(parents=True)
        order(live)
    except QwenImageError as error:
        raise Failure(str(error)) from None
    finally:
        if folder.exists():
            report(live)
        live.client.close()
    return 0


def main(arguments: list[str]) -> int:
    key = os.environ.get("PIXWITH_API_KEY", "").strip()
    if not key:
        raise Failure("Set PIXWITH_API_KEY to your key: this talks to the real service and buys two images there.")
    install_dev(tools=False)
    base_url = os.environ.get("PIXWITH_BASE_URL", "").strip() or "https://api.pixwith.ai"
    return run(key, base_url, ROOT / "build" / "live", arguments)


if __name__ == "__main__":
    script(main)
