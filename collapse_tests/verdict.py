"""Every threshold, and nothing else decides: measurements in, verdict out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from collapse_tests.records import EditQuality, Perplexity, Verdict

__all__ = ["Judgement", "is_collapsed", "judge"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and why."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


def is_collapsed(perplexity: Perplexity, limit: float) -> bool:
    """Whether ME-PPL is at or above the limit, or no number: every comparison with NaN is False."""
    return not math.isfinite(perplexity.me_ppl) or perplexity.me_ppl >= limit


def judge(edited: Perplexity, quality: EditQuality, limit: float) -> Judgement:
    """The verdict on one measured edit.

    Args:
        edited: perplexity after the edit.
        quality: of the edit.
        limit: ME-PPL at or above this is a collapse.
    """
    if not math.isfinite(edited.me_ppl):
        return Judgement(Verdict.COLLAPSED, (f"ME-PPL is {edited.me_ppl}: not a finite number",))
    if edited.me_ppl >= limit:
        reason = f"ME-PPL {edited.me_ppl:,.2f} is at or above the limit {limit:,g}"
        return Judgement(Verdict.COLLAPSED, (reason,))
    if not quality.success:
        return Judgement(Verdict.INEFFECTIVE, (_why_ineffective(quality),))
    return Judgement(Verdict.STABLE)


def _why_ineffective(quality: EditQuality) -> str:
    if quality.ground_truth_probability is None:
        return "greedy decoding does not give the new answer"
    return (
        f"the new answer (p = {quality.target_probability:.3g}) is not more likely than "
        f"the old one (p = {quality.ground_truth_probability:.3g})"
    )
