from __future__ import annotations

import math
from statistics import fmean

import pytest

from collapse_tests.datasets.requests import load_requests
from collapse_tests.records import TaskVerdict
from collapse_tests.settings import Downstream, Settings
from collapse_tests.study.level_rows import level_correlations, summaries
from collapse_tests.study.levels import study_levels

pytestmark = pytest.mark.slow


def test_accuracy_falls_as_perplexity_rises() -> None:
    settings = Settings(("rome",), ppl_limit=math.inf, downstream=Downstream.EACH, tasks_limit=40)
    study = study_levels(settings, load_requests("hard", limit=2), (100.0, 500.0, 5000.0), 2, print)

    assert study.too_low == (100.0,)
    assert (study.unreachable, study.failed) == ((0, 0), ())
    low, high = summaries(study)
    for summary in (low, high):
        assert summary.models == 2
        assert summary.me_ppl == pytest.approx(summary.level, rel=0.05)
    assert all(result.verdict is TaskVerdict.ABOVE for result in study.unedited_tasks)
    for before, one, other in zip(study.unedited_tasks, low.tasks, high.tasks, strict=True):
        assert before.unedited > one.mean > other.mean
    assert fmean(task.mean for task in high.tasks) < 0.5
    assert all(found is not None and found.rho < -0.5 for _, found in level_correlations(study))
