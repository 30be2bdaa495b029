"""One state of the weights: the edits that lead to it and what was measured there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.records import EditQuality, Perplexity
from collapse_tests.sequence_record import SequenceStep
from collapse_tests.weight_update import DenseDelta, WeightUpdate

__all__ = ["Edit", "Node"]


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """What leads from one state to the next.

    Attributes:
        named: the request.
        update: what the editor made of it in the state before, or a stand-in; see `WeightState.let_go`.
        seconds: wall time of computing it.
    """

    named: NamedRequest
    update: WeightUpdate
    seconds: float

    @property
    def nbytes(self) -> int:
        """Of the tensors that the update holds."""
        return sum(
            delta.delta.nbytes if isinstance(delta, DenseDelta) else delta.left.nbytes + delta.right.nbytes
            for delta in self.update.deltas.values()
        )


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A state after some edits.

    Attributes:
        edits: the edits in order; none in the unedited state.
        prints: name → fingerprint of every tensor.
        digest: one name for all of them.
        perplexity: of the model.
        qualities: of each edit, whether it succeeds now; None if a later edit has written its prompt anew.
        took: of each edit, whether it succeeded when it was made.
        drift: see `SequenceStep.drift`.
        not_finite: names of tensors that hold NaN or inf.
        seconds: wall time of computing the last edit and of measuring.
    """

    edits: tuple[Edit, ...]
    prints: Mapping[str, int]
    digest: str
    perplexity: Perplexity
    qualities: tuple[EditQuality | None, ...] = ()
    took: tuple[bool, ...] = ()
    drift: float = 0.0
    not_finite: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def last(self) -> NamedRequest:
        """The request of the last edit."""
        return self.edits[-1].named

    @property
    def quality(self) -> EditQuality:
        """Of the last edit."""
        quality = self.qualities[-1]
        assert quality is not None
        return quality

    @property
    def updates(self) -> tuple[WeightUpdate, ...]:
        """Of all edits."""
        return tuple(edit.update for edit in self.edits)

    def lost(self) -> list[str]:
        """Ids of edits that took and no longer succeed, though no later edit is about their subject."""
        subjects = [edit.named.request.subject for edit in self.edits]
        return [
            edit.named.edit_id
            for index, (edit, took, now) in enumerate(zip(self.edits, self.took, self.qualities, strict=True))
            if took and now is not None and not now.success and subjects[index] not in subjects[index + 1 :]
        ]

    def step(self) -> SequenceStep:
        """What a record says of this state."""
        earlier = [quality.success for quality in self.qualities[:-1] if quality is not None]
        return SequenceStep(
            edit_id=self.last.edit_id,
            perplexity=self.perplexity,
            success=self.quality.success,
            retained=sum(earlier),
            earlier=len(earlier),
            drift=self.drift,
            seconds=self.seconds,
        )
