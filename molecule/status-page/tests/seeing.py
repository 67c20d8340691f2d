# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A browser, and the host's Prometheus."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, sync_playwright
from shared.acting import fetching

APP, HOST = "christmas-backend", "molecule-status-page"
ADDRESS = "https://172.30.57.47:8443/"
USER, PASSWORD = "team", hashlib.sha256(b"status page").hexdigest()
DESK, PHONE = (1280, 800), (390, 844)
# Chromium may send nothing to other machines.
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
# Chromium cancels loads when a network interface of the machine appears or disappears, as for other scenarios' hosts.
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The distribution's Chromium; `make browser` installs it."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert path, f"no browser is there, none of {', '.join(BROWSERS)}: run make browser"
    with sync_playwright() as playwright:
        # Playwright gives it a new profile folder.
        found = playwright.chromium.launch(
            executable_path=path, args=list(ARGUMENTS), env={"HOME": str(tmp_path_factory.mktemp("home"))}
        )
        yield found
        found.close()


class Shown:
    """The page in a window: its content, its network traffic, and the messages of its console."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        self.interrupted = False
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def _hear(self, message: ConsoleMessage) -> None:
        if NETWORK_CHANGED in message.text:
            self.interrupted = True
        elif message.type in ("error", "warning"):
            self.said.append(message.text)

    def figure(self, name: str) -> str:
        return self.page.locator(f'[data-figure="{name}"]').first.inner_text().strip()

    @property
    def state(self) -> str:
        return str(self.page.locator("#page").get_attribute("data-state"))

    @property
    def transferred(self) -> int:
        """Bytes of all responses on the wire, bodies and headers."""
        script = "performance.getEntries().map(one => one.transferSize || 0).reduce((a, b) => a + b, 0)"
        return int(self.page.evaluate(script))

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.page.locator("#data").text_content() or "{}"))


Look = Callable[..., Any]


def load(context: BrowserContext, address: str) -> Shown | None:
    """The completely loaded page; None when the machine's network changed meanwhile."""
    shown = Shown(context.new_page())
    try:
        shown.page.goto(address, wait_until="load")
    except Error as error:
        if NETWORK_CHANGED not in error.message:
            raise
        return None
    # Reading the title also delivers the console's messages so far.
    shown.page.title()
    return None if shown.interrupted else shown


@pytest.fixture(scope="session")
def look(browser: Browser) -> Look:
    """Open the page.

    E.g. `with look(language="ko", scheme="dark", size=PHONE) as shown`.
    """

    @contextmanager
    def open_page(
        language: str = "en",
        scheme: Any = "light",
        size: tuple[int, int] = DESK,
        script: bool = True,
        query: str = "",
        scale: float = 1,
    ) -> Iterator[Shown]:
        for _unused in range(10):
            context = browser.new_context(
                viewport={"width": size[0], "height": size[1]},
                device_scale_factor=scale,
                color_scheme=scheme,
                locale={"en": "en-GB", "ko": "ko-KR"}[language],
                timezone_id="UTC",
                java_script_enabled=script,
                ignore_https_errors=True,
                http_credentials={"username": USER, "password": PASSWORD},
            )
            try:
                shown = load(context, ADDRESS + query)
                if shown:
                    yield shown
                    return
            finally:
                context.close()
        raise AssertionError("the machine's network changed ten times while the page was loaded")

    return open_page


class Prometheus:
    """The host's Prometheus, queried on the host."""

    def __init__(self, host: Any) -> None:
        self.host = host

    @property
    def ready(self) -> bool:
        """Whether it answers queries; it listens earlier."""
        return bool(self.host.run(fetching("9090/-/ready")).rc == 0)

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        answer = self.host.check_output(fetching(f"9090/api/v1/query?query={urllib.parse.quote(expression)}"))
        return [(one["metric"], float(one["value"][1])) for one in json.loads(answer)["data"]["result"]]

    def value(self, expression: str) -> float | None:
        found = self.query(expression)
        return found[0][1] if found else None

    def lately(self, expression: str) -> tuple[float, float]:
        """(least, most) of the last two minutes: the page's values are some seconds old."""
        least, most = (self.value(f"{kind}_over_time({expression}[2m])") for kind in ("min", "max"))
        assert least is not None and most is not None, expression
        return least, most


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def prometheus(host: Any) -> Prometheus:
    return Prometheus(host)
