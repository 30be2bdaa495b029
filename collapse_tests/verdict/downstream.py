"""Whether a task's score after an edit is still above chance, and whether its score before the edit lets one ask.

docs/downstream-verdict.md gives the reasons for the levels and how often they err.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean

from collapse_tests.metrics.item_scores import ChanceModel, CrossScore, ItemScores
from collapse_tests.records import TaskResult, TaskVerdict
from collapse_tests.verdict.exact import drop_p_value, fewest_hits, passes_again, upper_tail
from collapse_tests.verdict.permutation import (
    evenly_spaced,
    permutation_p_value,
    predicted_totals,
    shuffled_totals,
    total_to_exceed,
)

__all__ = ["ALPHA", "DROP_ALPHA", "MARGIN", "has_margin", "task_verdict"]

#: How often a model at chance may pass for one above it. An edit has to pass on every task, so tasks do not add up.
ALPHA = 0.01

#: How often an unharmed model may count as worse than the unedited one, in a run that gates on that.
DROP_ALPHA = 0.01

#: Probability with which a model as good as the unedited one has to pass, or the task says nothing.
MARGIN = 0.999


def task_verdict(
    task: str,
    metric: str,
    chance: ChanceModel,
    unedited: ItemScores,
    edited: ItemScores,
    *,
    alpha: float = ALPHA,
    gate_on_drop: bool = False,
) -> TaskResult:
    """The verdict on one task under one edit.

    Right and wrong answers are tested exactly and one-sided: the hits against the Poisson-binomial distribution of
    `chance`. Graded values are tested by shuffling references among items, of which at most 300, spread
    evenly, take part; a mean of theirs at or below `chance` has p = 1.

    Scores of the edited model that are not finite are `RANDOM` wherever the unedited model's were finite: NaN makes an
    arg max pick the first option, which is right often enough to pass.

    Args:
        task: name, for the result.
        metric: name of what `score` is.
        chance: what chance reaches on the same items.
        unedited: scores before the edit; a run passes the same object for every edit, see `has_margin`.
        edited: scores after it.
        alpha: level of the test against chance.
        gate_on_drop: whether a significant drop below the unedited model is `DROPPED`. Asked only of tasks that are
            informative and passed.

    Raises:
        ValueError: the arguments are not about the same items, or values lie between 0 and 1 without a `cross`.
    """
    _check(task, chance, unedited, edited)
    before, after = _finite(unedited), _finite(edited)
    p_value = _p_value(chance, edited) if after else math.nan
    lost, gained = _changes(unedited, edited)
    drop = drop_p_value(lost, gained) if before and after else math.nan
    if not before or (after and not has_margin(chance, unedited, alpha)):
        verdict = TaskVerdict.UNINFORMATIVE
    elif not p_value <= alpha:
        verdict = TaskVerdict.RANDOM
    elif gate_on_drop and drop <= DROP_ALPHA:
        verdict = TaskVerdict.DROPPED
    else:
        verdict = TaskVerdict.ABOVE
    return TaskResult(
        task=task,
        metric=metric,
        items=len(edited.values),
        unedited=float(unedited.score) if before else math.nan,
        edited=float(edited.score) if after else math.nan,
        chance=fmean(chance.rates) if chance.rates else math.nan,
        p_value=p_value,
        lost=lost,
        gained=gained,
        drop_p_value=drop,
        verdict=verdict,
    )


@lru_cache(maxsize=64)
def has_margin(chance: ChanceModel, unedited: ItemScores, alpha: float = ALPHA) -> bool:
    """Whether a model as good as the unedited one would pass the test against chance with probability `MARGIN`.

    "As good" is a second draw from the accuracy that the first draw, the unedited score, tells of. An edited model
    that is unharmed repeats most of the unedited answers and varies less, so it fails more rarely than this allows.
    Cached, as a run asks the same for every edit.
    """
    if not _finite(unedited):
        return False
    if unedited.cross is None:
        hits = int(sum(unedited.values))
        return passes_again(hits, len(unedited.values), fewest_hits(chance.rates, alpha)) >= MARGIN
    values, cross, floor = _shuffled_items(chance, unedited.values, unedited.cross)
    bar = max(total_to_exceed(shuffled_totals(values, cross), alpha), floor)
    return float((predicted_totals(values) > bar).mean()) >= MARGIN


def _changes(unedited: ItemScores, edited: ItemScores) -> tuple[int, int]:
    """Items whose value fell, and rose. What is no number has fallen."""
    pairs = [(float(before), float(after)) for before, after in zip(unedited.values, edited.values, strict=True)]
    return sum(not after >= before for before, after in pairs), sum(after > before for before, after in pairs)


def _p_value(chance: ChanceModel, scores: ItemScores) -> float:
    if scores.cross is None:
        return float(upper_tail(chance.rates)[int(sum(scores.values))])
    values, cross, floor = _shuffled_items(chance, scores.values, scores.cross)
    total = sum(values)
    return 1.0 if total <= floor else permutation_p_value(total, shuffled_totals(values, cross))


def _shuffled_items(
    chance: ChanceModel, values: Sequence[float], cross: CrossScore
) -> tuple[list[float], CrossScore, float]:
    """The items that take part in shuffling: their values, their `cross`, and the total that chance reaches."""
    chosen = evenly_spaced(len(values))
    return (
        [values[place] for place in chosen],
        lambda answer, item: cross(chosen[answer], chosen[item]),
        sum(chance.rates[place] for place in chosen),
    )


def _finite(scores: ItemScores) -> bool:
    return scores.finite and math.isfinite(scores.score) and all(map(math.isfinite, scores.values))


def _check(task: str, chance: ChanceModel, unedited: ItemScores, edited: ItemScores) -> None:
    sizes = len(chance.rates), len(unedited.values), len(edited.values)
    if len(set(sizes)) > 1:
        raise ValueError(f"task {task}: chance, unedited and edited scores are of {sizes} items")
    if (unedited.cross is None) is not (edited.cross is None):
        raise ValueError(f"task {task}: only one of the unedited and the edited scores is of a graded metric")
    for scores in (unedited, edited):
        if scores.cross is None and _finite(scores) and not set(scores.values) <= {0.0, 1.0}:
            raise ValueError(f"task {task}: values other than 0 and 1 are tested by shuffling, which needs `cross`")
