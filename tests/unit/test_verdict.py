from __future__ import annotations

import math

import pytest

from collapse_tests.records import EditQuality, Perplexity, Verdict
from collapse_tests.verdict import is_collapsed, judge


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
