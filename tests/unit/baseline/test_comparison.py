from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings

from collapse_tests.baseline.comparison import GroupComparison, compare, compare_outcomes
from collapse_tests.baseline.differences import Scope, group_differences, other_requests, setting_differences, some_of
from collapse_tests.baseline.snapshot import CaseOutcome, Snapshot, snapshot_of
from collapse_tests.errors import ErrorKind
from collapse_tests.records import Record
from tests.unit.baseline.cases import COLLAPSED, ERROR, FACTS, INEFFECTIVE, ROME, STABLE, outcome, runs, snapshot


def only_group(before: dict[str, CaseOutcome], after: dict[str, CaseOutcome]) -> GroupComparison:
    (group,) = compare(snapshot(before), snapshot(after)).groups
    return group


@settings(deadline=None)
@given(runs(errors=False))
def test_a_run_against_itself_is_silent(records: list[Record]) -> None:
    made = snapshot_of(records, FACTS)

    found = compare(made, made)

    assert found.is_silent
    assert not found.is_worse
    collapsed = [one for one in records if one.verdict is COLLAPSED]
    assert sum(len(group.still_collapsed) for group in found.groups) == len({one.case_id for one in collapsed})


@settings(deadline=None)
@given(runs())
def test_errors_make_nothing_worse(records: list[Record]) -> None:
    made = snapshot_of(records, FACTS)

    found = compare(made, made)

    assert not found.is_worse
    assert not any(group.new or group.missing or group.changed for group in found.groups)


@settings(deadline=None)
@given(runs(errors=False), runs(errors=False))
def test_every_case_is_told_once(before: list[Record], after: list[Record]) -> None:
    one, other = snapshot_of(before, FACTS), snapshot_of(after, FACTS)
    for group in compare(one, other).groups:
        pairs = len(group.newly_collapsed) + len(group.fixed) + len(group.still_collapsed)
        assert pairs <= group.pairs
        assert group.pairs + len(group.new) + len(group.changed) == len(other.of_group(group.name))
        assert group.pairs + len(group.missing) + len(group.changed) == len(one.of_group(group.name))


def test_what_became_of_each_case() -> None:
    before = {
        "f:0": outcome(),
        "f:1": outcome(COLLAPSED, 5e4),
        "f:2": outcome(COLLAPSED, math.inf),
        "f:3": outcome(),
        "f:4": outcome(),
        "f:5": outcome(ERROR, None),
        "f:6": outcome(COLLAPSED, 5e4),
        "f:7": outcome(),
    }
    after = {
        "f:0": outcome(COLLAPSED, math.nan),
        "f:1": outcome(INEFFECTIVE),
        "f:2": outcome(COLLAPSED, 2e3),
        "f:3": outcome(ERROR, None),
        "f:5": outcome(),
        "f:6": outcome(COLLAPSED, 5e4, request="another"),
        "f:7": outcome(),
        "f:8": outcome(COLLAPSED, 2e3),
    }

    group = only_group(before, after)

    assert group.newly_collapsed == ("f:0",)
    assert group.fixed == group.untaken == ("f:1",)
    assert group.still_collapsed == ("f:2",)
    assert group.errors == ("f:3",)
    assert group.missing == ("f:4",)
    assert group.changed == ("f:6",)
    assert group.new == ("f:8",)
    assert group.pairs == 4


def many(collapsed: int, *, me_ppl: float = 200.0, failed: int = 0, cases: int = 20) -> dict[str, CaseOutcome]:
    return {
        f"f:{n:04}": outcome(COLLAPSED, 5e4) if n < collapsed else outcome(me_ppl=me_ppl, success=n < cases - failed)
        for n in range(cases)
    }


@pytest.mark.parametrize(
    ("after", "worse"),
    [
        (many(0), []),
        (many(6), []),
        (many(7), ["collapses_more"]),
        (many(0, me_ppl=209.0), []),
        (many(0, me_ppl=211.0), ["perplexity_rose"]),
        (many(0, me_ppl=20.0), []),
        (many(0, me_ppl=math.inf), ["perplexity_rose"]),
        (many(0, me_ppl=math.nan), ["perplexity_rose"]),
        (many(0, failed=6), []),
        (many(0, failed=7), ["takes_less"]),
        (many(12, failed=7, me_ppl=math.nan), ["collapses_more", "takes_less", "perplexity_rose"]),
    ],
)
def test_when_a_group_is_worse(after: dict[str, CaseOutcome], worse: list[str]) -> None:
    group = only_group(many(0), after)

    assert [name for name in ("collapses_more", "takes_less", "perplexity_rose") if getattr(group, name)] == worse
    assert group.is_worse is bool(worse)


def test_known_collapses_have_no_part_in_the_median() -> None:
    before = {f"f:{n}": outcome(COLLAPSED, 5e4) for n in range(5)} | {"f:9": outcome(me_ppl=200.0)}
    after = {f"f:{n}": outcome(COLLAPSED, math.nan) for n in range(5)} | {"f:9": outcome(me_ppl=202.0)}

    group = only_group(before, after)

    assert group.median_log_ratio == math.inf
    assert group.surviving_log_ratio == pytest.approx(math.log(1.01))
    assert not group.is_worse


def test_new_collapses_have_a_part_in_it() -> None:
    after = {f"f:{n}": outcome(COLLAPSED, math.nan) for n in range(3)}

    assert only_group({f"f:{n}": outcome() for n in range(3)}, after).perplexity_rose


