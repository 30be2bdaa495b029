"""The page of two runs side by side."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from collapse_tests.report.html.rendering import write_comparison
from tests.browser.axe import findings
from tests.browser.charts import draw_all, marks
from tests.browser.chromium import Browser
from tests.browser.runs import EDITORS, MODELS, compared_runs
from tests.browser.tables import Table

pytestmark = pytest.mark.browser

_CONTRASTS = len(MODELS) * len(EDITORS)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the two runs."""
    file = tmp_path_factory.mktemp("comparison") / "comparison.html"
    write_comparison(compared_runs(), file)
    return file


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_draws_without_a_complaint_a_request_or_a_finding(browser: Browser, comparison: Path, dark: bool) -> None:
    browser.open(comparison, dark=dark)

    found = {chart: marks(browser, chart) for chart in draw_all(browser)}

    pairs = [counts for chart, counts in found.items() if chart.startswith("pairs-")]
    # Six edits have an ME-PPL in both runs; inf and NaN are in a band on either axis.
    assert pairs == [Counter({"symbol": 6, "rect": 2, "line": 1, "rule": 2})] * _CONTRASTS
    assert all(counts["rect"] > 5 for chart, counts in found.items() if not chart.startswith("pairs-"))
    assert len(found) == _CONTRASTS + 2 * len(MODELS)  # for each model, quality and accuracy
    assert browser.complaints() == []
    assert browser.requests() == [comparison.as_uri()]
    assert findings(browser) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_it_never_scrolls_sideways(browser: Browser, comparison: Path, width: int) -> None:
    browser.open(comparison, width=width)
    draw_all(browser)

    browser.unfold_all()

    assert browser.overhang() <= 0


def test_its_tables_sort_filter_and_export(browser: Browser, comparison: Path) -> None:
    browser.open(comparison)
    table = Table(browser, "cases-1")
    assert set(table.column("request")) == {"hard:0000", "normal:0001"}

    table.sorter("request").click()
    assert table.column("request") == ["hard:0000", "normal:0001"]
    table.part("[data-filter]").send_keys("normal")

    assert table.count == "1 of 2 rows"
    assert [row["request"] for row in table.export()] == ["normal:0001"]
