"""Tests of sequences: which there are, and what they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collapse_tests.cases import group_key
from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.edit_request import EditRequest
from collapse_tests.scheduling import scopes_of
from collapse_tests.sequence.cases import expand_sequences
from collapse_tests.sequence.overwriting import Overwrites
from collapse_tests.sequence_record import SequenceKind
from collapse_tests.settings import Settings

FACT = {"prompt": "Oslo is in", "subject": "Oslo", "target_new": "Peru"}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "my-facts.json"
    path.write_text(json.dumps([FACT] * 3))
    return str(path)


def test_models_then_editors_then_sets(file: str) -> None:
    settings = Settings(("rome", "ft"), models=("a", "org/b"), scenarios=("hard", file), machines=("normal",))
    ids = [case.id for case in expand_sequences(settings, SequenceKind.SCENARIO)]
    assert ids == [
        f"{model}-{editor}-scenario:{name}"
        for model in ("a", "b")
        for editor in ("rome", "ft")
        for name in ("hard", "my_facts")
    ]
    assert {group_key(case_id) for case_id in ids} == {"a-rome", "a-ft", "b-rome", "b-ft"}
    (first, *_) = expand_sequences(settings, SequenceKind.MACHINE)
    assert first.id == "a-rome-machine:normal"
    assert first.source == "normal"


def test_steps_cut_scenarios_and_not_pools(file: str) -> None:
    settings = Settings(("rome",), scenarios=(file, "smoke"), machines=(file,), steps=2, edits_limit=1)
    scenarios = expand_sequences(settings, SequenceKind.SCENARIO)
    assert [len(case.requests) for case in scenarios] == [2, 2]
    assert [named.edit_id for named in scenarios[0].requests] == ["my_facts:0000", "my_facts:0001"]
    (machine,) = expand_sequences(settings, SequenceKind.MACHINE)
    assert len(machine.requests) == 3


def test_files_of_one_name_are_told_apart(file: str, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    other = tmp_path / "more" / "my-facts.json"
    other.write_text(json.dumps([FACT]))
    cases = expand_sequences(Settings(("rome",), scenarios=(file, str(other))), SequenceKind.SCENARIO)
    assert [case.name for case in cases] == ["my_facts", "my_facts~2"]
    assert cases[1].requests[0].edit_id == "my_facts~2:0000"


def test_no_sets_no_tests() -> None:
    for kind in SequenceKind:
        assert expand_sequences(Settings(("rome",)), kind) == ()


def test_each_is_a_unit_of_work_for_a_worker() -> None:
    settings = Settings(("rome", "ft"), scenarios=("smoke",), machines=("smoke",))
    cases = [case for kind in SequenceKind for case in expand_sequences(settings, kind)]
    nodes = [f"suite/test_{case.kind}.py::test_{case.kind}[{case.id}]" for case in cases]
    assert scopes_of(nodes, n_workers=2) == {node: node for node in nodes}


# What may be written over an edit -----------------------------------------------------------------------------

CAPITAL, OTHER, RIVER = (
    NamedRequest("a:0", EditRequest("The capital of Norway is", "Norway", "Lima", "Oslo", "Norway is", "A cat", "is")),
    NamedRequest("a:1", EditRequest("The capital of Peru is", "Peru", "Rome", "Lima")),
    NamedRequest("a:2", EditRequest("The river of Rome is", "Rome", "bread")),
)


def test_the_old_answer_and_those_of_the_kind_can_be_written_over_an_edit() -> None:
    overwrites = Overwrites([CAPITAL, OTHER, RIVER])
    back, other = overwrites.of(CAPITAL)
    assert (back.edit_id, other.edit_id) == ("a:0~Oslo", "a:0~Rome")
    assert back.request == EditRequest("The capital of Norway is", "Norway", "Oslo", "Lima", "Norway is", "A cat", "is")
    assert (other.request.target_new, other.request.ground_truth) == ("Rome", "Lima")


def test_an_overwrite_can_be_written_over_in_turn() -> None:
    overwrites = Overwrites([CAPITAL, OTHER, RIVER])
    (back, _) = overwrites.of(CAPITAL)
    assert [named.edit_id for named in overwrites.of(back)] == ["a:0~Lima", "a:0~Rome"]
    assert overwrites.of(back)[0].request.ground_truth == "Oslo"


def test_without_an_old_answer_or_others_of_its_kind_nothing_can() -> None:
    assert Overwrites([CAPITAL, RIVER]).of(RIVER) == []
    assert [named.edit_id for named in Overwrites([]).of(OTHER)] == ["a:1~Lima"]
