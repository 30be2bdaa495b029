from __future__ import annotations

import math
from typing import Any

import pytest

from collapse_tests.baseline.known import KnownOutcomes
from collapse_tests.baseline.snapshot import snapshot_of
from collapse_tests.records import Verdict
from tests.unit.baseline.cases import COLLAPSED, ERROR, INEFFECTIVE, STABLE, record

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


@pytest.mark.parametrize("verdict", [STABLE, INEFFECTIVE, ERROR])
@pytest.mark.parametrize("edit_id", ["f:0", "f:1"])
def test_only_collapses_are_excused(edit_id: str, verdict: Verdict) -> None:
    other = record(edit_id, verdict, None if verdict is ERROR else 200.0)

    assert (KNOWN.excuse(other), KNOWN.news(other)) == (None, None)
