"""Requests written to break the page: shown as text, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains

from collapse_tests.report.html.run_data import RunData
from tests.browser.axe import findings
from tests.browser.charts import draw, draw_all, marks, point_of, tooltip
from tests.browser.chromium import Browser
from tests.browser.runs import hostile_run
from tests.browser.tables import Table

pytestmark = pytest.mark.browser

SCRIPT = "<script>window.owned = true</script>"
TEXTS = (
    SCRIPT,
    '</script></style></title><img src="x" onerror="window.owned = true">',
    "\"'><svg onload='window.owned = true'>",
    "\u202egnp.exe\u2066 \u200f\u05e9\u05dc\u05d5\u05dd",
    "x" * 10_000,
    f"data:text/html,{SCRIPT}",
    '=HYPERLINK("https://evil.example")&\'${7 * 7}{{ 7 * 7 }}',
)


@pytest.fixture(scope="module")
def hostile(write: Callable[[RunData], Path]) -> Path:
    """The page of a run that has these texts everywhere."""
    return write(hostile_run(TEXTS))


def test_nothing_of_it_runs_or_is_asked_for(browser: Browser, hostile: Path) -> None:
    browser.open(hostile)
    for chart in draw_all(browser):
        assert sum(marks(browser, chart).values()) > 1, chart
    browser.unfold_all()

    assert browser.run("return window.owned") is None
    assert browser.run("return document.title").startswith("Collapse report ")
    assert browser.all("img, iframe, object, embed, main script, main style") == []
    assert browser.complaints() == []
    assert browser.requests() == [hostile.as_uri()]


def test_all_of_it_is_shown_as_text(browser: Browser, hostile: Path) -> None:
    browser.open(hostile)
    browser.unfold_all()

    seen = browser.one("#failing").text
    for text in TEXTS:
        if text.isprintable() and len(text) < 4_000:
            assert text in seen
    assert "x" * 4_000 + "… (6,000 more characters)" in seen
    assert r"\u202egnp.exe\u2066 \u200f" + "\u05e9\u05dc\u05d5\u05dd" in seen
    everything = browser.run("return document.documentElement.outerHTML")
    assert not set("\u202e\u2066\u200f") & set(everything)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_layout_holds(browser: Browser, hostile: Path, width: int) -> None:
    browser.open(hostile, width=width)
    draw_all(browser)
    browser.unfold_all()

    assert browser.overhang() <= 0
    for name in ("h1", "nav", "#verdict .sentence", "#me-ppl .canvas", "#me-ppl select", "#case-1", "#about dl"):
        box = browser.one(name).rect
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= width, name
    assert browser.one("h1").rect["height"] < 200
    assert browser.one("#case-1 > summary").rect["height"] < 400


def test_a_tooltip_shows_it_as_text(browser: Browser, hostile: Path) -> None:
    browser.open(hostile)
    draw(browser)

    for start in (text[:24] for text in TEXTS[:3]):
        ActionChains(browser.driver).move_to_element(point_of(browser, start)).perform()
        tip = browser.until(partial(tooltip, browser, start), "a tooltip that says it")
        assert tip.find_elements("css selector", "script, img, svg") == []
    assert browser.run("return window.owned") is None


def test_a_spreadsheet_gets_no_formula(browser: Browser, hostile: Path) -> None:
    browser.open(hostile)

    exported = Table(browser, "case-table").export()

    cells = [text for row in exported for text in row.values()]
    assert any(text.startswith("'=HYPERLINK(") for text in cells)
    assert not any(text.startswith(("=", "+", "@", "\t")) for text in cells)


def test_axe_finds_nothing_on_the_sections_of_cases(browser: Browser, hostile: Path) -> None:
    browser.open(hostile)
    browser.unfold_all()

    assert findings(browser, "#failing") == []
