from __future__ import annotations

import math

import pytest

from collapse_tests.records import TaskVerdict
from collapse_tests.study.level_rows import LevelModel, LevelStudy, level_correlations, level_rows, summaries
from collapse_tests.study.worst_rows import MEAN_OF_TASKS
from tests.unit.study.cases import result

RANDOM, UNINFORMATIVE = TaskVerdict.RANDOM, TaskVerdict.UNINFORMATIVE


def study(*models: LevelModel, informative: bool = True) -> LevelStudy:
    verdict = TaskVerdict.ABOVE if informative else UNINFORMATIVE
    return LevelStudy(
        model="m",
        editor="rome",
        unedited_me_ppl=200.0,
        unedited_tasks=(result("t", 0.9, verdict), result("u", 0.9, verdict)),
        levels=(500.0, 1000.0),
        too_low=(100.0,),
        unreachable=(0, 3),
        requests=4,
        failed=(),
        models=models,
    )


def made(level: float, edit_id: str, me_ppl: float, t: float, u: float, verdict: TaskVerdict = RANDOM) -> LevelModel:
    return LevelModel(level, edit_id, 0.5, me_ppl, (result("t", t, verdict), result("u", u)))


def test_levels_are_summarised_by_hand_computed_numbers() -> None:
    found = study(
        made(500.0, "a", 480.0, 0.8, 0.6, TaskVerdict.ABOVE),
        made(500.0, "b", 510.0, 0.6, 0.6),
        made(500.0, "c", 510.0, math.nan, 0.6),
        made(1000.0, "a", 990.0, 0.5, 0.4),
    )
    low, high = summaries(found)
    assert (low.level, low.models, low.unreachable, low.me_ppl) == (500.0, 3, 0, 500.0)
    t, u = low.tasks
    # 0.8, 0.6 and 0: mean 7/15, squared deviations 78/225 in all.
    assert t.mean == pytest.approx(7 / 15)
    assert t.standard_error == pytest.approx(math.sqrt(78 / 225 / 2 / 3))
    assert t.at_random == 2
    assert (u.mean, u.standard_error, u.at_random) == pytest.approx((0.6, 0.0, 0))
    assert (high.level, high.models, high.unreachable, high.me_ppl) == (1000.0, 1, 3, 990.0)
    assert (high.tasks[0].mean, high.tasks[0].standard_error) == (0.5, None)


def test_a_level_without_models_has_no_numbers() -> None:
    _, high = summaries(study(made(500.0, "a", 480.0, 0.8, 0.6)))
    assert (high.models, high.me_ppl, high.tasks) == (0, None, ())


def test_a_task_without_a_margin_says_nothing_of_random() -> None:
    low, _ = summaries(study(made(500.0, "a", 480.0, 0.8, 0.6), informative=False))
    assert [task.at_random for task in low.tasks] == [None, None]


def test_correlations_are_over_single_models() -> None:
    found = dict(
        level_correlations(
            study(
                made(500.0, "a", 480.0, 0.9, 0.5),
                made(500.0, "b", 520.0, 0.8, 0.5),
                made(1000.0, "a", 980.0, 0.7, 0.5),
                made(1000.0, "b", 1020.0, 0.75, 0.5),
            )
        )
    )
    assert list(found) == ["t", "u", MEAN_OF_TASKS]
    assert found["t"] is not None
    assert (found["t"].rho, found["t"].n) == pytest.approx((-0.8, 4))
    assert found["u"] is None
    assert found[MEAN_OF_TASKS] == found["t"]


def test_without_models_there_is_no_correlation() -> None:
    assert level_correlations(study()) == [("t", None), ("u", None), (MEAN_OF_TASKS, None)]


def test_file_rows_begin_with_the_unedited_model() -> None:
    rows = level_rows(study(made(500.0, "a", 480.0, 0.8, math.nan)))
    assert [(row["level"], row["edit_id"], row["factor"], row["task"], row["me_ppl"]) for row in rows] == [
        (None, None, 0.0, "t", 200.0),
        (None, None, 0.0, "u", 200.0),
        (500.0, "a", 0.5, "t", 480.0),
        (500.0, "a", 0.5, "u", 480.0),
    ]
    assert [row["accuracy"] for row in rows[:3]] == [0.9, 0.9, 0.8]
    assert math.isnan(float(str(rows[3]["accuracy"])))
