"""Edit requests as token rows: which ids go in, where the fact is looked up, which ids are to come out.

Positions follow the definition shared by ROME and MEMIT: the fact is looked up at the subject's last token, and
its index is the length of the encoded text up to and including the subject, less one.
"""

from __future__ import annotations

import itertools
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


def request_rows(model: EditableModel, requests: Sequence[EditRequest], templates: Sequence[str]) -> list[RequestRows]:
    """Tokenise requests in every context template.

    Args:
        model: gives the tokenizer.
        requests: the edit requests.
        templates: context templates, each with one `{}`; the bare one first.

    Raises:
        EditorError: a subject or a target has no tokens of its own.
    """
    prompts: list[str] = []
    lookups: list[str] = []
    for request in requests:
        for template in templates:
            lookups.append(template.replace(BARE_TEMPLATE, request.prefix) + request.subject)
            prompts.append(lookups[-1] + request.suffix)
    # One call for all texts, since a call costs more than a text.
    ids = model.encode_all([*prompts, *lookups])
    rows = iter(zip(ids[: len(prompts)], ids[len(prompts) :], strict=True))
    found = []
    for request in requests:
        target = _target(model, request)
        contexts = tuple(
            LookupRow((*prompt, *target[:-1]), min(len(upto), len(prompt)) - 1)
            for prompt, upto in itertools.islice(rows, len(templates))
        )
        found.append(RequestRows(contexts, _essence(model, request), target))
    return found


def _target(model: EditableModel, request: EditRequest) -> tuple[int, ...]:
    target = model.answer_ids(request.prompt, request.target_new)
    if not target:
        raise EditorError(f"target_new {request.target_new!r} tokenises to nothing")
    return tuple(target)


def _essence(model: EditableModel, request: EditRequest) -> LookupRow:
    if not model.encode(request.subject, special_tokens=False):
        raise EditorError(f"subject {request.subject!r} tokenises to nothing")
    known = len(model.encode(request.subject))
    return LookupRow(tuple(model.encode(f"{request.subject} is a")[:known]), known - 1)
