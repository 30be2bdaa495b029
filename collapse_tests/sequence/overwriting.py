"""Edits that write over an earlier one: the same subject and prompt, another answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.edit_request import EditRequest

__all__ = ["Overwrites"]


class Overwrites:
    """What may be written over an edit.

    Args:
        pool: requests whose answers lend themselves to others of their kind. Requests are of one kind if their
            prompts differ in nothing but the subject, so that an answer to one makes sense as an answer to another.
    """

    def __init__(self, pool: Iterable[NamedRequest]) -> None:
        self._answers: dict[tuple[str, str], list[str]] = {}
        for named in pool:
            self._answers.setdefault(_kind(named.request), []).append(named.request.target_new)

    def of(self, named: NamedRequest) -> Sequence[NamedRequest]:
        """Requests that write the old answer back, if there is one, or another one of the kind.

        The old answer of each is the one that `named` wrote, so that it takes if it wins over that. Its id is
        `<edit id>~<answer>`.
        """
        request = named.request
        old = [] if request.ground_truth is None else [request.ground_truth]
        answers = dict.fromkeys([*old, *self._answers.get(_kind(request), ())])
        edit_id = named.edit_id.partition("~")[0]
        return [
            NamedRequest(f"{edit_id}~{answer}", replace(request, target_new=answer, ground_truth=request.target_new))
            for answer in answers
            if answer != request.target_new
        ]


def _kind(request: EditRequest) -> tuple[str, str]:
    return request.prefix, request.suffix