@pytest.mark.parametrize(
    ("kind", "untried"),
    [
        (ErrorKind.INFRASTRUCTURE, ("f:0",)),
        (ErrorKind.USAGE, ("f:0",)),
        (None, ("f:0",)),
        (ErrorKind.EDITOR, ()),
        (ErrorKind.RESTORATION, ()),
    ],
)
def test_cases_that_are_missing_for_no_fault_of_the_editor_are_known(
    kind: ErrorKind | None, untried: tuple[str, ...]
) -> None:
    error = outcome(ERROR, None, error_kind=kind)

    (group,) = compare(snapshot({"f:0": outcome()}), snapshot({"f:0": error, "f:1": error})).groups

    assert group.errors == ("f:0", "f:1")
    assert group.untried == untried


def test_the_tolerance_can_be_chosen() -> None:
    after = snapshot(many(0, me_ppl=211.0))

    assert compare(snapshot(many(0)), after).is_worse
    assert not compare(snapshot(many(0)), after, tolerance=1.06).is_worse


def test_other_sets_say_nothing_of_the_rate() -> None:
    hard = {f"hard:{n:04}": outcome(COLLAPSED, 5e4) for n in range(40)}

    group = only_group({f"normal:{n:04}": outcome() for n in range(40)}, hard)

    assert group.collapses is None
    assert not group.is_worse


def test_other_cases_of_one_set_are_compared_as_a_whole() -> None:
    later = {f"f:{n:04}": outcome(COLLAPSED, 5e4) for n in range(100, 140)}

    group = only_group(many(0), later)

    assert group.collapses is not None
    assert group.collapses.test == "Fisher"
    assert group.collapses_more


def test_nothing_is_compared_under_other_weights() -> None:
    after = replace(snapshot(many(20)), groups={"tiny-rome": replace(ROME, model_digest="other")})

    found = compare(snapshot(many(0)), after)

    (group,) = found.groups
    assert group.other_weights
    assert (group.pairs, group.newly_collapsed) == (0, ())
    assert not found.is_worse
    assert not found.is_silent


def test_groups_that_only_one_run_has() -> None:
    other = Snapshot(FACTS, {"tiny-ft": replace(ROME, editor="ft")}, {})

    found = compare(snapshot({"f:0": outcome()}), other)

    assert (found.groups, found.new_groups, found.missing_groups) == ((), ("tiny under ft",), ("tiny under rome",))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"seed": 0}, {"seed": 1}, (Scope.NOISE, "seed 1, was 0")),
        ({"ppl_limit": 1000}, {"ppl_limit": 500.0}, (Scope.RULES, "ppl-limit 500, was 1000")),
        ({"ppl_limit": 1000}, {"ppl_limit": 1000.0}, None),
        ({"dtype": "float32"}, {"dtype": "bfloat16"}, (Scope.MODEL, "dtype bfloat16, was float32")),
        ({"edits": ["hard"]}, {"edits": ["hard", "my"]}, (Scope.DATA, "edits hard, my, was hard")),
        ({"gate_on_drop": False}, {"gate_on_drop": True}, (Scope.RULES, "gate-on-drop on, was off")),
        ({"tasks_limit": None}, {"tasks_limit": 5}, (Scope.RULES, "tasks-limit 5, was none")),
        ({"ppl_texts": "a.txt"}, {"ppl_texts": "b.txt"}, (Scope.RULES, "ppl-texts b.txt, was a.txt")),
        (
            {"ppl_texts": "a.txt", "ppl_texts_digest": "1"},
            {"ppl_texts": "a.txt", "ppl_texts_digest": "2"},
            (Scope.RULES, "ppl-texts a.txt with other sentences, was a.txt"),
        ),
        (
            {"ppl_texts": "a.txt", "ppl_texts_digest": "1"},
            {"ppl_texts": "b.txt", "ppl_texts_digest": "1"},
            None,
        ),
        ({"seed": 0}, {}, None),
    ],
)
def test_settings_that_differ(
    before: dict[str, object], after: dict[str, object], told: tuple[Scope, str] | None
) -> None:
    found = [(difference.scope, str(difference)) for difference in setting_differences(before, after)]

    assert found == ([] if told is None else [told])


def test_groups_that_differ() -> None:
    other = replace(ROME, model_digest="x" * 32, hyperparameters={"lr": 0.5})

    told = [str(difference) for difference in group_differences(ROME, other)]

    assert told == [
        "weights of tiny xxxxxxxxxxxx, was d1g35t",
        "rome.lr 0.5, was its default",
        "rome.steps its default, was 5",
    ]
    assert group_differences(ROME, replace(ROME, model_digest="")) == []
    assert [str(one) for one in group_differences(ROME, replace(ROME, editor="ft"))] == ["editor ft, was rome"]


def test_requests_that_differ_are_told_once_for_all_editors() -> None:
    before = snapshot({"f:0": outcome(), "f:1": outcome()})
    after = snapshot({"f:0": outcome(request="x"), "f:1": outcome(), "f:2": outcome()})

    assert other_requests(before, after) == ["f:0"]


def test_long_lists_are_cut() -> None:
    assert some_of(map(str, range(5))) == "0, 1, 2, 3, 4"
    assert some_of(map(str, range(2000))) == "0, 1, 2, 3, 4 and 1,995 more"


def test_of_cases_that_were_not_measured_nothing_is_told() -> None:
    group = compare_outcomes({"f:0": outcome(STABLE, None, success=None)}, {"f:0": outcome(STABLE, None, success=None)})

    assert (group.pairs, group.median_log_ratio, group.failures) == (1, None, None)
    assert not group.is_worse
