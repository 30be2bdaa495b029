from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collapse_tests.report.html.rendering import write_page
from collapse_tests.report.html.run_data import RunData
from tests.browser.chromium import Browser, chromium
from tests.browser.runs import full_run


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A running Chromium for the tests of one module; Selenium fetches nothing for it and reports to nobody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SE_OFFLINE", "true")
        patch.setenv("SE_AVOID_STATS", "true")
        with chromium(tmp_path_factory.mktemp("chromium")) as running:
            yield running


@pytest.fixture(scope="package")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[[RunData], Path]:
    """`write(run)`: its page with the real JavaScript, as a file."""

    def page_of(run: RunData) -> Path:
        file = tmp_path_factory.mktemp("page") / "report.html"
        write_page(run, file)
        return file

    return page_of


@pytest.fixture(scope="package")
def page(write: Callable[[RunData], Path]) -> Path:
    """The page of a run that has everything a run can have."""
    return write(full_run())
