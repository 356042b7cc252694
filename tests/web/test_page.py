"""The demo's page in a real, headless Chromium: it shows readings, asks by a click, and comes back."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from tests.rigs import browser
from tests.rigs.tree import ROOT

BOUND_MS = 60_000


class Demo:
    """The demo on a bus of its own, with its page at a port that stays the same."""

    def __init__(self, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._output = directory / "output"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "busway.demo", "--bus", "demo-page", "--port", str(self.port)]
        with self._output.open("ab") as file:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0, self._output.read_text()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("demo"))
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.process.send_signal(signal.SIGINT)
        running.process.wait(60)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    program = browser.chromium()
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=program,
            headless=True,
            args=browser.CHROMIUM_FLAGS,
        )
        yield context
        context.close()


class Visit:
    """The page in a tab of its own, and whatever it complained of."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on(
            "request", lambda request: self.complaints.append(request.url) if url not in request.url else None
        )
        for _ in range(200):  # until the demo listens
            try:
                page.goto(url)
                break
            except PlaywrightError as error:
                if "ERR_CONNECTION_REFUSED" not in str(error):
                    raise
                page.wait_for_timeout(50)
        expect(page.locator("#state")).to_have_text("connected", timeout=BOUND_MS)

    def until_more_readings(self) -> None:
        came = int(self.page.locator("#count").inner_text())
        self.page.wait_for_function(
            "came => Number(document.getElementById('count').textContent) > came + 2",
            arg=came,
            timeout=BOUND_MS,
        )

    def ask(self, a: int, b: int) -> None:
        """Type two numbers, click, and see the right answer."""
        self.page.fill("#a", str(a))
        self.page.fill("#b", str(b))
        self.page.click("#add")
        expect(self.page.locator("#answer")).to_contain_text(f"{a} + {b} = {a + b}, in ", timeout=BOUND_MS)


@pytest.fixture
def visit(demo: Demo, chromium: BrowserContext) -> Iterator[Visit]:
    page = chromium.new_page()
    yield Visit(page, demo.url)
    page.close()


def test_readings_move(visit: Visit) -> None:
    visit.until_more_readings()
    visit.until_more_readings()
    assert "GiB" in visit.page.locator("#memory").inner_text()
    assert len(visit.page.locator("#load").inner_text().split()) == 3
    expect(visit.page.locator("#nodes")).to_contain_text("answers", timeout=BOUND_MS)
    expect(visit.page.locator("#nodes")).to_contain_text("page", timeout=BOUND_MS)
    expect(visit.page.locator("#endpoints")).to_contain_text("demo/heartbeat", timeout=BOUND_MS)
    assert visit.complaints == []


def test_a_click_calls_an_endpoint(visit: Visit) -> None:
    visit.until_more_readings()  # then the program that answers has joined, too, or is about to
    for a, b in ((2, 3), (-7, 100), (9007199254740000, 991)):
        visit.ask(a, b)
    visit.page.fill("#a", "1.5")
    assert visit.page.evaluate("document.getElementById('sum').checkValidity()") is False
    assert visit.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(visit: Visit, scheme: str) -> None:
    visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    visit.page.set_viewport_size({"width": 320, "height": 640})
    visit.until_more_readings()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 320
    background = visit.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert background is (scheme == "dark")


_SELECT = """async () => {
    const { connect, where } = await import("/busway/busway.js");
    const bus = await connect(`ws://${location.host}`);
    const pump = where.name("lab/*").and(where("other").not());
    const one = await bus.request(pump, { rpm: 200 });
    const all = [];
    for await (const { name, value } of bus.requestAll(pump, { rpm: 400 })) all.push([name, value]);
    const { reason } = await bus.request(where("nix")).catch((error) => error);
    bus.close();
    return [one, all, reason];
}"""


def test_the_how_to_works(chromium: BrowserContext, tmp_path: Path) -> None:
    """The page in two files of docs/links/browser.md."""
    text = (ROOT / "docs" / "links" / "browser.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^```(python|html)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    (tmp_path / "page.html").write_text(blocks["html"], encoding="utf-8")
    site = blocks["python"].replace(":8080", ":0")
    command = [sys.executable, "-u", "-c", site]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            page = chromium.new_page()
            page.goto(process.stdout.readline().strip())
            expect(page.locator("#celsius")).to_have_text("21.5", timeout=BOUND_MS)
            page.click("#faster")
            expect(page.locator("#rpm")).to_have_text("300", timeout=BOUND_MS)
            assert page.title() == "connected"
            assert page.evaluate(_SELECT) == [{"rpm": 200}, [["lab/pump", {"rpm": 400}]], "NO_ENDPOINT"]
            page.close()
        finally:
            process.kill()


def test_it_comes_back_after_the_server(visit: Visit, demo: Demo) -> None:
    visit.until_more_readings()
    demo.end()
    expect(visit.page.locator("#state")).to_contain_text("reconnecting", timeout=BOUND_MS)
    demo.process = demo.start()
    expect(visit.page.locator("#state")).to_have_text("connected", timeout=BOUND_MS)
    visit.until_more_readings()
    visit.ask(20, 22)
