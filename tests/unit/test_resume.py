"""Which cases earlier records answer for, and when a model has to be loaded to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from collapse_tests.case_detail import CaseDetail, SentenceChange
from collapse_tests.cases import Case
from collapse_tests.environment import fingerprint
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.report.store import RunDirectory
from collapse_tests.resume import Resumption
from collapse_tests.settings import Downstream, Settings
from tests.unit.mining.cases import DIGEST, case, record, write_run

SETTINGS = Settings(("rome", "ft"), ("m", "n"), ("set.json",), downstream=Downstream.NEVER)
FIRST, SECOND = case(0), case(1)


class Models:
    """Says which models were loaded for their digest."""

    def __init__(self, **digests: str) -> None:
        self.loaded: list[str] = []
        self._digests = digests

    def digest(self, model: str) -> str:
        self.loaded.append(model)
        if model not in self._digests:
            raise InfrastructureError(f"{model} does not load")
        return self._digests[model]


def resumption(place: Path, *cases: Case, settings: Settings = SETTINGS, in_use: tuple[str, ...] = ()) -> Resumption:
    found = Resumption(place, settings)
    found.select(cases, in_use)
    return found


def test_without_anything_to_run_no_model_is_loaded(tmp_path: Path) -> None:
    write_run(tmp_path, SETTINGS, [record(FIRST), record(SECOND)])
    models, found = Models(), resumption(tmp_path, FIRST, SECOND)

    outcome = found.outcome_of(FIRST, models.digest)

    assert outcome is not None
    assert (outcome.record, outcome.resumed, outcome.repeated) == (record(FIRST), True, False)
    assert FIRST.id in found
    assert (models.loaded, found.is_checked("m")) == ([], False)


def test_a_model_is_checked_once_as_soon_as_any_of_its_cases_is_to_run(tmp_path: Path) -> None:
    other = case(0, model="n")
    write_run(tmp_path, SETTINGS, [record(FIRST), record(SECOND), record(other)])
    models, found = Models(m=DIGEST), resumption(tmp_path, FIRST, SECOND, case(2), other)

    assert found.outcome_of(FIRST, models.digest) is not None
    assert found.outcome_of(SECOND, models.digest) is not None
    assert found.outcome_of(case(2), models.digest) is None
    assert found.outcome_of(other, models.digest) is not None

    assert models.loaded == ["m"]
    assert (found.is_checked("m"), found.is_checked("n")) == (True, False)


def test_a_model_that_is_loaded_anyway_is_checked(tmp_path: Path) -> None:
    write_run(tmp_path, SETTINGS, [record(FIRST)])
    models, found = Models(m=DIGEST), resumption(tmp_path, FIRST, in_use=("m",))

    assert found.outcome_of(FIRST, models.digest) is not None
    assert models.loaded == ["m"]


@pytest.mark.parametrize("models", [Models(m="other"), Models()], ids=["other weights", "does not load"])
def test_records_of_other_weights_answer_for_nothing(tmp_path: Path, models: Models) -> None:
    other = case(0, model="n")
    write_run(tmp_path, SETTINGS, [record(FIRST), record(SECOND), record(other)])
    found = resumption(tmp_path, FIRST, SECOND, case(2), other)

    assert found.outcome_of(FIRST, models.digest) is None
    assert found.outcome_of(SECOND, models.digest) is None
    assert (FIRST.id in found, other.id in found) == (False, True)
    assert models.loaded == ["m"]


def test_records_of_different_weights_are_checked_though_nothing_is_left(tmp_path: Path) -> None:
    write_run(tmp_path, SETTINGS, [record(FIRST), record(SECOND, model_digest="older")])
    models, found = Models(m=DIGEST), resumption(tmp_path, FIRST, SECOND)

    assert found.outcome_of(FIRST, models.digest) is not None
    assert found.outcome_of(SECOND, models.digest) is None


def test_a_record_gets_the_id_that_its_request_has_now(tmp_path: Path) -> None:
    write_run(tmp_path, SETTINGS, [record(FIRST)])
    moved = replace(FIRST, edit_id="elsewhere:0007")

    outcome = resumption(tmp_path, moved).outcome_of(moved, Models().digest)

    assert outcome is not None
    assert (outcome.record.case_id, outcome.record.edit_id) == (moved.id, "elsewhere:0007")


def test_details_come_along_from_the_run_of_the_record(tmp_path: Path) -> None:
    written = {0: CaseDetail(FIRST.id, (SentenceChange("of then", 1.0, 2.0),)), 1: CaseDetail(FIRST.id)}
    for second, detail in written.items():
        now = datetime(2025, 3, 4, 5, 6, second)
        with RunDirectory.create(tmp_path, fingerprint(SETTINGS), now=now) as run:
            run.append(record(FIRST if second == 0 else SECOND))
            run.append_detail(detail)
    renamed = replace(FIRST, edit_id="elsewhere:0007")

    outcome = resumption(tmp_path, renamed).outcome_of(renamed, Models().digest)

    assert outcome is not None
    assert outcome.detail == replace(written[0], case_id=renamed.id)


def test_what_is_said_of_the_records(tmp_path: Path) -> None:
    write_run(tmp_path, SETTINGS, [record(FIRST)])

    settings = replace(SETTINGS, editors=("rome", "mine:edit"), scenarios=("hard",))
    found = Resumption(tmp_path, settings)

    assert found.notes == [
        f"resuming from {tmp_path}, whose records answer for 1 case at most",
        "the records are of mine:edit as it was then; if its code has changed, start anew",
        "sequences are run again",
    ]


@pytest.mark.parametrize("change", [lambda s: replace(s, tasks=("piqa",)), lambda s: replace(s, gate_on_drop=True)])
def test_tasks_matter_only_where_they_are_measured(tmp_path: Path, change: Callable[[Settings], Settings]) -> None:
    measured = replace(SETTINGS, downstream=Downstream.EACH)
    for index, settings in enumerate((SETTINGS, measured)):
        write_run(tmp_path / str(index), settings, [record(FIRST)])

    assert FIRST.id in resumption(tmp_path / "0", FIRST, settings=change(SETTINGS))
    assert FIRST.id in resumption(tmp_path / "1", FIRST, settings=measured)
    assert FIRST.id not in resumption(tmp_path / "1", FIRST, settings=change(measured))
    assert FIRST.id not in resumption(tmp_path / "0", FIRST, settings=measured)


@pytest.mark.parametrize("name", ["records.jsonl", "details.jsonl"])
def test_damage_shows_at_once(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path, SETTINGS, [record(FIRST)])
    file = run / name
    file.write_text('{"schema": 1}\n')

    with pytest.raises(UsageError, match=rf"{name}:1: not a record: .*; restore the file or remove the line"):
        Resumption(tmp_path, SETTINGS)


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--resume '.*' is no run's directory and holds none; give one that has "):
        Resumption(tmp_path, SETTINGS)
