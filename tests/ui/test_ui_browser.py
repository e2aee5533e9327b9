"""The images page, the connection form and the extra link as users see them: a real browser on a running Airflow.

Needs Debian's ``chromium`` and PyPI's ``playwright``. Screenshots are kept in build/screenshots, or in the folder that
QWENIMAGE_SCREENSHOTS names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import pytest
from airflow import __version__ as airflow_version
from ui_live import PASSWORDS, Live, live_airflow

from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.provider_info import get_provider_info
from airflow_provider_qwenimage.ui.urls import Place

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = os.environ.get("QWENIMAGE_CHROMIUM", "/usr/bin/chromium")

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not os.path.exists(CHROMIUM), reason=f"there is no {CHROMIUM}")]

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WIDE = {"width": 1280, "height": 900}
LOADED = "images => images.length > 0 && images.every(image => image.complete && image.naturalWidth > 0)"


@pytest.fixture(scope="module")
def service() -> Iterator[Emulator]:
    with Emulator(estimated_time=1, duration=0.3, credits=1000, image_size=768, seed=7) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, service: Emulator) -> Iterator[Live]:
    connection = {"conn_type": "qwenimage", "host": service.url, "password": service.api_key}
    with live_airflow(tmp_path_factory.mktemp("live"), json.dumps(connection)) as running:
        yield running


@pytest.fixture(scope="module")
def runs(live: Live) -> dict[str, str]:
    """The ids of one finished run of each DAG."""
    return {dag_id: live.run(dag_id) for dag_id in ("ui_vault", "ui_gallery")}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def shots(request: pytest.FixtureRequest) -> Path:
    kept = request.config.rootpath / "build" / "screenshots"
    folder = Path(os.environ.get("QWENIMAGE_SCREENSHOTS") or kept) / f"airflow-{airflow_version}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Reader:
    """Somebody at a browser."""

    def __init__(self, chromium: Any, live: Live, name: str | None, scheme: str = "light") -> None:
        self.context = chromium.new_context(viewport=WIDE, color_scheme=scheme, reduced_motion="reduce")
        self.context.set_default_timeout(30_000)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._heard)
        self.live = live
        if name:
            self.log_in(name)

    def _heard(self, message: Any) -> None:
        if "allow-scripts and allow-same-origin" in message.text:  # Chromium's remark on Airflow's frame for plugins
            return
        if "/qwenimage/" in (message.location or {}).get("url", "") or "Content Security Policy" in message.text:
            self.complaints.append(message.text)

    def log_in(self, name: str) -> None:
        self.page.goto(f"{self.live.url}/auth/login")
        self.page.get_by_label("Username").fill(name)
        self.page.locator("input[type=password]").fill(PASSWORDS[name])
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(lambda url: "/auth/login" not in url)

    def open(self, path: str) -> Any:
        return self.page.goto(f"{self.live.url}{path}")

    def open_from_menu(self) -> Any:
        """Click Browse, then Qwen Image; returns the frame."""
        self.open("/")
        self.page.get_by_role("button", name="Browse").or_(self.page.get_by_role("link", name="Browse")).first.click()
        self.page.get_by_text("Qwen Image", exact=True).click()
        frame = self.page.frame_locator("iframe[title='Qwen Image']")
        frame.get_by_role("heading", name="Newest images").wait_for()
        return frame


@pytest.fixture
def admin(chromium: Any, live: Live) -> Iterator[Reader]:
    reader = Reader(chromium, live, "admin")
    yield reader
    reader.context.close()


def images_of(frame: Any, count: int) -> Any:
    """Scroll through all pictures, so that lazy ones load; returns them."""
    images = frame.locator("figure img")
    sync_api.expect(images).to_have_count(count)
    for index in range(count):
        images.nth(index).scroll_into_view_if_needed()
        sync_api.expect(images.nth(index)).to_have_js_property("complete", True)
    return images


def test_browse_menu_opens_the_newest_images(admin: Reader, runs: dict[str, str], shots: Path) -> None:
    frame = admin.open_from_menu()
    images = images_of(frame, 10)
    assert images.evaluate_all(LOADED)
    assert images.first.get_attribute("alt")
    frame.locator("h1").scroll_into_view_if_needed()
    admin.page.screenshot(path=shots / "browse-light.png")
    assert admin.complaints == []


def test_dark_as_chosen_in_airflow(admin: Reader, runs: dict[str, str], shots: Path) -> None:
    """Airflow's own choice wins over the system's, and a change of it shows at once."""
    frame = admin.open_from_menu()
    assert sum(frame.locator("body").evaluate(GROUND)) == 3 * 255
    admin.page.evaluate("localStorage.setItem('theme', 'dark')")
    admin.page.reload()
    frame = admin.page.frame_locator("iframe[title='Qwen Image']")
    sync_api.expect(frame.locator("html")).to_have_attribute("data-theme", "dark")
    assert sum(frame.locator("body").evaluate(GROUND)) < 150
    assert images_of(frame, 10).evaluate_all(LOADED)
    frame.locator("h1").scroll_into_view_if_needed()
    admin.page.screenshot(path=shots / "browse-dark.png")


def test_page_of_a_task_and_its_run(admin: Reader, runs: dict[str, str], shots: Path) -> None:
    run = runs["ui_gallery"]
    admin.open("/qwenimage" + Place("ui_gallery", run, "four_at_once").page())
    assert images_of(admin.page, 4).evaluate_all(LOADED)
    admin.page.screenshot(path=shots / "task.png")
    admin.page.get_by_role("navigation").get_by_role("link", name=run).click()
    assert images_of(admin.page, 9).evaluate_all(LOADED)
    assert admin.page.get_by_text("Not saved: shown from the service").count() == 1
    admin.page.screenshot(path=shots / "run.png", full_page=True)
    admin.open("/qwenimage" + Place("ui_gallery", run, "from_prompts", 3).page())
    assert images_of(admin.page, 1).evaluate_all(LOADED)
    assert "<script>alert" in admin.page.locator(".prompt").inner_text()
    admin.page.get_by_role("link", name="Open in Airflow").click()
    admin.page.wait_for_url("**/tasks/from_prompts/mapped/3**")
    assert admin.complaints == []


def test_ways_out_of_the_frame(admin: Reader, runs: dict[str, str]) -> None:
    frame = admin.open_from_menu()
    with admin.context.expect_page() as opened:
        frame.locator("figure a").first.click()
    opened.value.wait_for_load_state()
    assert "/image?" in opened.value.url
    assert opened.value.evaluate("document.images[0].naturalWidth") > 0
    opened.value.close()
    frame.get_by_title("Open the task in Airflow").first.click()
    admin.page.wait_for_url("**/dags/ui_*/runs/**/tasks/**")
    assert admin.page.locator("iframe[title='Qwen Image']").count() == 0


def test_keyboard(admin: Reader, runs: dict[str, str], shots: Path) -> None:
    admin.open("/qwenimage" + Place("ui_gallery", runs["ui_gallery"], "four_at_once").page())
    focused = admin.page.locator(":focus")
    admin.page.keyboard.press("Tab")
    sync_api.expect(focused).to_have_text("Skip to the images")
    sync_api.expect(focused).to_be_in_viewport()
    admin.page.keyboard.press("Enter")
    sync_api.expect(focused).to_have_attribute("id", "main")
    for _ in range(8):
        admin.page.keyboard.press("Tab")
        if "picture" in (focused.get_attribute("class") or ""):
            break
    sync_api.expect(focused).to_have_class("picture")
    assert focused.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    admin.page.screenshot(path=shots / "focus.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(chromium: Any, live: Live, runs: dict[str, str], scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for every text, whatever the system's scheme."""
    reader = Reader(chromium, live, "admin", scheme)
    reader.open("/qwenimage/")
    worst = reader.page.evaluate(CONTRAST)
    assert worst["ratio"] >= 4.5, worst
    reader.context.close()


