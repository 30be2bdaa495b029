from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from collapse_tests.baseline.known import KnownOutcomes
from collapse_tests.baseline.snapshot import snapshot_of
from collapse_tests.records import Verdict
from collapse_tests.sequence_record import SequenceKind
from tests.unit.baseline.cases import COLLAPSED, ERROR, INEFFECTIVE, STABLE, record, scenario_record

KNOWN = KnownOutcomes(
    snapshot_of(
        [
            record("f:0", COLLAPSED, math.inf),
            record("f:1", STABLE, 201.0),
            record("f:2", INEFFECTIVE, 201.0),
            record("f:3", ERROR, None),
        ],
        {},
    )
)


def test_a_known_collapse_is_excused() -> None:
    again = record("f:0", COLLAPSED, 52800.0)

    assert KNOWN.excuse(again) == "known collapse: ME-PPL 52800, in the baseline inf"
    assert KNOWN.news(again) is None


@pytest.mark.parametrize(("edit_id", "was"), [("f:1", "stable"), ("f:2", "ineffective")])
def test_a_new_collapse_is_news(edit_id: str, was: str) -> None:
    collapsed = record(edit_id, COLLAPSED, math.nan)

    assert KNOWN.excuse(collapsed) is None
    assert KNOWN.news(collapsed) == f"new against the baseline: there it was {was} with ME-PPL 201"


@pytest.mark.parametrize(
    ("edit_id", "changes"),
    [
        ("f:4", {}),
        ("f:3", {}),
        ("f:0", {"request": {"prompt": "another"}}),
        ("f:0", {"model_digest": "other"}),
        ("f:0", {"model_digest": ""}),
        ("f:0", {"editor": "their:rome", "case_id": "tiny-rome-f:0"}),
        ("f:0", {"model": "other"}),
    ],
)
def test_what_is_not_the_same_case_is_judged_as_without_a_baseline(edit_id: str, changes: dict[str, Any]) -> None:
    collapsed = record(edit_id, COLLAPSED, 5e4, **changes)

    assert (KNOWN.excuse(collapsed), KNOWN.news(collapsed)) == (None, None)


SURVIVED, LATE = (200.0, 200.0, 200.0), (200.0, math.nan)


def scenario(before: Sequence[float]) -> KnownOutcomes:
    return KnownOutcomes(snapshot_of([], {}, sequences=[scenario_record(before)]))


def test_a_scenario_that_is_known_to_collapse_is_excused_as_long_as_it_is_no_earlier() -> None:
    again = scenario_record(LATE)

    assert scenario(LATE).excuse(again) == "known collapse: after 2 edits, in the baseline after 2 edits"
    assert scenario([5e4]).excuse(again) == "known collapse: after 2 edits, in the baseline after 1 edit"
    assert scenario([200.0, 200.0, math.inf]).excuse(again) is None
    assert scenario(SURVIVED).excuse(again) is None
    assert scenario(LATE).news(again) is None


def test_what_is_new_about_a_scenario() -> None:
    again = scenario_record([5e4])

    assert scenario(SURVIVED).news(again) == "new against the baseline: there the model survived 3 edits"
    assert scenario(LATE).news(again) == "earlier than in the baseline: there the model collapsed after 2 edits"


@pytest.mark.parametrize(
    "changes",
    [
        {"planned": 4},
        {"requests": ({"prompt": "other"}, {"prompt": "1 is"})},
        {"model_digest": "other"},
        {"editor": "their:rome"},
        {"kind": SequenceKind.MACHINE},
        {"verdict": ERROR},
        {"verdict": INEFFECTIVE, "collapsed_after": None},
        {"case_id": "tiny-rome-scenario:g"},
    ],
)
def test_only_the_same_scenario_is_excused(changes: dict[str, Any]) -> None:
    other = scenario_record(LATE, **changes)

    for before in (SURVIVED, LATE, [5e4]):
        assert (scenario(before).excuse(other), scenario(before).news(other)) == (None, None)


def test_searches_are_in_no_baseline() -> None:
    found = snapshot_of([], {}, sequences=[scenario_record(LATE, kind=SequenceKind.MACHINE)])

    assert (dict(found.scenarios), dict(found.groups)) == ({}, {})


@pytest.mark.parametrize("verdict", [STABLE, INEFFECTIVE, ERROR])
@pytest.mark.parametrize("edit_id", ["f:0", "f:1"])
def test_only_collapses_are_excused(edit_id: str, verdict: Verdict) -> None:
    other = record(edit_id, verdict, None if verdict is ERROR else 200.0)

    assert (KNOWN.excuse(other), KNOWN.news(other)) == (None, None)
