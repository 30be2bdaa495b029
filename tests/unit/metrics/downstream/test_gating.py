"""The metric that gates is one that a test against chance can take."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from lm_eval.api.task import ConfigurableTask

from collapse_tests.errors import UsageError
from collapse_tests.metrics.downstream.gating import gating_metric, numbers


class OwnScoring(ConfigurableTask):  # type: ignore[misc]
    def process_results(self, doc: object, results: object) -> dict[str, float]:
        return {}


def metric(output: str, metrics: list[str], *, own: bool) -> str | None:
    task = object.__new__(OwnScoring if own else ConfigurableTask)
    task.OUTPUT_TYPE = output
    task._config = SimpleNamespace(process_results=None)
    task._aggregation_list = dict.fromkeys(metrics)
    return gating_metric(task)


@pytest.mark.parametrize(
    ("output", "metrics", "own", "expected"),
    [
        ("multiple_choice", ["acc", "f1"], False, "acc"),
        ("multiple_choice", ["f1"], False, None),
        ("multiple_choice", ["f1"], True, None),
        ("multiple_choice", ["acc"], True, "acc"),
        ("loglikelihood", ["perplexity", "acc"], False, "acc"),
        ("generate_until", ["acc", "exact_match"], False, "exact_match"),
        ("generate_until", ["em", "f1"], True, "f1"),
        ("generate_until", ["f1"], False, None),
        ("loglikelihood_rolling", ["word_perplexity"], False, None),
    ],
)
def test_what_can_be_tested_comes_first(output: str, metrics: list[str], own: bool, expected: str | None) -> None:
    assert metric(output, metrics, own=own) == expected


def test_pairs_for_an_aggregate_are_refused() -> None:
    assert numbers([1, 0.0], "task", "acc") == [1.0, 0.0]
    with pytest.raises(UsageError, match="--tasks 'task': its f1 is no number"):
        numbers([(1, 0)], "task", "f1")
