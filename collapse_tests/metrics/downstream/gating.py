"""Which of a task's metrics can be tested against chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collapse_tests.errors import UsageError

__all__ = ["GATING", "GRADED", "gating_metric", "numbers"]

#: Metrics that can gate, if every item has a value from 0 to 1.
GATING = ("acc", "exact_match", "em", "f1")

#: Those that are more than right or wrong.
GRADED = ("f1",)

#: By type of request, what lm-eval's own `process_results` gives each item as right or wrong, and nothing between.
_RIGHT_OR_WRONG = {
    "multiple_choice": ("acc", "exact_match"),
    "loglikelihood": ("acc",),
    "generate_until": ("exact_match",),
}


def gating_metric(task: Any) -> str | None:
    """The metric of a task of lm-eval that gates, or None where none can have a value from 0 to 1 for each item.

    The first that is sure to be testable: right or wrong by lm-eval's own scoring, or graded over free answers by the
    task's. Else the first that may be right or wrong, which only values can tell.
    """
    has = [metric for metric in GATING if metric in task.aggregation()]
    output = str(task.OUTPUT_TYPE)
    if not _scores_by_itself(task):
        sure = _RIGHT_OR_WRONG.get(output, ())
    else:
        sure = GRADED if output == "generate_until" else ()
    unsure = [metric for metric in has if metric not in GRADED]
    return next((metric for metric in has if metric in sure), next(iter(unsure), None))


def _scores_by_itself(task: Any) -> bool:
    from lm_eval.api.task import ConfigurableTask

    return type(task).process_results is not ConfigurableTask.process_results or task.config.process_results is not None


def numbers(values: Sequence[Any], task: str, metric: str) -> list[float]:
    """A metric's value for each item, as lm-eval gives them.

    Raises:
        UsageError: they are something else, such as pairs that only an aggregate makes a number of.
    """
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"--tasks {task!r}: its {metric} is no number for each item, so there is no accuracy to compare with "
            "chance; leave it out"
        ) from error
