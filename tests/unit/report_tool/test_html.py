from __future__ import annotations

import os
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collapse_tests.report.baseline_news import BaselineNews, write_news
from collapse_tests.report_tool.main import app
from collapse_tests.report_tool.places import newest_run


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses given to a browser."""
    addresses: list[str] = []

    def browse(address: str) -> bool:
        addresses.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", browse)
    return addresses


def test_the_page_is_written_beside_the_records(write_run: Callable[..., Path]) -> None:
    folder = write_run()

    assert run("html", str(folder)) == (0, "Report: reports/20310506-070809/report.html\n")
    assert "tiny-rome-hard:0000" in (folder / "report.html").read_text("utf-8")


def test_the_page_is_written_where_it_is_wanted(write_run: Callable[..., Path]) -> None:
    folder = write_run()

    code, output = run("html", str(folder / "records.jsonl"), "--out", "pages/one.html")

    assert (code, output) == (0, "Report: pages/one.html\n")
    assert Path("pages/one.html").is_file()
    assert not (folder / "report.html").exists()


def test_a_run_that_was_cut_off_has_a_page(write_run: Callable[..., Path]) -> None:
    folder = write_run(end='\n{"case_id": "ti')

    code, output = run("html", str(folder))

    assert code == 0
    assert output.startswith("warning: ")
    assert "cut off while being written" in (folder / "report.html").read_text("utf-8")


def test_what_changed_against_the_baseline_is_on_the_page_again(write_run: Callable[..., Path]) -> None:
    folder = write_run()
    write_news(folder, BaselineNews("1 newly collapsed.", ("tiny under rome", "  newly collapsed: hard:0000")))

    run("html", str(folder))

    assert "1 newly collapsed." in (folder / "report.html").read_text("utf-8")


@pytest.mark.parametrize("text", ["{", "[]", '{"headline": "x"}', '{"headline": 1, "lines": []}', "\udcff"])
def test_news_that_are_damaged_are_named_and_done_without(write_run: Callable[..., Path], text: str) -> None:
    folder = write_run()
    (folder / "baseline_news.json").write_text(text, errors="surrogateescape")

    code, output = run("html", str(folder))

    assert code == 0
    assert "baseline_news.json cannot be read" in output.replace("\n", "")
    assert "Against the baseline" not in (folder / "report.html").read_text("utf-8")


def test_no_run_is_a_usage_error(write_run: Callable[..., Path], tmp_path: Path) -> None:
    code, output = run("html", str(tmp_path))

    assert code == 2
    assert "it holds no records.jsonl; give a run's directory" in output


def test_records_of_another_version_are_refused(write_run: Callable[..., Path]) -> None:
    folder = write_run()
    (folder / "records.jsonl").write_text('{"schema": 99}\n')

    code, output = run("html", str(folder))

    assert code == 2
    assert "this version reads schema 1" in output
    assert not (folder / "report.html").exists()


def test_a_page_that_cannot_be_written_is_no_usage_error(write_run: Callable[..., Path]) -> None:
    folder = write_run()

    code, output = run("html", str(folder), "--out", str(folder / "records.jsonl" / "x.html"))

    assert code == 1
    assert "cannot write the page" in output


def test_open_shows_the_newest_run(write_run: Callable[..., Path], opened: list[str]) -> None:
    write_run("a")
    newest = write_run("b")
    old = newest.parent / "a" / "records.jsonl"
    os.utime(old, (1, 1))

    code, output = run("open")

    assert (code, output) == (0, "Report: reports/b/report.html\n")
    assert opened == [(newest / "report.html").as_uri()]


def test_open_keeps_a_page_that_is_newer_than_its_records(write_run: Callable[..., Path], opened: list[str]) -> None:
    folder = write_run()
    (folder / "report.html").write_text("as it was")

    run("open", str(folder))

    assert (folder / "report.html").read_text() == "as it was"
    assert len(opened) == 1


def test_open_writes_a_page_anew_that_is_older_than_its_records(
    write_run: Callable[..., Path], opened: list[str]
) -> None:
    folder = write_run()
    (folder / "report.html").write_text("as it was")
    os.utime(folder / "report.html", (1, 1))

    run("open", str(folder))

    assert (folder / "report.html").read_text("utf-8") != "as it was"


@pytest.mark.parametrize("fails", [False, True])
def test_without_a_browser_the_path_is_said(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    def browse(address: str) -> bool:
        if fails:
            raise webbrowser.Error("no browser")
        return False

    monkeypatch.setattr(webbrowser, "open", browse)

    code, output = run("open", str(write_run()))

    assert code == 0
    assert "reports/20310506-070809/report.html" in output
    assert "No browser was found" in output


def test_open_without_any_run_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert run("open") == (2, "error: no runs in reports; give a run's directory\n")


def test_a_run_of_sequences_counts_as_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "sequences.jsonl").write_text("")
    (tmp_path / "not-a-run").mkdir()
    (tmp_path / "README.md").write_text("")

    assert newest_run(tmp_path) == tmp_path / "a"
