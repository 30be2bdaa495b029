from __future__ import annotations

import math

import pytest

from collapse_tests.errors import UsageError
from collapse_tests.records import TaskVerdict, Verdict
from collapse_tests.report.rows import Rate
from collapse_tests.study.worst_rows import MEAN_OF_TASKS, case_rows, worst_groups
from tests.unit.study.cases import record, result

RANDOM, UNINFORMATIVE, DROPPED = TaskVerdict.RANDOM, TaskVerdict.UNINFORMATIVE, TaskVerdict.DROPPED


def test_nan_ranks_above_inf_and_inf_above_numbers() -> None:
    values = {"a": 300.0, "b": math.inf, "c": 5e9, "d": math.nan, "e": 200.0, "f": math.nan}
    records = [record(edit_id, me_ppl, result("t", 0.5)) for edit_id, me_ppl in values.items()]
    for given in (records, records[::-1]):
        (group,) = worst_groups(given, 4)
        assert [one.edit_id for one in group.measured] == ["d", "f", "b", "c", "a", "e"]
        assert [one.edit_id for one in group.worst] == ["d", "f", "b", "c"]


def test_tasks_are_averaged_over_the_worst_alone() -> None:
    records = [
        record("a", 9000.0, result("t", 0.4, RANDOM), result("u", 0.8)),
        record("b", 8000.0, result("t", 0.6, RANDOM), result("u", 0.6, DROPPED)),
        record("c", 7000.0, result("t", 0.8), result("u", 0.4, RANDOM)),
        record("d", 300.0, result("t", 0.9), result("u", 0.9), verdict=Verdict.STABLE),
    ]
    (group,) = worst_groups(records, 3)
    t, u = group.tasks
    assert (t.task, t.metric, t.items, t.chance, t.unedited, t.cases) == ("t", "acc", 100, 0.5, 0.9, 3)
    assert (t.mean, t.lowest, t.highest, t.at_random) == pytest.approx((0.6, 0.4, 0.8, 2))
    assert (u.mean, u.lowest, u.highest, u.at_random) == pytest.approx((0.6, 0.4, 0.8, 1))


def test_a_score_that_is_no_number_is_none_right() -> None:
    records = [record("a", math.nan, result("t", math.nan, RANDOM)), record("b", 500.0, result("t", 0.5))]
    (group,) = worst_groups(records, 2)
    (task,) = group.tasks
    assert (task.mean, task.lowest, task.highest, task.at_random) == (0.25, 0.0, 0.5, 1)


def test_a_task_without_a_margin_says_nothing_of_random() -> None:
    records = [
        record("a", math.nan, result("t", math.nan, RANDOM)),
        record("b", 500.0, result("t", 0.5, UNINFORMATIVE)),
    ]
    (group,) = worst_groups(records, 2)
    assert group.tasks[0].at_random is None


def test_errors_and_unmeasured_cases_are_left_out() -> None:
    records = [
        record("a", 9e9, result("t", 0.1), verdict=Verdict.ERROR),
        record("b", None, verdict=Verdict.ERROR),
        record("c", 500.0, result("t", 0.5)),
    ]
    (group,) = worst_groups(records, 30)
    assert ([one.edit_id for one in group.measured], group.left_out, group.count) == (["c"], 2, 1)


def test_groups_are_kept_apart_in_the_order_of_the_run() -> None:
    records = [
        record("a", 900.0, result("t", 0.5), model="n"),
        record("a", 800.0, result("t", 0.6)),
        record("b", 700.0, result("t", 0.7), model="n"),
        record("a", 600.0, editor="ft"),
    ]
    groups = worst_groups(records, 1)
    assert [(group.model, group.editor, len(group.measured)) for group in groups] == [
        ("n", "rome", 2),
        ("m", "rome", 1),
        ("m", "ft", 1),
    ]
    assert groups[0].tasks[0].mean == 0.5
    assert groups[2].tasks == ()


def test_tasks_measured_on_some_cases_only() -> None:
    records = [
        record("a", 9000.0),
        record("b", 800.0, result("t", 0.5)),
        record("c", 300.0, result("u", 0.7)),
    ]
    (group,) = worst_groups(records, 2)
    assert [(task.task, task.cases, task.mean, task.at_random) for task in group.tasks] == [
        ("t", 1, 0.5, 0),
        ("u", 0, None, None),
    ]


