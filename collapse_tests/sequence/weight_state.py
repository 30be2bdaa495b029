"""A model's weights, walking between sequences of updates with one spare copy of what they touch."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import replace

import torch

from collapse_tests.models.digest import fingerprint
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import WeightUpdate

__all__ = ["WeightState"]


class WeightState:
    """The weights of a model under a sequence of updates.

    To a sequence that goes on from the current one only the rest is added. To any other the unedited tensors are
    copied back and all its updates are added again, in order; each is added by the same operations on the same bits,
    so that a sequence gives the same bits however it is reached. Updates are told apart by identity.

    Memory is that of one copy of each tensor that any update has touched, and of the updates that led here unless they
    are let go.

    Args:
        model: unedited now; nothing else may write to its weights for good.
    """

    def __init__(self, model: EditableModel) -> None:
        self.model = model
        self._originals: dict[str, torch.Tensor] = {}
        self._path: list[WeightUpdate] = []
        self._touched: dict[str, None] = {}  # by the path, in order
        # Tied weights have several names; kept under one, no copy is taken of what another name has changed.
        self._names = {tensor.data_ptr(): name for name, tensor in model.tensors().items()}

    def go(self, updates: Sequence[WeightUpdate]) -> bool:
        """Bring the weights under `updates`, in order, and under nothing else.

        Returns:
            Whether anything had to be done for that.

        Raises:
            EditorError: an update does not fit the model. The weights are the unedited ones then, as they are after
                any other exception.
        """
        here = len(self._path)
        if here > len(updates) or any(old is not new for old, new in zip(self._path, updates, strict=False)):
            self.reset()
        elif here == len(updates):
            return False
        try:
            for update in updates[len(self._path) :]:
                self._keep(update)
                self.model.add(update)
                self._path.append(update)
        except BaseException:
            self.reset()
            raise
        return True

    def reset(self) -> None:
        """Copy the unedited tensors back, whatever has been done to them."""
        self.model.restore(self._originals)
        self._path.clear()
        self._touched.clear()

    def is_under(self, updates: Sequence[WeightUpdate]) -> bool:
        """Whether the weights are under `updates`, so that `go` has nothing to do."""
        return len(self._path) == len(updates) and all(map(operator.is_, self._path, updates))

    def let_go(self) -> WeightUpdate:
        """Hold the last update no longer; it stays in the weights.

        Returns:
            A stand-in without tensors. A sequence with it can be gone on from as long as the weights are under it, and
            not be come back to.
        """
        self._path[-1] = replace(self._path[-1], deltas={})
        return self._path[-1]

    @property
    def block(self) -> int:
        """The lowest block any update has touched so far; see `EditableModel.block_of`."""
        return min((self.model.block_of(name) for name in self._originals), default=self.model.n_blocks)

    def fingerprints(self) -> dict[str, int]:
        """Name → fingerprint of every tensor touched so far, as it now is."""
        return {name: fingerprint(self.model.parameter(name)) for name in self._originals}

    @torch.no_grad()
    def drift(self) -> float:
        """‖W − W0‖ / ‖W0‖ over all tensors that the sequence touches, W0 being the unedited model's; 0 without any."""
        originals = {name: self._originals[name] for name in self._touched}
        moved = [_norm(self.model.parameter(name).double() - old) for name, old in originals.items()]
        norm = math.hypot(*map(_norm, originals.values()))
        return math.hypot(*moved) / norm if norm else 0.0

    def not_finite(self) -> tuple[str, ...]:
        """Names of the tensors that the sequence touches and that hold NaN or inf."""
        return tuple(name for name in self._touched if not self.model.parameter(name).isfinite().all())

    def _name(self, given: str) -> str:
        """The one of a tensor's names under which its copy is kept."""
        return self._names.get(self.model.parameter(given).data_ptr(), given)

    def _keep(self, update: WeightUpdate) -> None:
        """Copy what the update is the first to touch."""
        for given in update.deltas:
            name = self._name(given)
            self._touched.setdefault(name)
            if name not in self._originals:
                self._originals[name] = self.model.parameter(name).detach().clone()


def _norm(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
