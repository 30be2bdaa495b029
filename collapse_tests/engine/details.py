"""What a page about one case shows beyond its record: which sentences suffered, and where the weights changed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from collapse_tests.case_detail import CaseDetail, HeatMap, SentenceChange
from collapse_tests.metrics.perplexity import sentence_perplexities
from collapse_tests.metrics.rows import RowScore
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import badness
from collapse_tests.weight_update import Delta, LowRankDelta, WeightUpdate

__all__ = ["DetailMaker"]

#: Of each model and editor in one process: cases that did not come out stable, and some that did, to compare with.
_UNSTABLE = 200
_STABLE = 8

_SENTENCES = 10
_TEXT = 160
_MATRICES = 3
_CELLS = 32


class DetailMaker:
    """Makes details of the first cases of one model and editor.

    Args:
        model: the model copy, unedited whenever a method is called.
        texts: the sentences of ME-PPL.
        unedited: their scores on that model.
    """

    def __init__(self, model: EditableModel, texts: Sequence[str], unedited: Sequence[RowScore]) -> None:
        self._model = model
        self._texts = texts
        self._before = sentence_perplexities(unedited)
        self._left = {True: _STABLE, False: _UNSTABLE}

    def make(self, case_id: str, stable: bool, update: WeightUpdate, scores: Sequence[RowScore]) -> CaseDetail | None:
        """The detail of a case, or None if there are enough of its kind.

        Args:
            case_id: of the case.
            stable: whether it came out stable.
            update: what the edit changed.
            scores: of the sentences after it.
        """
        if not self._left[stable]:
            return None
        self._left[stable] -= 1
        return CaseDetail(case_id, self._worst_sentences(scores), self._heat_maps(update))

    def _worst_sentences(self, scores: Sequence[RowScore]) -> tuple[SentenceChange, ...]:
        changes = [
            SentenceChange(text[:_TEXT], before, after)
            for text, before, after in zip(self._texts, self._before, sentence_perplexities(scores), strict=True)
        ]
        changes.sort(key=lambda change: badness(change.after / change.before), reverse=True)
        return tuple(changes[:_SENTENCES])

    def _heat_maps(self, update: WeightUpdate) -> tuple[HeatMap, ...]:
        """Of the matrices that changed the most for their norm."""
        found = []
        for name, delta in update.deltas.items():
            weight = self._model.parameter(name)
            if weight.ndim == 2:
                norm = float(torch.linalg.vector_norm(weight.double()))
                found.append((delta.norm() / norm if norm else float("inf"), name, delta))
        found.sort(key=lambda one: badness(one[0]), reverse=True)
        return tuple(
            HeatMap(name, _shape(delta), _rounded(_cells(delta)), ratio) for ratio, name, delta in found[:_MATRICES]
        )


def _shape(delta: Delta) -> tuple[int, int]:
    if isinstance(delta, LowRankDelta):
        return delta.left.shape[0], delta.right.shape[1]
    rows, columns = delta.delta.shape
    return rows, columns


def _cells(delta: Delta) -> torch.Tensor:
    """Mean |Δ| in each cell of the grid, (rows, columns), at most `_CELLS` of either."""
    rows, columns = (min(_CELLS, size) for size in _shape(delta))
    if isinstance(delta, LowRankDelta) and delta.rank == 1:
        # |l rᵀ| = |l| |r|ᵀ, so that the matrix itself need not be made.
        left = F.adaptive_avg_pool1d(delta.left.float().abs().T, rows)
        return left.T @ F.adaptive_avg_pool1d(delta.right.float().abs(), columns)
    matrix = delta.matrix() if isinstance(delta, LowRankDelta) else delta.delta
    pooled: torch.Tensor = F.adaptive_avg_pool2d(matrix.float().abs()[None], (rows, columns))
    return pooled[0]


def _rounded(cells: torch.Tensor) -> tuple[tuple[float, ...], ...]:
    """Three digits: enough for a colour, and short in a file."""
    return tuple(tuple(float(f"{cell:.3g}") for cell in row) for row in cells.tolist())
