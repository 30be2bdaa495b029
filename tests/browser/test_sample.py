"""The page of a real run that the repository shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.charts import draw_all, marks
from tests.browser.chromium import Browser

pytestmark = pytest.mark.browser

SAMPLE = Path(__file__).parents[2] / "reports" / "sample" / "report.html"


@pytest.mark.skipif(not SAMPLE.is_file(), reason="a source distribution comes without the sample")
def test_the_sample_opens_and_draws(browser: Browser) -> None:
    browser.open(SAMPLE)

    charts = draw_all(browser)

    assert charts[0] == "me-ppl"
    assert all(sum(marks(browser, chart).values()) > 1 for chart in charts)
    assert browser.complaints() == []
    assert browser.requests() == [SAMPLE.as_uri()]
