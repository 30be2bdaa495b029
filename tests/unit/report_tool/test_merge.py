"""`collapse-report merge` as it is typed, and what can be done with the run it makes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collapse_tests.case_detail import CaseDetail
from collapse_tests.environment import fingerprint
from collapse_tests.kept_records import KeptRecords
from collapse_tests.records import Record, Verdict
from collapse_tests.report.html import rendering
from collapse_tests.report.store import RunDirectory, read_details, read_records, read_sequences
from collapse_tests.report_tool.main import app
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.settings import Downstream, Settings
from collapse_tests.shards import Selection, Shard
from tests.unit.mining.cases import DIGEST, case, record

SETTINGS = Settings(("rome",), ("m",), ("set.json",), downstream=Downstream.NEVER)
CASES = [case(index) for index in range(11)]
RECORDS = [record(one, 5000.0 if index == 10 else 100.0) for index, one in enumerate(CASES)]
SEARCH = SequenceRecord(
    "m-rome-machine:set",
    "m",
    "rome",
    "set",
    SequenceKind.MACHINE,
    Verdict.COLLAPSED,
    requests=({"prompt": "A is", "subject": "A", "target_new": "B"},),
)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(rendering, "javascript_bundle", lambda: "let a = 1;")


def report(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def write_shard(
    shard: Shard, *, sequences: Sequence[SequenceRecord] = (), cut: int | None = None, place: str = "jobs"
) -> Path:
    records: list[Record] = list(shard.of(RECORDS))
    cases = len(records) + len(sequences)
    selection = Selection(str(shard), cases, cases, len(RECORDS), len(RECORDS), "d")
    environment = fingerprint(replace(SETTINGS, shard=shard)) | {
        "selection": asdict(selection),
        "models": {"m": DIGEST},
    }
    second = len(list(Path(place).glob("*"))) if Path(place).exists() else 0
    with RunDirectory.create(Path(place), environment, now=datetime(2031, 5, 6, 7, 8, second)) as run:
        for one in records[:cut]:
            run.append(one)
            run.append_detail(CaseDetail(one.case_id))
        for sequence in sequences:
            run.append_sequence(sequence)
        return run.path


@pytest.fixture
def shards() -> list[Path]:
    return [write_shard(Shard(index, 3), sequences=(SEARCH,) if index == 2 else ()) for index in (1, 2, 3)]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_shards_become_a_run_like_any_other(shards: list[Path]) -> None:
    before = [files(shard) for shard in shards]

    code, text = report("merge", *reversed(shards), "--into", "all/of/it")

    assert code == 0
    merged = Path("all/of/it")
    assert read_records(merged) == (RECORDS, [])
    assert [detail.case_id for detail in read_details(merged)[0]] == [one.case_id for one in RECORDS]
    assert read_sequences(merged)[0] == [SEARCH]
    assert (merged / "scenarios" / "m-rome-machine-set.json").is_file()
    assert (merged / "report.html").is_file()
    assert [files(shard) for shard in shards] == before
    assert "collapse report" in text
    assert "1 of 11 edits collapsed" in text
    assert "merged: 3 runs into all/of/it" in text
    assert "incomplete" not in text
    assert "Report: all/of/it/report.html" in text


def test_a_directory_of_runs_and_a_new_directory_in_reports(shards: list[Path]) -> None:
    assert report("merge", "jobs")[0] == 0
    (first,) = Path("reports").iterdir()
    assert report("merge", *shards, shards[0] / "records.jsonl", "jobs")[0] == 0  # each once
    assert len(list(Path("reports").iterdir())) == 2
    assert len(read_records(first)[0]) == 11


def test_nothing_is_written_over(shards: list[Path]) -> None:
    Path("there").mkdir()
    (Path("there") / "file").write_text("mine")
    for place in ("there", "there/file"):
        code, text = report("merge", "jobs", "--into", place)
        assert code == 4
        assert text == f"error: --into {place} is there already; give a directory that is new or empty\n"
    assert files(Path("there")) == {"file": b"mine"}
    Path("empty").mkdir()
    assert report("merge", "jobs", "--into", "empty")[0] == 0


def test_a_merged_run_beside_its_shards_is_left_alone(shards: list[Path]) -> None:
    report("merge", "jobs", "--into", "jobs/merged")

    code, text = report("merge", "jobs", "--into", "again")

    assert code == 0
    assert "jobs/merged is a merged run and left alone; give it by name to merge it" in text
    assert len(read_records(Path("again"))[0]) == 11
    assert report("merge", "jobs/merged", "--into", "by-name")[0] == 0
    assert report("merge", "jobs/merged/records.jsonl", "--into", "by-file")[0] == 0
    assert report("merge", shards[0], "jobs/merged")[0] == 4


def test_what_is_missing_is_refused_and_leaves_nothing(shards: list[Path]) -> None:
    unfinished = write_shard(Shard(2, 3), cut=2, place="other")

    code, text = report("merge", shards[0], unfinished, "--into", "all")

    assert code == 4
    assert text == (
        f"error: shard 3/3 is missing and shard 2/3 has 2 of its 4 cases ({unfinished}); give the runs of all shards, "
        f"finish it with --shard 2/3 --resume {unfinished}, or merge what is there with --incomplete\n"
    )
    assert not Path("all").exists()


def test_what_is_there_is_merged_on_request(shards: list[Path]) -> None:
    code, text = report("merge", *shards[:2], "--incomplete", "--into", "all")

    assert code == 0
    assert "incomplete: shard 3/3 is missing" in text
    environment = json.loads(Path("all/environment.json").read_text())
    assert environment["merged"]["gaps"] == ["shard 3/3 is missing"]
    assert [run["run"] for run in environment["merged"]["runs"]] == [str(shard) for shard in shards[:2]]
    assert report("merge", "all")[0] == 4


def test_a_line_that_was_cut_off_is_told(shards: list[Path]) -> None:
    file = shards[0] / "records.jsonl"
    file.write_bytes(file.read_bytes()[:-30])

    code, text = report("merge", "jobs")

    assert code == 4
    assert f"warning: {file}:4: the last record was cut off while being written; left out" in text
    assert "shard 1/3 has 3 of its 4 cases" in text


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": {}}'])
def test_a_damaged_environment_is_named(shards: list[Path], content: str) -> None:
    (shards[1] / "environment.json").write_text(content)

    code, text = report("merge", "jobs")

    assert code == 4
    assert "environment.json" in text
    assert str(shards[1]) in text
    assert "restore it, or leave that run out" in text


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_a_place_without_runs_is_named(place: str) -> None:
    code, text = report("merge", place)

    assert code == 4
    assert text.startswith(f"error: no run in {place}: ")


def test_a_merge_that_fails_half_way_leaves_nothing(shards: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: RunDirectory, environment: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(RunDirectory, "write_environment", full)
    done = CliRunner().invoke(app, ["merge", "jobs", "--into", "all"])

    assert isinstance(done.exception, OSError)
    assert not Path("all").exists()


# What can be done with it -------------------------------------------------------------------------------------


@pytest.fixture
def merged(shards: list[Path]) -> Path:
    report("merge", *shards, "--into", "merged")
    return Path("merged")


def test_it_is_resumed_from(merged: Path) -> None:
    said: list[str] = []
    kept = KeptRecords(merged, SETTINGS, said.append)
    assert [kept.record_of(one, DIGEST) for one in CASES] == RECORDS
    assert said == []


def test_it_is_compared_shown_and_made_a_baseline(merged: Path) -> None:
    code, text = report("compare", merged)
    assert code == 0
    assert "11" in text

    code, text = report("baseline", merged, "--out", "b.json")
    assert (code, text) == (0, "Baseline written: b.json, 11 cases.\n")

    (merged / "report.html").unlink()
    assert report("html", merged) == (0, "Report: merged/report.html\n")
    page = (merged / "report.html").read_text()
    assert "m-rome-set:0010" in page or "set:0010" in page


def test_its_environment_is_one_of_a_run(merged: Path) -> None:
    environment: dict[str, Any] = json.loads((merged / "environment.json").read_text())
    assert environment["settings"] == json.loads(json.dumps(fingerprint(SETTINGS)["settings"], default=str))
    assert environment["models"] == {"m": DIGEST}
    assert environment["merged"]["gaps"] == []
