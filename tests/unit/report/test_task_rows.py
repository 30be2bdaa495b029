"""Downstream accuracy of a run as rows, with scores that are no numbers among them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from collapse_tests.records import Perplexity, Record, TaskResult, TaskVerdict, Verdict
from collapse_tests.report.rows import verdict_sentence
from collapse_tests.report.task_rows import caught_by_tasks_alone, summarise_tasks

RESULT = TaskResult("piqa", "acc", 100, 0.8, 0.8, 0.5, 1e-6, 0, 0, 1.0, TaskVerdict.ABOVE)
RECORD = Record(
    "m-rome-a:0",
    "m",
    "rome",
    "a:0",
    {},
    Verdict.STABLE,
    unedited=Perplexity(100.0, 60.0, 50, 900),
    edited=Perplexity(110.0, 66.0, 50, 900),
    tasks=(RESULT,),
    ppl_limit=1000.0,
)


def record(score: float, verdict: TaskVerdict, case: Verdict, me_ppl: float = 110.0) -> Record:
    result = replace(RESULT, edited=score, verdict=verdict)
    return replace(RECORD, tasks=(result,), verdict=case, edited=Perplexity(me_ppl, me_ppl, 50, 900))


def test_means_are_apart_for_survivors_and_collapsed() -> None:
    records = [
        record(0.8, TaskVerdict.ABOVE, Verdict.STABLE),
        record(0.7, TaskVerdict.ABOVE, Verdict.INEFFECTIVE),
        record(0.5, TaskVerdict.RANDOM, Verdict.COLLAPSED, 5000.0),
        record(math.nan, TaskVerdict.RANDOM, Verdict.COLLAPSED, math.nan),
        replace(RECORD, tasks=()),
    ]
    (row,) = summarise_tasks(records)
    assert row.survived == pytest.approx(0.75)
    assert row.collapsed == pytest.approx(0.25)
    assert (row.cases, row.failed, row.informative) == (4, 2, True)
    assert math.isnan(row.lowest)


def test_a_task_that_tells_nothing_says_so() -> None:
    (row,) = summarise_tasks([record(0.5, TaskVerdict.UNINFORMATIVE, Verdict.STABLE)])
    assert not row.informative
    assert row.failed == 0
    assert row.collapsed is None


def test_what_perplexity_would_have_missed() -> None:
    quiet = record(0.5, TaskVerdict.RANDOM, Verdict.COLLAPSED, 300.0)
    loud = record(0.5, TaskVerdict.RANDOM, Verdict.COLLAPSED, 3000.0)
    broken = record(0.5, TaskVerdict.RANDOM, Verdict.COLLAPSED, math.nan)
    assert caught_by_tasks_alone([quiet, loud, broken, RECORD]) == [quiet]
    assert "1 of them by their tasks alone" in verdict_sentence([quiet, loud])
    assert "tasks alone" not in verdict_sentence([loud, RECORD])
