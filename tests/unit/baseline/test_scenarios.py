from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collapse_tests.baseline.comparison import compare
from collapse_tests.baseline.scenarios import Change, ScenarioOutcome, change_of, outcome_of, scenario_changes
from collapse_tests.records import Verdict
from collapse_tests.report.against_baseline import baseline_news
from tests.unit.baseline.cases import ERROR, scenario_outcome, scenario_record, snapshot

SURVIVED = scenario_outcome()
AFTER = {count: scenario_outcome(count) for count in range(1, 10)}
OUTCOMES = st.sampled_from([SURVIVED, *AFTER.values()])


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (SURVIVED, SURVIVED, None),
        (SURVIVED, AFTER[9], Change.NEW),
        (AFTER[5], AFTER[4], Change.EARLIER),
        (AFTER[5], AFTER[5], Change.KNOWN),
        (AFTER[5], AFTER[6], Change.LATER),
        (AFTER[5], SURVIVED, Change.FIXED),
        (SURVIVED, scenario_outcome(planned=8), Change.OTHER),
        (AFTER[5], scenario_outcome(5, requests="aaab" * 5), Change.OTHER),
    ],
)
def test_what_is_new(before: ScenarioOutcome, after: ScenarioOutcome, change: Change | None) -> None:
    assert change_of(before, after) is change


@given(before=OUTCOMES, after=OUTCOMES)
def test_a_change_is_worse_exactly_if_its_reverse_is_better(before: ScenarioOutcome, after: ScenarioOutcome) -> None:
    there, back = change_of(before, after), change_of(after, before)

    assert (there is not None and there.is_worse) is (back in (Change.FIXED, Change.LATER))


def test_requests_that_only_one_of_the_two_got_to_make_no_difference() -> None:
    before = scenario_outcome(2, requests="aaaabbbb")

    assert change_of(before, scenario_outcome(4, requests="aaaabbbbccccdddd")) is Change.LATER
    assert change_of(before, scenario_outcome(4, requests="aaaaccccbbbbdddd")) is Change.OTHER


def test_errors_are_no_outcome() -> None:
    error = scenario_outcome(verdict=ERROR)

    assert not list(scenario_changes({"a": error, "b": AFTER[2]}, {"a": AFTER[2], "b": error, "c": AFTER[2]}))


def test_the_request_that_could_not_be_written_is_not_among_the_edits() -> None:
    record = scenario_record([200.0, 5e4])
    refused = {"prompt": "of the editor that raised"}

    assert outcome_of(record) == outcome_of(scenario_record([200.0, 5e4], requests=(*record.requests, refused)))
    assert len(outcome_of(record).requests) == 8


@pytest.mark.parametrize(("now", "worse"), [(None, False), (7, False), (5, False), (4, True)])
def test_a_scenario_that_collapses_earlier_makes_its_group_worse(now: int | None, worse: bool) -> None:
    found = compare(snapshot({}, {"hard": AFTER[5]}), snapshot({}, {"hard": scenario_outcome(now)}))

    assert found.is_worse is worse
    assert found.is_silent is (now == 5)


def test_everything_that_can_be_told_of_scenarios() -> None:
    before = {"a": SURVIVED, "b": AFTER[5], "c": AFTER[5], "d": AFTER[5], "e": AFTER[5], "f": AFTER[5]}
    after = {"a": AFTER[1], "b": AFTER[2], "c": AFTER[5], "d": AFTER[8], "e": SURVIVED, "f": scenario_outcome(5, 7)}

    news = baseline_news(compare(snapshot({}, before), snapshot({}, after)))

    assert news.headline == (
        "Against the baseline: 1 newly collapsed, 1 collapsed earlier, 1 fixed, 1 collapsed later, 1 known collapse; "
        "worse as a whole: tiny under rome."
    )
    assert news.lines == (
        "tiny under rome",
        "  regression: scenario:a collapses after 1 edit, survived 9 edits",
        "  regression: scenario:b collapses after 2 edits, was 5",
        "  fixed: scenario:e survives 9 edits, was 5",
        "  fixed in part: scenario:d collapses after 8 edits, was 5",
        "  scenarios known to collapse, after as many edits: scenario:c",
        "  scenarios with other requests under the same name, judged as new: scenario:f",
    )


def test_a_scenario_that_survives_in_both_is_compared_and_nothing_to_tell() -> None:
    run = snapshot({}, {"hard": scenario_outcome(verdict=Verdict.INEFFECTIVE)})

    news = baseline_news(compare(run, run))

    assert news.headline == "Against the baseline: nothing newly collapsed."
    assert news.lines == ()
