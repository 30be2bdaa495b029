"""What is measured on a model's weights as they are, after every edit of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from collapse_tests.edit_request import EditRequest
from collapse_tests.engine.scoring import RowCache, Scorer
from collapse_tests.errors import InfrastructureError
from collapse_tests.metrics.edit_quality import QualityRows, edit_quality, quality_rows
from collapse_tests.metrics.perplexity import perplexity, perplexity_rows
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import EditQuality, Perplexity
from collapse_tests.verdict import is_collapsed

__all__ = ["Readings"]


class Readings:
    """Measures one model.

    Args:
        model: unedited now.
        texts: sentences for ME-PPL.
        limit: ME-PPL limit.

    Attributes:
        unedited: the model's own perplexity.

    Raises:
        UsageError: the texts cannot be scored.
        InfrastructureError: the unedited model does not pass, so no sequence could be judged on it.
    """

    def __init__(self, model: EditableModel, texts: Sequence[str], limit: float) -> None:
        self._model = model
        self._scorer = Scorer(model)
        self._texts = RowCache(perplexity_rows(model, texts))
        self._rows: dict[EditRequest, QualityRows] = {}
        self.unedited: Perplexity = self.perplexity(model.n_blocks)
        if is_collapsed(self.unedited, limit):
            raise InfrastructureError(
                f"the unedited model {model.name!r} has ME-PPL {self.unedited.me_ppl:,.2f} on the sentences for "
                f"sequences, which is not below --ppl-limit {limit:g}; choose other --ppl-texts, or raise --ppl-limit"
            )

    def perplexity(self, block: int) -> Perplexity:
        """Perplexity of the weights as they are, of which those below `block` have never been edited."""
        return perplexity(self._scorer.as_is(self._texts, block))

    def qualities(self, requests: Sequence[EditRequest]) -> list[EditQuality]:
        """Of each request, whether it succeeds on its own prompt, with the weights as they are.

        What compares with the model before the edit, or asks other prompts, is not measured.
        """
        if not requests:
            return []
        rows = [self._rows_of(request) for request in requests]
        scores = self._scorer.each([part.rows for part in rows], [None] * len(rows))
        return [edit_quality(part, own, own) for part, own in zip(rows, scores, strict=True)]

    def _rows_of(self, request: EditRequest) -> QualityRows:
        if request not in self._rows:
            alone = replace(request, rephrase_prompt=None, locality_prompt=None)
            self._rows[request] = quality_rows(self._model, alone)
        return self._rows[request]