def test_phone(admin: Reader, runs: dict[str, str], shots: Path) -> None:
    admin.page.set_viewport_size({"width": 360, "height": 740})
    admin.open("/qwenimage/")
    assert images_of(admin.page, 10).evaluate_all(LOADED)
    assert admin.page.evaluate("document.documentElement.scrollWidth") <= 360
    admin.page.locator("h1").scroll_into_view_if_needed()
    admin.page.screenshot(path=shots / "phone.png")


def test_logged_out_is_refused_and_comes_back_after_login(
    chromium: Any, live: Live, runs: dict[str, str], shots: Path
) -> None:
    somebody = Reader(chromium, live, None)
    place = Place("ui_gallery", runs["ui_gallery"], "four_at_once", -1)
    for path in ("/", place.page(), place.image(0)):
        answer = somebody.open(f"/qwenimage{path}")
        assert answer.status == 401
        assert "paper crane" not in answer.text()
    somebody.open(f"/qwenimage{place.page()}")
    somebody.page.screenshot(path=shots / "logged-out.png")
    somebody.page.get_by_role("link", name="Log in").click()
    somebody.page.get_by_label("Username").wait_for()
    somebody.log_in("admin")
    somebody.open(f"/qwenimage{place.page()}")
    assert images_of(somebody.page, 4).evaluate_all(LOADED)
    somebody.context.close()


def test_without_the_dags_permission(chromium: Any, live: Live, runs: dict[str, str], shots: Path) -> None:
    ann = Reader(chromium, live, "ann")
    place = Place("ui_vault", runs["ui_vault"], "secret_picture", -1)
    for path in (place.page(), place.image(0)):
        answer = ann.open(f"/qwenimage{path}")
        assert answer.status == 403
        assert "unreleased" not in answer.text()
    ann.open(f"/qwenimage{place.page()}")
    ann.page.screenshot(path=shots / "forbidden.png")
    frame = ann.open_from_menu()
    assert images_of(frame, 9).evaluate_all(LOADED)
    assert "secret_picture" not in frame.locator("body").inner_text()
    ann.context.close()


