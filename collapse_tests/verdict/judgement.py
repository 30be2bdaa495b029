"""The verdict on one edit, and the sentences that say why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from collapse_tests.records import EditQuality, Perplexity, TaskResult, TaskVerdict, Verdict

__all__ = ["Judgement", "is_collapsed", "is_suspect", "judge", "perplexity_reasons", "task_reasons"]


_LONG = 1e8


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and why."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


def is_collapsed(perplexity: Perplexity, limit: float) -> bool:
    """Whether ME-PPL is at or above the limit, or no number: every comparison with NaN is False."""
    return not math.isfinite(perplexity.me_ppl) or perplexity.me_ppl >= limit


def is_suspect(unedited: Perplexity, edited: Perplexity, growth: float) -> bool:
    """Whether ME-PPL rose by the factor `growth` or more, or to no number."""
    return not edited.me_ppl < growth * unedited.me_ppl


def judge(edited: Perplexity, quality: EditQuality, limit: float, tasks: Sequence[TaskResult] = ()) -> Judgement:
    """The verdict on one measured edit.

    Args:
        edited: perplexity after the edit.
        quality: of the edit.
        limit: ME-PPL at or above this is a collapse.
        tasks: downstream accuracy after the edit. A task that is `RANDOM` or `DROPPED` is a collapse, too.
    """
    reasons = (*perplexity_reasons(edited, limit), *task_reasons(tasks))
    if reasons:
        return Judgement(Verdict.COLLAPSED, reasons)
    if not quality.success:
        return Judgement(Verdict.INEFFECTIVE, (_why_ineffective(quality),))
    return Judgement(Verdict.STABLE)


def perplexity_reasons(edited: Perplexity, limit: float) -> tuple[str, ...]:
    """The reason that ME-PPL gives to call a model collapsed, in one sentence; none if it is not."""
    if not is_collapsed(edited, limit):
        return ()
    if not math.isfinite(edited.me_ppl):
        return (f"ME-PPL is {edited.me_ppl}: not a finite number",)
    # Beyond that its digits say nothing and fill the line.
    value = f"{edited.me_ppl:,.2f}" if edited.me_ppl < _LONG else f"{edited.me_ppl:.3g}"
    return (f"ME-PPL {value} is at or above the limit {limit:,g}",)


def task_reasons(tasks: Sequence[TaskResult]) -> tuple[str, ...]:
    """The reasons that downstream accuracy gives to call a model collapsed, one sentence each; none if it is not."""
    return tuple(reason for reason in map(_why_task, tasks) if reason is not None)


def _why_task(result: TaskResult) -> str | None:
    if result.verdict is TaskVerdict.DROPPED:
        return (
            f"{result.task} {result.metric} fell from {result.unedited:.3g} to {result.edited:.3g} of {result.items} "
            f"items: {result.lost} lost, {result.gained} gained (p = {result.drop_p_value:.2g})"
        )
    if result.verdict is not TaskVerdict.RANDOM:
        return None
    if math.isnan(result.p_value):
        return f"{result.task} gave scores that are not finite"
    return (
        f"{result.task} {result.metric} {result.edited:.3g} of {result.items} items is not above chance "
        f"{result.chance:.3g} (p = {result.p_value:.2g})"
    )


def _why_ineffective(quality: EditQuality) -> str:
    if quality.ground_truth_probability is None:
        return "greedy decoding does not give the new answer"
    return (
        f"the new answer (p = {quality.target_probability:.3g}) is not more likely than "
        f"the old one (p = {quality.ground_truth_probability:.3g})"
    )
