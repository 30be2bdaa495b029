"""Which records of earlier runs answer for a case, and which do not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from collapse_tests.cases import Case
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.kept_records import KeptRecords, outcomes_of, run_directories
from collapse_tests.mining.sweep import collect
from collapse_tests.records import Verdict
from collapse_tests.settings import Downstream, Override, Settings
from tests.unit.mining.cases import DIGEST, case, record, write_run

SETTINGS = Settings(("rome", "ft"), ("m",), ("set.json",), downstream=Downstream.NEVER, seed=3)
FIRST, SECOND = case(0), case(1)


def kept_with(directory: Path, settings: Settings = SETTINGS) -> tuple[KeptRecords, list[str]]:
    said: list[str] = []
    return KeptRecords(directory, settings, said.append), said


def test_no_directory_holds_no_records(tmp_path: Path) -> None:
    kept, said = kept_with(tmp_path / "none")
    assert len(kept) == 0
    assert kept.record_of(FIRST, None) is None
    assert kept.digests("m") == set()
    assert said == []


def test_records_of_every_run_below_are_kept(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, SETTINGS, [record(FIRST)]), write_run(tmp_path, SETTINGS, [record(SECOND)], second=1)]
    kept, said = kept_with(tmp_path)
    assert kept.record_of(FIRST, DIGEST) == record(FIRST)
    assert kept.record_of(SECOND, DIGEST) == record(SECOND)
    assert kept.record_of(case(2), DIGEST) is None
    assert said == []
    assert run_directories(tmp_path) == runs
    assert run_directories(runs[1]) == runs[1:]
    assert len(kept_with(runs[1])[0]) == 1


def test_numbers_that_are_none_are_kept(tmp_path: Path) -> None:
    write_run(tmp_path, SETTINGS, [record(FIRST, math.inf), record(SECOND, math.nan)])
    kept, _ = kept_with(tmp_path)
    first, second = kept.record_of(FIRST, None), kept.record_of(SECOND, None)
    assert first is not None
    assert second is not None
    assert first.edited is not None
    assert second.edited is not None
    assert first.edited.me_ppl == math.inf
    assert math.isnan(second.edited.me_ppl)
    assert {first.verdict, second.verdict} == {Verdict.COLLAPSED}


def test_the_last_record_that_is_no_error_lasts(tmp_path: Path) -> None:
    write_run(tmp_path, SETTINGS, [record(FIRST, None), record(SECOND, 2000.0)])
    write_run(tmp_path, SETTINGS, [record(FIRST, 3000.0), record(SECOND, None), record(case(2), None)], second=1)
    write_run(tmp_path, SETTINGS, [record(FIRST, 4000.0)], second=2)
    kept, said = kept_with(tmp_path)
    assert kept.record_of(FIRST, None) == record(FIRST, 4000.0)
    assert kept.record_of(SECOND, None) == record(SECOND, 2000.0)
    assert kept.record_of(case(2), None) is None
    assert said == []  # errors are tried again without a word


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ({"ppl_texts": "texts.txt"}, "their ppl_texts was texts.txt, not None"),
        ({"ppl_limit": 500.0}, "their ppl_limit was 500.0, not 1000"),
        ({"dtype": "bfloat16"}, "their dtype was bfloat16, not float32"),
        ({"matmul_precision": "tf32"}, "their matmul_precision was tf32, not auto"),
        ({"seed": 0}, "their seed was 0, not 3"),
        ({"overrides": (Override("rome", "steps", 5),)}, "rome had other hyper-parameters"),
    ],
)
def test_records_made_with_other_settings_are_left_alone_and_why_is_told(
    tmp_path: Path, theirs: dict[str, object], why: str
) -> None:
    run = write_run(tmp_path, replace(SETTINGS, **theirs), [record(FIRST), record(SECOND)])  # type: ignore[arg-type]
    kept, said = kept_with(tmp_path)
    assert len(kept) == 0
    (line,) = said
    assert line.startswith(f"{run}: 2 records are left alone, as {why}")


@pytest.mark.parametrize(
    "theirs",
    [
        {"models": ("m", "n"), "editors": ("rome",), "edits": ("other.json",), "edits_limit": 7, "riskiest": 2},
        {"ppl_texts": "default", "reports_dir": Path("elsewhere"), "batch_size": 3, "device": "cpu"},
        {"scenarios": ("set.json",), "machines": ("set.json",), "offline": True, "skip_broken": True},
        {"overrides": (Override("ft", "steps", 5),)},
    ],
    ids=["what is edited", "how it is run", "what else is run", "another editor's hyper-parameters"],
)
def test_what_does_not_change_an_edit_keeps_nothing_apart(tmp_path: Path, theirs: dict[str, object]) -> None:
    write_run(tmp_path, replace(SETTINGS, **theirs), [record(FIRST)])  # type: ignore[arg-type]
    kept, said = kept_with(tmp_path)
    assert kept.record_of(FIRST, DIGEST) == record(FIRST)
    assert said == []


def test_hyperparameters_are_compared_by_what_holds_in_the_end(tmp_path: Path) -> None:
    overrides = (Override("rome", "steps", 5, source="rome.yaml"), Override("rome", "steps", 7))
    write_run(tmp_path, replace(SETTINGS, overrides=overrides), [record(FIRST), record(case(0, editor="ft"))])
    same, _ = kept_with(tmp_path, replace(SETTINGS, overrides=(Override("rome", "steps", 7),)))
    other, said = kept_with(tmp_path, replace(SETTINGS, overrides=(Override("rome", "steps", 5),)))
    assert same.record_of(FIRST, DIGEST) is not None
    assert other.record_of(FIRST, DIGEST) is None
    assert other.record_of(case(0, editor="ft"), DIGEST) is not None
    assert [line.endswith("left alone, as rome had other hyper-parameters") for line in said] == [True]


def test_the_weights_have_to_be_the_same(tmp_path: Path) -> None:
    write_run(tmp_path, SETTINGS, [record(FIRST), record(SECOND, model_digest="dead")])
    kept, _ = kept_with(tmp_path)
    assert kept.record_of(FIRST, DIGEST) == record(FIRST)
    assert kept.record_of(FIRST, "dead") is None
    assert kept.record_of(SECOND, DIGEST) is None
    assert kept.record_of(SECOND, None) is not None
    assert kept.digests("m") == {DIGEST, "dead"}
    assert kept.digests("n") == set()


def test_a_request_is_known_by_its_texts_and_not_by_its_set(tmp_path: Path) -> None:
    write_run(tmp_path, SETTINGS, [record(FIRST)])
    kept, _ = kept_with(tmp_path)
    elsewhere = replace(FIRST, edit_id="other:0815")
    assert kept.record_of(elsewhere, DIGEST) == record(FIRST)
    (found,) = collect([elsewhere], kept).records
    assert (found.edit_id, found.case_id) == ("other:0815", elsewhere.id)


@pytest.mark.parametrize(
    "other",
    [
        replace(FIRST, request=replace(FIRST.request, target_new="Oslo")),
        replace(FIRST, request=replace(FIRST.request, ground_truth=None)),
        replace(FIRST, request=replace(FIRST.request, locality_prompt=None)),
        case(0, editor="ft"),
        case(0, model="n"),
    ],
)
def test_any_other_text_editor_or_model_is_another_case(tmp_path: Path, other: Case) -> None:
    write_run(tmp_path, SETTINGS, [record(FIRST)])
    assert kept_with(tmp_path)[0].record_of(other, None) is None


def test_a_line_that_was_cut_off_is_told_and_the_rest_kept(tmp_path: Path) -> None:
    run = write_run(tmp_path, SETTINGS, [record(FIRST), record(SECOND)])
    file = run / "records.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    kept, said = kept_with(tmp_path)
    assert kept.record_of(FIRST, None) == record(FIRST)
    assert kept.record_of(SECOND, None) is None
    assert said == [f"warning: {file}:2: the last record was cut off while being written; left out"]


def damage_line(run: Path) -> Path:
    file = run / "records.jsonl"
    file.write_bytes(b"{no json}\n" + file.read_bytes())
    return file


def remove_environment(run: Path) -> Path:
    (run / "environment.json").unlink()
    return run / "environment.json"


def cut_environment(run: Path) -> Path:
    file = run / "environment.json"
    file.write_text(file.read_text()[:50])
    return file


def environment_without_settings(run: Path) -> Path:
    (run / "environment.json").write_text("{}")
    return run / "environment.json"


def environment_with_broken_overrides(run: Path) -> Path:
    file = run / "environment.json"
    data = json.loads(file.read_text())
    data["settings"]["overrides"] = [{"editor": "rome"}]
    file.write_text(json.dumps(data))
    return file


def environment_with_text_for_overrides(run: Path) -> Path:
    file = run / "environment.json"
    data = json.loads(file.read_text())
    data["settings"]["overrides"] = "none"
    file.write_text(json.dumps(data))
    return file


@pytest.mark.parametrize(
    "damage",
    [
        damage_line,
        remove_environment,
        cut_environment,
        environment_without_settings,
        environment_with_broken_overrides,
        environment_with_text_for_overrides,
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[Path], Path]) -> None:
    write_run(tmp_path, SETTINGS, [record(SECOND)])
    file = damage(write_run(tmp_path, SETTINGS, [record(FIRST)], second=1))
    with pytest.raises(UsageError, match=re.escape(str(file))):
        kept_with(tmp_path)


def test_what_else_lies_about_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "records.txt").write_text("none")
    (tmp_path / "records.csv").write_text("none")
    write_run(tmp_path, SETTINGS, [record(FIRST)])
    kept, said = kept_with(tmp_path)
    assert len(kept) == 1
    assert said == []


# Collected without running ------------------------------------------------------------------------------------


def test_what_is_there_is_collected_in_the_order_of_the_cases_and_the_rest_is_missing(tmp_path: Path) -> None:
    write_run(tmp_path, SETTINGS, [record(case(2), 300.0), record(FIRST)])
    result = collect([FIRST, SECOND, case(2)], kept_with(tmp_path)[0])
    assert result.records == (record(FIRST), record(case(2), 300.0))
    assert result.missing == (SECOND,)
    assert result.kept == 2


def test_records_of_different_weights_are_not_mixed(tmp_path: Path) -> None:
    write_run(tmp_path, SETTINGS, [record(FIRST), record(SECOND, model_digest="dead")])
    kept, _ = kept_with(tmp_path)
    with pytest.raises(InfrastructureError, match=r"'m' are of 2 different sets of weights \(dead, feed\)"):
        collect([FIRST, SECOND], kept)


# Outcomes to compare with -------------------------------------------------------------------------------------


def test_outcomes_are_taken_whatever_the_settings(tmp_path: Path) -> None:
    write_run(tmp_path, replace(SETTINGS, seed=9, ppl_limit=2.0), [record(FIRST, 300.0), record(SECOND, 400.0)])
    write_run(tmp_path, SETTINGS, [record(SECOND, 500.0)], second=1)
    elsewhere = replace(FIRST, edit_id="other:0001")
    assert outcomes_of([elsewhere, SECOND, case(2)], tmp_path, print) == {
        elsewhere.id: record(FIRST, 300.0),
        SECOND.id: record(SECOND, 500.0),
    }


def test_outcomes_of_no_run_name_the_directory(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match=rf"{re.escape(repr(str(place)))} is no run's directory and holds none"):
            outcomes_of([FIRST], place, print)


def test_outcomes_that_were_cut_off_are_told(tmp_path: Path) -> None:
    file = write_run(tmp_path, SETTINGS, [record(FIRST), record(SECOND)]) / "records.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    said: list[str] = []
    assert list(outcomes_of([FIRST, SECOND], tmp_path, said.append)) == [FIRST.id]
    assert said == [f"warning: {file}:2: the last record was cut off while being written; left out"]
