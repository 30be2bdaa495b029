"""Edit requests as token rows: which ids go in, where the fact is looked up, which ids are to come out.

Positions follow the definition shared by ROME and MEMIT: the fact is looked up at the subject's last token, and
its index is the length of the encoded text up to and including the subject, less one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.contexts import BARE_TEMPLATE
from collapse_tests.errors import EditorError
from collapse_tests.models.editable import EditableModel

__all__ = ["LookupRow", "RequestRows", "request_rows"]


@dataclass(frozen=True, slots=True)
class LookupRow:
    """One text of one request.

    Attributes:
        ids: token ids of the prompt in its context, followed by all but the last target id.
        lookup: index of the subject's last token.
    """

    ids: tuple[int, ...]
    lookup: int


@dataclass(frozen=True, slots=True)
class RequestRows:
    """All texts of one request.

    Attributes:
        contexts: the prompt in each context template; the bare prompt comes first.
        essence: "<subject> is a", cut after the subject: what the model knows of the subject besides the fact
            is the next-token distribution there. Causal attention makes the words after it irrelevant.
        target: token ids of the new answer.
    """

    contexts: tuple[LookupRow, ...]
    essence: LookupRow
    target: tuple[int, ...]


def request_rows(model: EditableModel, request: EditRequest, templates: Sequence[str]) -> RequestRows:
    """Tokenise a request in every context template.

    Args:
        model: gives the tokenizer.
        request: the edit request.
        templates: context templates, each with one `{}`; the bare one first.

    Raises:
        EditorError: the subject or the target has no tokens of its own.
    """
    target = model.answer_ids(request.prompt, request.target_new)
    if not target:
        raise EditorError(f"target_new {request.target_new!r} tokenises to nothing")
    if not model.encode(request.subject, special_tokens=False):
        raise EditorError(f"subject {request.subject!r} tokenises to nothing")
    rows = tuple(
        _row(model, template.replace(BARE_TEMPLATE, request.prefix), request, target[:-1]) for template in templates
    )
    known = len(model.encode(request.subject))
    essence = model.encode(f"{request.subject} is a")[:known]
    return RequestRows(rows, LookupRow(tuple(essence), known - 1), tuple(target))


def _row(model: EditableModel, before: str, request: EditRequest, continuation: Sequence[int]) -> LookupRow:
    ids = model.encode(before + request.subject + request.suffix)
    lookup = len(model.encode(before + request.subject)) - 1
    return LookupRow((*ids, *continuation), min(lookup, len(ids) - 1))