def test_missing_file_is_told(admin: Reader, live: Live, runs: dict[str, str]) -> None:
    place = Place("ui_vault", runs["ui_vault"], "secret_picture", -1)
    (record,) = json.loads(json.dumps(xcom(live, place)))
    file = Path(record["path"].removeprefix("file://"))
    content = file.read_bytes()
    try:
        file.write_bytes(content + b"changed")
        admin.open(f"/qwenimage{place.page()}")
        admin.page.get_by_text("This file can't be shown").wait_for()
    finally:
        file.write_bytes(content)


def xcom(live: Live, place: Place) -> Any:
    path = f"/api/v2/dags/{place.dag_id}/dagRuns/{quote(str(place.run_id), safe='')}/taskInstances/{place.task_id}"
    value = live.api("GET", f"{path}/xcomEntries/images")["value"]
    return json.loads(value) if isinstance(value, str) else value


def test_no_tab_on_other_peoples_tasks(admin: Reader, runs: dict[str, str]) -> None:
    admin.open(Place("ui_gallery", runs["ui_gallery"], "not_saved").in_airflow())
    admin.page.get_by_role("tab").or_(admin.page.get_by_role("link", name="Details")).first.wait_for()
    assert admin.page.get_by_role("link", name="Qwen Image").count() == 0


def test_extra_link(admin: Reader, runs: dict[str, str], shots: Path) -> None:
    admin.open(Place("ui_gallery", runs["ui_gallery"], "not_saved").in_airflow())
    admin.page.get_by_role("link", name="Details").last.click()
    link = admin.page.get_by_role("link", name="Result", exact=True)
    link.wait_for()
    assert (link.get_attribute("href") or "").startswith("http://127.0.0.1:")
    admin.page.screenshot(path=shots / "extra-link.png")


@pytest.mark.skipif(not any("Images" in link for link in get_provider_info()["extra-links"]), reason="not there yet")
def test_extra_link_to_the_images(admin: Reader, runs: dict[str, str]) -> None:
    admin.open(Place("ui_gallery", runs["ui_gallery"], "from_prompts", 1).in_airflow())
    admin.page.get_by_role("link", name="Details").last.click()
    link = admin.page.get_by_role("link", name="Images", exact=True)
    link.wait_for()
    # In the same tab or in a new one, as the version of Airflow has it.
    admin.page.goto(urljoin(admin.live.url, link.get_attribute("href")))
    assert images_of(admin.page, 1).evaluate_all(LOADED)


def test_below_a_path_prefix(chromium: Any, tmp_path: Path, service: Emulator) -> None:
    """With a path in ``[api] base_url``; nothing has run there."""
    with live_airflow(tmp_path, json.dumps({"conn_type": "qwenimage"}), prefix="/team/airflow") as running:
        reader = Reader(chromium, running, "admin")
        frame = reader.open_from_menu()
        frame.get_by_text("No images here yet").wait_for()
        colour = frame.locator("h2").evaluate("element => getComputedStyle(element).fontWeight")
        assert colour == "700", "the style sheet did not load"
        reader.context.close()


def test_connection_form(admin: Reader, shots: Path) -> None:
    admin.open("/connections")
    admin.page.get_by_role("button", name="Add Connection").click()
    form = admin.page.get_by_role("dialog")
    form.locator("input").first.fill("qwenimage_ui")
    form.get_by_role("combobox").first.click()
    admin.page.keyboard.type("qwen")
    admin.page.get_by_role("option", name="Qwen Image").or_(
        admin.page.get_by_text("qwenimage", exact=True)
    ).first.click()
    for label in ("API key", "Base URL"):
        form.get_by_text(label).first.wait_for()
    form.get_by_text("Extra Fields", exact=True).first.click()
    form.get_by_text("Connect time-out").first.wait_for()
    admin.page.wait_for_timeout(1000)  # the fields unfold slowly
    admin.page.screenshot(path=shots / "connection-form.png")


COLOUR = """
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parts = (colour) => {  // whatever notation: as red, green, blue and how opaque
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
"""
GROUND = "(element) => {" + COLOUR + "return parts(getComputedStyle(element).backgroundColor).slice(0, 3); }"
CONTRAST = (
    "() => {"
    + COLOUR
    + """
  const light = (channel) => (channel /= 255) <= 0.03928 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = parts(getComputedStyle(element).backgroundColor);
      if (colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  let worst = { ratio: 99 };
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own) continue;
    const pair = [luminance(parts(getComputedStyle(element).color)), luminance(ground(element))];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < worst.ratio) worst = { ratio, text: element.textContent.trim().slice(0, 60), tag: element.tagName };
  }
  return worst;
}
"""
)
