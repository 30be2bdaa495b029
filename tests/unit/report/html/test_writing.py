from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from collapse_tests.errors import InfrastructureError
from collapse_tests.records import Record, Verdict
from collapse_tests.report.html import rendering
from collapse_tests.report.html.at_the_end import write_at_the_end
from collapse_tests.report.html.bundle import javascript_bundle


@pytest.fixture
def records(make_record: Callable[..., Record]) -> list[Record]:
    return [make_record("hard:0001", Verdict.COLLAPSED, 5e4)]


def test_the_line_says_where_the_page_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: list[Record]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "reports" / "x"
    folder.mkdir(parents=True)

    assert write_at_the_end(folder, records, []) == "Report: reports/x/report.html"
    assert "hard:0001" in (folder / "report.html").read_text("utf-8")


@pytest.mark.parametrize("error", [OSError("disk full"), RuntimeError(), RecursionError("deep"), MemoryError()])
def test_no_error_is_more_than_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: list[Record], error: Exception
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(rendering, "write_page", fail)

    line = write_at_the_end(tmp_path, records, [])

    assert line.startswith(f"warning: no page was written ({str(error) or type(error).__name__}); the records are in ")


def test_warnings_of_other_packages_do_not_reach_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: list[Record]
) -> None:
    monkeypatch.setattr(rendering, "write_page", lambda *arguments: warnings.warn("old", DeprecationWarning, 2))

    assert write_at_the_end(tmp_path, records, []).startswith("Report: ")


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[], str]], None]:
    monkeypatch.setenv("PYTEST_COLLAPSE_CACHE", str(tmp_path / "cache"))
    return lambda make: monkeypatch.setitem(sys.modules, "vl_convert", SimpleNamespace(javascript_bundle=make))


def test_the_bundle_is_made_once(converter: Callable[[Callable[[], str]], None]) -> None:
    made = iter(["let a = 1;"])
    converter(lambda: next(made))

    assert javascript_bundle() == javascript_bundle() == "let a = 1;"


def test_the_bundle_needs_no_cache(
    converter: Callable[[Callable[[], str]], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYTEST_COLLAPSE_CACHE", str(tmp_path / "file"))
    converter(lambda: "let a = 1;")

    assert javascript_bundle() == "let a = 1;"


@pytest.mark.parametrize("text", ["x</SCRIPT>", "<!-- x"])
def test_a_bundle_that_would_end_its_element_is_refused(
    converter: Callable[[Callable[[], str]], None], text: str
) -> None:
    converter(lambda: text)

    with pytest.raises(InfrastructureError, match="cannot be put into a page"):
        javascript_bundle()


def test_a_bundle_that_cannot_be_made_is_an_error_of_the_package(
    converter: Callable[[Callable[[], str]], None],
) -> None:
    def fail() -> str:
        raise ValueError("no engine")

    converter(fail)

    with pytest.raises(InfrastructureError, match="no engine"):
        javascript_bundle()