def test_locality_is_counted_among_collapsed_and_survived() -> None:
    collapsed = [True, True, False, None]
    survived = [True, True, True, False]
    records = [
        *(record(f"c{n}", 9000.0 - n, result("t", 0.5), locality=value) for n, value in enumerate(collapsed)),
        *(
            record(f"s{n}", 300.0 - n, result("t", 0.9), verdict=verdict, locality=value)
            for n, (value, verdict) in enumerate(zip(survived, [Verdict.STABLE, Verdict.INEFFECTIVE] * 2, strict=True))
        ),
    ]
    (group,) = worst_groups(records, 2)
    assert group.local_worst == Rate(2, 2)
    assert (group.local_collapsed, group.local_survived) == (Rate(2, 3), Rate(3, 4))
    assert group.local_p_value == pytest.approx(1.0)


def test_a_perplexity_low_enough_to_pass_does_not_rank_high_for_its_verdict() -> None:
    records = [
        record("tasks", 250.0, result("t", 0.5, RANDOM), locality=True),
        record("high", 900.0, result("t", 0.9), verdict=Verdict.STABLE, locality=True),
    ]
    (group,) = worst_groups(records, 1)
    assert [one.edit_id for one in group.worst] == ["high"]
    assert (group.local_worst, group.local_collapsed) == (Rate(0, 0), Rate(1, 1))


def test_correlations_are_over_all_measured_cases() -> None:
    falls = [(300.0, 0.9), (5000.0, 0.7), (math.inf, 0.6), (math.nan, 0.5)]
    records = [
        record(str(n), me_ppl, result("t", score), result("u", 0.5), locality=score > 0.65, success=True)
        for n, (me_ppl, score) in enumerate(falls)
    ]
    (group,) = worst_groups(records, 1)
    assert [one.task for one in group.correlations] == ["t", "u", MEAN_OF_TASKS]
    t, u, mean = group.correlations
    assert t.me_ppl is not None
    assert t.locality is not None
    assert (t.me_ppl.rho, t.me_ppl.n) == pytest.approx((-1.0, 4))
    # Ranks (3.5, 3.5, 1.5, 1.5) and (4, 3, 2, 1): covariance 4 over the root of 4 times 5.
    assert t.locality.rho == pytest.approx(4 / math.sqrt(4 * 5))
    assert t.success is None
    assert (u.me_ppl, u.locality) == (None, None)
    assert mean.me_ppl is not None
    assert mean.me_ppl.rho == pytest.approx(-1.0)


def test_the_mean_of_tasks_takes_cases_with_all_of_them() -> None:
    both = [(300.0, 0.9), (400.0, 0.8), (500.0, 0.7)]
    records = [record(str(n), ppl, result("t", score), result("u", score)) for n, (ppl, score) in enumerate(both)]
    (group,) = worst_groups([*records, record("x", 9000.0, result("t", 1.0))], 1)
    found = {one.task: one.me_ppl for one in group.correlations}
    assert found["t"] is not None
    assert (found["t"].n, found["t"].rho) == pytest.approx((4, 0.2))
    mean = found[MEAN_OF_TASKS]
    assert mean is not None
    assert (mean.n, mean.rho) == pytest.approx((3, -1.0))


def test_a_single_task_needs_no_mean() -> None:
    (group,) = worst_groups([record("a", 900.0, result("t", 0.5))], 1)
    assert [one.task for one in group.correlations] == ["t"]


def test_without_tasks_the_remedy_is_named() -> None:
    with pytest.raises(UsageError, match="--downstream each"):
        worst_groups([record("a", 900.0)], 30)


def test_without_records_it_says_so() -> None:
    with pytest.raises(UsageError, match="no records"):
        worst_groups([], 30)


def test_file_rows_hold_every_measured_case_with_its_rank() -> None:
    records = [
        record("a", 300.0, result("t", 0.9), verdict=Verdict.STABLE, locality=None),
        record("b", math.inf, result("t", 0.5, RANDOM), result("u", 0.25), locality=True),
    ]
    rows = case_rows(worst_groups(records, 1))
    assert [(row["edit_id"], row["rank"], row["among_worst"], row["task"], row["accuracy"]) for row in rows] == [
        ("b", 1, True, "t", 0.5),
        ("b", 1, True, "u", 0.25),
        ("a", 2, False, "t", 0.9),
    ]
    assert [row["locality"] for row in rows] == [True, True, None]
    assert [row["me_ppl"] for row in rows] == [math.inf, math.inf, 300.0]
    assert rows[0].keys() == rows[2].keys()
