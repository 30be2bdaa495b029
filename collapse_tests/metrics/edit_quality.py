"""Whether an edit took, spread to a rephrased prompt and left another fact alone.

Success and generalisation compare answer probabilities as COUNTERFACT's efficacy and paraphrase scores do
(Meng et al. 2022, section 3.3); locality compares greedy answers before and after, as EasyEdit does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from collapse_tests.edit_request import EditRequest
from collapse_tests.metrics.rows import RowScore, TokenRow
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import EditQuality

__all__ = ["QualityRows", "edit_quality", "quality_rows"]


@dataclass(frozen=True, slots=True)
class QualityRows:
    """Rows that tell the quality of one edit.

    Attributes:
        names: what each row is for, of `target`, `truth`, `rephrase_target`, `rephrase_truth`, `locality`.
        rows: the rows, in the same order.
    """

    names: tuple[str, ...]
    rows: tuple[TokenRow, ...]


def quality_rows(model: EditableModel, request: EditRequest) -> QualityRows:
    """The rows a request has the texts for; `target` is always the first."""
    asked: list[tuple[str, str | None, str | None]] = [
        ("target", request.prompt, request.target_new),
        ("truth", request.prompt, request.ground_truth),
        ("rephrase_target", request.rephrase_prompt, request.target_new),
        ("rephrase_truth", request.rephrase_prompt, request.ground_truth),
        ("locality", request.locality_prompt, request.locality_ground_truth),
    ]
    rows = {
        name: _answer_row(model, prompt, answer)
        for name, prompt, answer in asked
        if prompt is not None and (answer is not None or name == "locality")
    }
    return QualityRows(tuple(rows), tuple(rows.values()))


def _answer_row(model: EditableModel, prompt: str, answer: str | None) -> TokenRow:
    ids = model.encode(prompt)
    # Without a known answer the very next token stands for it; which id is put there does not matter.
    labels = [0] if answer is None else model.answer_ids(prompt, answer)
    return TokenRow((*ids, *labels), len(ids))


def edit_quality(rows: QualityRows, before: Sequence[RowScore], after: Sequence[RowScore]) -> EditQuality:
    """Quality of one edit from its rows' scores on the unedited and the edited model.

    A comparison with NaN is False: an edit whose probabilities are not numbers did not succeed.
    """
    unedited = dict(zip(rows.names, before, strict=True))
    edited = dict(zip(rows.names, after, strict=True))
    target = edited["target"]
    rephrased = None
    if "rephrase_target" in edited:
        rephrased = _preferred(edited["rephrase_target"], edited.get("rephrase_truth"))
    local = None
    if "locality" in edited:
        local = math.isfinite(edited["locality"].nll) and edited["locality"].predicted == unedited["locality"].predicted
    return EditQuality(
        success=_preferred(target, edited.get("truth")),
        greedy_match=_greedy(target),
        generalisation=rephrased,
        locality=local,
        target_probability=math.exp(-target.nll),
        target_probability_before=math.exp(-unedited["target"].nll),
        ground_truth_probability=math.exp(-edited["truth"].nll) if "truth" in edited else None,
    )


def _preferred(target: RowScore, truth: RowScore | None) -> bool:
    return _greedy(target) if truth is None else target.nll < truth.nll


def _greedy(score: RowScore) -> bool:
    # The arg max of NaN logits is an arbitrary id that could match by accident.
    return math.isfinite(score.nll) and score.greedy_match
