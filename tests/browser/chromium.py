"""Chromium without a window, for pages on disk: what a reader does with mouse and keys, and what the browser says."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

__all__ = ["WIDE", "Browser", "chromium", "programs"]

WIDE = 1280
_HEIGHT = 900
_PATIENCE = 30.0
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # whatever a page asks for, nothing leaves the machine
)

T = TypeVar("T")


def programs() -> tuple[str, str]:
    """Paths of the browser and of its driver; where one is missing the test is skipped, and fails under CI."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if browser and driver:
        return browser, driver
    missing = " and ".join(name for name, path in (("chromium", browser), ("chromedriver", driver)) if not path)
    message = f"no {missing} in PATH; on Debian: apt-get install chromium chromium-driver"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


class Browser:
    """A running Chromium.

    Args:
        driver: that drives it.
        downloads: where its downloads go.
    """

    def __init__(self, driver: Chrome, downloads: Path) -> None:
        self.driver = driver
        self.downloads = downloads

    def open(self, page: Path, *, width: int = WIDE, dark: bool = False) -> None:
        """Show a page anew, and forget what the browser said before; animations are off."""
        self.resize(width)
        self.prefer(dark=dark)
        self.driver.get("about:blank")
        self.complaints()
        self.requests()
        self.driver.get(page.as_uri())

    def resize(self, width: int) -> None:
        """Give the page a window of this width in CSS pixels."""
        size = {"width": width, "height": _HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, *, dark: bool) -> None:
        """Let the system prefer a dark or a light page."""
        wishes = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body in JavaScript returns."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        """Every element that a CSS selector finds."""
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> WebElement:
        """The one element that a CSS selector finds."""
        (found,) = self.all(selector)
        return found

    def until(self, condition: Callable[[], T | None], what: str) -> T:
        """Wait for a condition to hold, and say what was waited for if it never does."""
        waiting = WebDriverWait(self.driver, _PATIENCE, poll_frequency=0.05)
        return waiting.until(lambda _: condition() or False, f"waited for {what}")

    def show(self, selector: str) -> None:
        """Scroll to the element that a CSS selector finds, so that it stands in the middle."""
        self.run("arguments[0].scrollIntoView({ block: 'center' })", self.one(selector))

    def choose(self, selector: str, option: str) -> None:
        """Choose an option of the list that a CSS selector finds."""
        Select(self.one(selector)).select_by_visible_text(option)

    def unfold_all(self) -> None:
        """Open every part of the page that is folded, except the menus of charts."""
        self.run("for (const one of document.querySelectorAll('details:not(.canvas *)')) one.open = true;")

    def overhang(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(
            self.run("const { scrollWidth, clientWidth } = document.documentElement; return scrollWidth - clientWidth;")
        )

    def complaints(self) -> list[str]:
        """Warnings and errors of the console since the last call."""
        return [one["message"] for one in self._log("browser") if one["level"] in ("WARNING", "SEVERE")]

    def requests(self) -> list[str]:
        """Addresses that the page asked for since the last call, its own among them."""
        events = [json.loads(one["message"])["message"] for one in self._log("performance")]
        return [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]

    def _log(self, kind: str) -> list[dict[str, Any]]:
        """What the driver has written down since it was last asked."""
        return list(self.driver.get_log(kind))  # type: ignore[no-untyped-call]


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Start Chromium, and end it afterwards.

    Args:
        folder: for its profile and downloads.
    """
    browser, driver = programs()
    downloads = folder / "downloads"
    downloads.mkdir()
    options = ChromeOptions()
    options.binary_location = browser
    for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # which Chromium cannot have as root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option("perfLoggingPrefs", {"enableNetwork": True, "enablePage": False})
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    running = Chrome(options, ChromeService(driver))
    try:
        yield Browser(running, downloads)
    finally:
        running.quit()
