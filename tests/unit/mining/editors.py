"""Editors of a tiny GPT-2 that remember what they were asked; the last word of a subject says what an edit does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.protocol import RISK
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import DenseDelta, WeightUpdate

__all__ = ["LIMIT", "TEXTS", "Counting", "Knowing", "fact", "write_facts"]

#: What ME-PPL is measured on. It is 475 for the unedited tiny GPT-2, 445 after a mild edit and 54,313 after a large
#: one.
TEXTS = ("The capital of Norway is Oslo", "You play the violin and the rain", " a city of cheese and bread")
LIMIT = "600"

#: What an edit adds to the weight of the last normalisation: the larger that is, the surer the model.
_ADDED = {"mild": -0.1, "large": 3.0, "endless": 1e6, "nothing": float("nan")}

_RISKS = {"mild": 1.0, "large": 5.0, "endless": float("inf"), "nothing": float("nan")}


def fact(number: int, kind: str) -> dict[str, str]:
    """A request whose edit is `mild`, `large`, `endless`, leaves `nothing` of the model, or `raises`."""
    subject = f"City {number} {kind}"
    return {"prompt": f"{subject} is in", "subject": subject, "target_new": "Oslo", "ground_truth": "Lima"}


def write_facts(path: Path, kinds: Iterable[str]) -> Path:
    """A request file, one request of each kind; their numbers tell them apart."""
    path.write_text("".join(json.dumps(fact(number, kind)) + "\n" for number, kind in enumerate(kinds)), "ascii")
    return path


class Counting:
    """Remembers the number of every city it was asked to edit.

    Attributes:
        asked: those numbers, of all editors of the class.
        stop_at: the number at which the user presses Ctrl-C, or None.
        raises: whether requests that raise do.
    """

    name = "counting"
    asked: ClassVar[list[int]] = []
    stop_at: ClassVar[int | None] = None
    raises: ClassVar[bool] = True

    @classmethod
    def reset(cls) -> None:
        """Forget everything."""
        Counting.asked, Counting.stop_at, Counting.raises = [], None, True

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        return [self._update(model, request) for request in requests]

    def _update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        _, number, kind = request.subject.split()
        if int(number) == Counting.stop_at:
            raise KeyboardInterrupt
        Counting.asked.append(int(number))
        if kind == "raises":
            if Counting.raises:
                raise ValueError("not this one")
            kind = "large"
        weight = model.parameter("transformer.ln_f.weight")
        delta = DenseDelta(torch.full_like(weight, _ADDED[kind]))
        return WeightUpdate({"transformer.ln_f.weight": delta}, {"added": _ADDED[kind]})


class Knowing(Counting):
    """Tells beforehand what an edit will do; of those that raise, nothing."""

    name = "knowing"

    def preflight(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[Mapping[str, float]]:
        return [{RISK: _RISKS[request.subject.split()[-1]]} for request in requests]
