"""Which requests a hypernetwork is trained on, which it is validated on, and that these are different ones."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import UsageError

__all__ = ["Split", "check_disjoint", "data_digest", "split_requests", "text_digests", "without_duplicates"]


@dataclass(frozen=True, slots=True)
class Split:
    """Requests to train on and to validate on; no text occurs in both.

    Attributes:
        training: for the hypernetwork's gradient.
        validation: for when to stop, and which checkpoint to keep.
    """

    training: tuple[EditRequest, ...]
    validation: tuple[EditRequest, ...]


def text_digests(request: EditRequest) -> frozenset[str]:
    """What two requests may not share: digests of the texts that an edit of each is about.

    They are the prompt and its rephrasing, without regard to case and spacing, so that the same fact in either
    wording is found. A prompt contains its subject, so equal prompts have equal subjects.
    """
    texts = (request.prompt, request.rephrase_prompt)
    return frozenset(_digest(" ".join(text.casefold().split())) for text in texts if text is not None)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def without_duplicates(requests: Iterable[EditRequest]) -> tuple[list[EditRequest], int]:
    """Requests that differ in prompt, rephrasing or new answer, and how many were dropped."""
    kept: dict[tuple[str, str | None, str], EditRequest] = {}
    count = 0
    for request in requests:
        count += 1
        kept.setdefault((request.prompt, request.rephrase_prompt, request.target_new), request)
    return list(kept.values()), count - len(kept)


def check_disjoint(training: Sequence[EditRequest], held_out: Sequence[EditRequest], what: str) -> None:
    """Refuse held-out requests that share a text with a training request.

    Args:
        training: trained on.
        held_out: not to be trained on.
        what: they are, for the message.

    Raises:
        UsageError: naming the first that does.
    """
    seen = {digest for request in training for digest in text_digests(request)}
    for request in held_out:
        if text_digests(request) & seen:
            raise UsageError(
                f"{what} request {request} shares its prompt or rephrasing with a training request; "
                "take it out of one of the two"
            )


def split_requests(requests: Sequence[EditRequest], validation: int, seed: int) -> tuple[Split, int]:
    """Split off validation requests, whole subjects at a time.

    Args:
        requests: to split.
        validation: how many to hold out, about: the last subject is taken whole.
        seed: of the drawing.

    Returns:
        The split, and how many requests were dropped because they share a text with one on the other side.

    Raises:
        UsageError: too few subjects for both sides.
    """
    subjects = sorted({request.subject for request in requests})
    random.Random(seed).shuffle(subjects)
    held: set[str] = set()
    count = 0
    for subject in subjects:
        if count >= validation:
            break
        held.add(subject)
        count += sum(request.subject == subject for request in requests)
    held_out = tuple(request for request in requests if request.subject in held)
    seen = {digest for request in held_out for digest in text_digests(request)}
    rest = [request for request in requests if request.subject not in held]
    training = tuple(request for request in rest if not text_digests(request) & seen)
    if not training or not held_out:
        raise UsageError(
            f"mend.validation_requests={validation}: of {len(requests)} training requests none is left to "
            f"{'train' if not training else 'validate'} on; give more requests or hold out fewer"
        )
    check_disjoint(training, held_out, "validation")
    return Split(training, held_out), len(rest) - len(training)


def data_digest(split: Split) -> str:
    """Name of a split's content, 32 hexadecimal digits."""
    return _digest(repr((split.training, split.validation)))
