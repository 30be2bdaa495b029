"""The page as it opens: what is drawn, in which colours, and that nothing complains or is asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.browser.charts import draw, draw_all, label_colours, marks, points
from tests.browser.chromium import Browser, programs
from tests.browser.runs import CELLS, EDITORS, MODELS, TASKS

pytestmark = pytest.mark.browser

_GROUPS = [f"{model}-under-{editor}" for model in MODELS for editor in EDITORS]
_SCORES = len(TASKS) * 4  # unedited, survived, collapsed, random
_CELLS = CELLS[0] * CELLS[1]
_LIMIT = {"rule": 1, "text": 1}
_BAND = {"rect": 1}
#: Six of seven edits of each model and editor are measured, two of them not finite.
_EXPECTED = {
    "me-ppl": {"symbol": 6 * len(_GROUPS)} | _LIMIT | _BAND,
    **{f"tasks-{group}": {"rect": _SCORES, "text": _SCORES} for group in _GROUPS},
    "weights-failed": {"rect": _CELLS},
    "weights-stable": {"rect": _CELLS},
    # Two sequences of four edits, and the unedited model before each.
    **{f"sequences-{editor}": {"line": 2, "symbol": 2 * 5} | _LIMIT | _BAND for editor in EDITORS},
}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_chart_draws_without_a_complaint_or_a_request(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, dark=dark)

    found = {chart: marks(browser, chart) for chart in draw_all(browser)}

    accuracy = found.pop("accuracy")
    assert found == {chart: Counter(counts) for chart, counts in _EXPECTED.items()}
    # A point for each edit and task, a mean line for each task.
    assert accuracy["symbol"] > 6 * len(_GROUPS) * len(TASKS)
    assert accuracy["line"] == len(TASKS)
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]


def test_charts_are_drawn_only_as_the_reader_comes_near(browser: Browser, page: Path) -> None:
    browser.open(page)

    browser.until(lambda: browser.all("#me-ppl svg"), "the first chart")

    assert browser.all("#sequences-memit svg") == []


@pytest.mark.parametrize("width", [390, 1280])
def test_page_and_charts_are_as_wide_as_the_window(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)

    for chart in draw_all(browser):
        place, picture = browser.one(f"#{chart} .canvas").rect, browser.one(f"#{chart} svg.marks").rect
        assert place["width"] * 0.9 <= picture["width"] <= place["width"] + 1, chart
        assert picture["height"] > 60, chart
    assert browser.overhang() <= 0
    browser.unfold_all()
    assert browser.overhang() <= 0


def test_page_and_charts_follow_the_system_until_the_reader_chooses(browser: Browser, page: Path) -> None:
    browser.open(page)
    draw_all(browser)
    light, paper = label_colours(browser), browser.one("body").value_of_css_property("background-color")

    browser.prefer(dark=True)

    browser.until(lambda: label_colours(browser).isdisjoint(light), "all charts to turn dark")
    assert browser.one("body").value_of_css_property("background-color") != paper
    button = browser.one("#theme")
    button.click()
    assert button.text == "theme: light"
    browser.until(lambda: label_colours(browser) == light, "all charts to turn light")
    assert browser.one("body").value_of_css_property("background-color") == paper
    button.click()
    assert button.text == "theme: dark"
    browser.until(lambda: label_colours(browser).isdisjoint(light), "all charts to turn dark again")
    browser.driver.refresh()
    assert browser.one("#theme").text == "theme: dark"  # kept
    browser.one("#theme").click()
    assert browser.one("#theme").text == "theme: as the system"
    assert browser.complaints() == []


def test_drawing_anew_keeps_the_editor_that_was_chosen(browser: Browser, page: Path) -> None:
    browser.open(page)
    draw(browser)
    light = label_colours(browser)
    browser.choose("#me-ppl select", "tiny-llama under memit")
    browser.until(lambda: points(browser) == 6, "the points of one editor")

    browser.prefer(dark=True)

    browser.until(lambda: label_colours(browser).isdisjoint(light), "all charts to turn dark")
    assert points(browser) == 6
    assert browser.one("#me-ppl select").get_property("value") == "tiny-llama under memit"


def test_a_missing_browser_skips_here_and_fails_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no chromium and chromedriver in PATH"):
        programs()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium chromium-driver"):
        programs()
