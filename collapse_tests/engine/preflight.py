"""What can be told of edits before they are made: the risk that each collapses the model."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.protocol import RISK, PreflightEditor, Progress
from collapse_tests.engine.editor_calls import explained
from collapse_tests.errors import EditorError
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.memory import in_halves

__all__ = ["STAND_IN", "Foresight", "by_risk", "foresee"]

#: The editor whose risk is taken where an editor has none of its own. A request that is dangerous to ROME has a key
#: unlike those it has in context, which troubles whatever looks facts up by keys.
STAND_IN = "rome"

#: Requests looked at together, so that those about one subject share their texts.
_AT_ONCE = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Foresight:
    """What is known of one edit beforehand.

    Attributes:
        risk: the larger, the likelier a collapse; -inf where nothing could be told.
        numbers: what else the editor told, by name.
        error: why nothing could be told.
    """

    risk: float
    numbers: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None


def foresee(
    model: EditableModel, editor: PreflightEditor, requests: Sequence[EditRequest], progress: Progress
) -> list[Foresight]:
    """One foresight per request, in order.

    Args:
        model: unedited.
        editor: prepared for it.
        requests: any number.
        progress: told how many requests have been looked at.
    """
    found: list[Foresight] = []
    for first in range(0, len(requests), _AT_ONCE):
        progress("looking at requests", first, len(requests))
        found += _of_batch(model, editor, requests[first : first + _AT_ONCE])
    return found


def by_risk(foresights: Sequence[Foresight]) -> list[int]:
    """Indices, the riskiest first, those alike in their order; NaN is above all, as nothing bounds it."""
    return sorted(range(len(foresights)), key=lambda index: _key(foresights[index].risk))


def _key(risk: float) -> tuple[int, float]:
    return (0, 0.0) if math.isnan(risk) else (1, -risk)


def _of_batch(model: EditableModel, editor: PreflightEditor, requests: Sequence[EditRequest]) -> list[Foresight]:
    """Of a batch that raises, each request alone, so that the others keep theirs."""
    try:
        return in_halves(lambda part: _asked(model, editor, part), requests)
    except Exception as error:
        _log.debug("%s raised before editing", editor.name, exc_info=True)
        if len(requests) == 1:
            return [Foresight(-math.inf, error=str(explained(editor.name, error)))]
    half = len(requests) // 2
    return [*_of_batch(model, editor, requests[:half]), *_of_batch(model, editor, requests[half:])]


def _asked(model: EditableModel, editor: PreflightEditor, requests: Sequence[EditRequest]) -> list[Foresight]:
    answers = list(editor.preflight(model, requests))
    if len(answers) != len(requests) or any(RISK not in answer for answer in answers):
        raise EditorError(
            f"preflight returned {len(answers)} values for {len(requests)} requests; "
            f"it has to return a mapping with {RISK!r} for each"
        )
    return [
        Foresight(float(answer[RISK]), {name: float(value) for name, value in answer.items() if name != RISK})
        for answer in answers
    ]
