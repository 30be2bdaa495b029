"""ME-PPL, the surrogate of the study: the mean of per-sentence perplexities, without a start token.

'The Butterfly Effect of Model Editing', section 4.1 and appendix A.4. The mean is dominated by the worst
sentences, which is what makes it sensitive to collapse; the corpus perplexity beside it weighs tokens equally.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from collapse_tests.errors import UsageError
from collapse_tests.metrics.rows import RowScore, TokenRow
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import Perplexity

__all__ = ["perplexity", "perplexity_rows", "sentence_perplexities"]

_MAX_EXPONENT = math.log(1.7976931348623157e308)


def perplexity_rows(model: EditableModel, texts: Sequence[str]) -> list[TokenRow]:
    """One row per sentence; every token but the first is to be predicted.

    Raises:
        UsageError: there is no sentence, or one has fewer than two tokens or more than the model takes.
    """
    if not texts:
        raise UsageError("--ppl-texts holds no sentence; ME-PPL needs at least one")
    rows = [TokenRow(tuple(model.encode(text, special_tokens=False)), 1) for text in texts]
    for index, row in enumerate(rows):
        if len(row.ids) < 2:
            raise UsageError(
                f"--ppl-texts: sentence {index} has {len(row.ids)} tokens, and perplexity needs two or more; "
                f"remove it: {texts[index]!r}"
            )
    return rows


def perplexity(scores: Sequence[RowScore]) -> Perplexity:
    """ME-PPL and corpus perplexity of scored sentences.

    Overflow saturates to inf and NaN stays NaN, in one sentence as in the mean.

    Raises:
        ValueError: no sentence, or one without predicted tokens.
    """
    sentences = sentence_perplexities(scores)
    tokens = sum(score.labels for score in scores)
    total = sum(score.nll for score in scores)
    return Perplexity(
        me_ppl=sum(sentences) / len(sentences),
        corpus_ppl=_exp(total / tokens),
        sentences=len(scores),
        tokens=tokens,
    )


def sentence_perplexities(scores: Sequence[RowScore]) -> list[float]:
    """The perplexity of each scored sentence.

    Raises:
        ValueError: no sentence, or one without predicted tokens.
    """
    if not scores or any(score.labels < 1 for score in scores):
        raise ValueError("perplexity needs at least one sentence and one predicted token in each")
    return [_exp(score.nll / score.labels) for score in scores]


def _exp(value: float) -> float:
    """Exp that overflows to inf instead of raising."""
    return math.inf if value > _MAX_EXPONENT else math.exp(value)
