from __future__ import annotations

import math

import pytest

from collapse_tests.records import EditQuality, Perplexity, TaskResult, TaskVerdict, Verdict
from collapse_tests.verdict import is_collapsed, is_suspect, judge


def ppl(me_ppl: float) -> Perplexity:
    return Perplexity(me_ppl, corpus_ppl=90.0, sentences=50, tokens=1000)


def quality(success: bool, truth: float | None = 0.25) -> EditQuality:
    return EditQuality(success, success, None, None, 0.125, 0.0, truth)


@pytest.mark.parametrize(
    ("me_ppl", "collapsed"),
    [
        (math.nextafter(1000.0, 0), False),
        (1000.0, True),
        (1000.1, True),
        (1.0, False),
        (math.inf, True),
        (-math.inf, True),
        (math.nan, True),
    ],
)
@pytest.mark.parametrize("success", [True, False])
def test_the_limit_itself_and_what_is_no_number_collapse(me_ppl: float, collapsed: bool, success: bool) -> None:
    assert is_collapsed(ppl(me_ppl), 1000.0) is collapsed
    judgement = judge(ppl(me_ppl), quality(success), 1000.0)
    if collapsed:
        assert judgement.verdict is Verdict.COLLAPSED  # also when the edit did not take
        assert len(judgement.reasons) == 1
    else:
        assert judgement.verdict is (Verdict.STABLE if success else Verdict.INEFFECTIVE)


def test_an_infinite_limit_still_refuses_what_is_not_finite() -> None:
    assert judge(ppl(math.inf), quality(True), math.inf).verdict is Verdict.COLLAPSED
    assert judge(ppl(math.nan), quality(True), math.inf).verdict is Verdict.COLLAPSED
    assert judge(ppl(1e300), quality(True), math.inf).verdict is Verdict.STABLE


def test_a_huge_number_is_told_shortly() -> None:
    (reason,) = judge(ppl(6.0169711925e10), quality(True), 1000.0).reasons
    assert reason == "ME-PPL 6.02e+10 is at or above the limit 1,000"


@pytest.mark.parametrize(
    ("edited", "suspect"),
    [(149.9, False), (150.0, True), (math.nan, True), (math.inf, True), (90.0, False)],
)
def test_growth_by_the_factor_or_to_no_number_is_suspect(edited: float, suspect: bool) -> None:
    assert is_suspect(ppl(100.0), ppl(edited), 1.5) is suspect


def test_a_stable_case_needs_no_reason() -> None:
    assert judge(ppl(200.0), quality(True), 1000.0).reasons == ()


def test_reasons_give_the_numbers() -> None:
    (reason,) = judge(ppl(12345.678), quality(True), 1000.0).reasons
    assert "12,345.68" in reason
    assert "1,000" in reason
    (reason,) = judge(ppl(math.nan), quality(True), 1000.0).reasons
    assert "nan" in reason
    (reason,) = judge(ppl(200.0), quality(False), 1000.0).reasons
    assert "0.125" in reason
    assert "0.25" in reason
    (reason,) = judge(ppl(200.0), quality(False, truth=None), 1000.0).reasons
    assert "greedy" in reason


# Downstream accuracy ------------------------------------------------------------------------------------------


def task(verdict: TaskVerdict, name: str = "capitals", p_value: float = 0.34, edited: float = 0.267) -> TaskResult:
    return TaskResult(
        task=name,
        metric="acc",
        items=120,
        unedited=0.85,
        edited=edited,
        chance=0.25,
        p_value=p_value,
        lost=75,
        gained=5,
        drop_p_value=0.0004,
        verdict=verdict,
    )


@pytest.mark.parametrize("verdict", TaskVerdict)
@pytest.mark.parametrize("success", [True, False])
def test_a_task_that_failed_collapses_the_case(verdict: TaskVerdict, success: bool) -> None:
    judgement = judge(ppl(200.0), quality(success), 1000.0, [task(TaskVerdict.ABOVE, "fine"), task(verdict)])
    if verdict in {TaskVerdict.RANDOM, TaskVerdict.DROPPED}:
        assert judgement.verdict is Verdict.COLLAPSED  # also when the edit did not take
        (reason,) = judgement.reasons
        assert reason.startswith("capitals ")
    else:
        assert judgement == judge(ppl(200.0), quality(success), 1000.0)


def test_every_reason_is_given_and_perplexity_comes_first() -> None:
    tasks = [
        task(TaskVerdict.RANDOM, "one"),
        task(TaskVerdict.UNINFORMATIVE, "two"),
        task(TaskVerdict.DROPPED, "three"),
    ]
    judgement = judge(ppl(5000.0), quality(True), 1000.0, tasks)
    assert [reason.split()[0] for reason in judgement.reasons] == ["ME-PPL", "one", "three"]


def test_reasons_of_tasks_give_the_numbers() -> None:
    def reason(result: TaskResult) -> str:
        (only,) = judge(ppl(200.0), quality(True), 1000.0, [result]).reasons
        return only

    assert reason(task(TaskVerdict.RANDOM)) == ("capitals acc 0.267 of 120 items is not above chance 0.25 (p = 0.34)")
    assert reason(task(TaskVerdict.DROPPED)) == (
        "capitals acc fell from 0.85 to 0.267 of 120 items: 75 lost, 5 gained (p = 0.0004)"
    )
    broken = task(TaskVerdict.RANDOM, p_value=math.nan, edited=math.nan)
    assert reason(broken) == "capitals gave scores that are not finite"
