"""The cases of the recorded MEMIT, EMMET and AlphaEdit reference, and how the numbers are kept.

`benchmarks.easyedit_memit --record` fills them in with EasyEdit's numbers; `tests/unit/editors` compares ours with
those from then on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.rome_reference import REQUESTS, TEMPLATES
from collapse_tests.editors.alphaedit import AlphaEdit, AlphaEditHyperparameters
from collapse_tests.editors.memit import Emmet, EmmetHyperparameters, Memit, MemitHyperparameters
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.second_moment import SecondMoment
from collapse_tests.editors.spreading import SpreadingEditor
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import LowRankDelta, WeightUpdate
from fixtures.tiny_models import FAMILIES, make_model

__all__ = ["REQUESTS", "SETUPS", "Setup", "compact", "error", "moments", "read", "write"]

_N_ENTRIES = 12
_COMMON: dict[str, Any] = {
    "steps": 8,
    "learning_rate": 0.5,
    "weight_decay": 0.1,
    "clamp_norm_factor": 2.0,
    "kl_factor": 0.0625,
}
_BLOCKS = {"memit": (1, 2), "emmet": (2,), "alphaedit": (0, 2)}


@dataclass(frozen=True, slots=True)
class Setup:
    """One method on a tiny model of one family."""

    family: str
    method: str

    def build(self) -> tuple[EditableModel, SpreadingEditor]:
        """The model and the prepared editor, fresh."""
        model, blocks = make_model(self.family), _BLOCKS[self.method]
        editor: SpreadingEditor
        given: dict[str, Any] = {"templates": TEMPLATES, "moments": moments(model, blocks)}
        match self.method:
            case "memit":
                editor = Memit("memit", MemitHyperparameters(**_COMMON, blocks=blocks, moment_weight=3.0), **given)
            case "emmet":
                fields = EmmetHyperparameters(**_COMMON, blocks=blocks, moment_weight=5.0, slack=0.1)
                editor = Emmet("emmet", fields, **given)
            case _:
                alpha = AlphaEditHyperparameters(**_COMMON, blocks=blocks, nullspace_threshold=1.0, regularisation=2.0)
                editor = AlphaEdit("alphaedit", alpha, **given)
        editor.prepare(model, EditorContext())
        return model, editor

    def recorded(self, updates: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, Any]:
        """Norms and some entries of ΔW, (out_features, in_features), by edit and parameter."""
        numbers = [
            {name: [_short(float(matrix.norm())), *map(_short, _some(matrix))] for name, matrix in update.items()}
            for update in updates
        ]
        return {"family": self.family, "method": self.method, "edits": numbers}


SETUPS = tuple(Setup(family, method) for method in _BLOCKS for family in FAMILIES)


def moments(model: EditableModel, blocks: Sequence[int]) -> dict[int, SecondMoment]:
    """Well-conditioned random second moments, some of whose eigenvalues are below 1 and some above."""
    found = {}
    for block in blocks:
        width = model.weight_shape(model.mlp_output_weight(block))[1]
        numbers = np.random.default_rng(block)
        basis, _ = np.linalg.qr(numbers.normal(size=(width, width)))
        values = np.geomspace(0.1, 10.0, width)
        # Rounded as a peer would read it.
        matrix = torch.from_numpy((basis * values) @ basis.T).float().double()
        found[block] = SecondMoment((matrix + matrix.T) / 2)
    return found


def error(update: WeightUpdate, expected: Mapping[str, torch.Tensor]) -> float:
    """Largest ‖ΔW − ΔW'‖ / ‖ΔW'‖ over the changed parameters; inf if others are changed."""
    if update.deltas.keys() != expected.keys():
        return math.inf
    worst = 0.0
    for name, matrix in expected.items():
        delta = update.deltas[name]
        assert isinstance(delta, LowRankDelta)
        theirs = matrix.double().cpu()
        worst = max(worst, float((delta.matrix().double().cpu() - theirs).norm() / theirs.norm()))
    return worst


def compact(update: WeightUpdate) -> dict[str, list[float]]:
    """An update of ours in the numbers that are recorded."""
    found = {}
    for name, delta in update.deltas.items():
        assert isinstance(delta, LowRankDelta)
        found[name] = [delta.norm(), *_some(delta.matrix())]
    return found


def read(path: Path) -> list[dict[str, Any]]:
    """What `write` wrote."""
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return entries


def write(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write recorded setups, one a line."""
    path.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n", encoding="utf-8")


def _some(matrix: torch.Tensor) -> list[float]:
    flat = matrix.double().flatten()
    return [float(flat[index]) for index in np.random.default_rng(0).integers(0, len(flat), _N_ENTRIES)]


def _short(number: float) -> float:
    return float(f"{number:.9g}")
