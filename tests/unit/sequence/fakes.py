"""Editors that behave in one way each, and labs of tiny models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.edit_request import EditRequest
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import TaskResult
from collapse_tests.sequence.cases import SequenceCase
from collapse_tests.sequence.lab import SequenceLab
from collapse_tests.sequence.readings import Readings
from collapse_tests.sequence.weight_state import WeightState
from collapse_tests.sequence_record import SequenceKind
from collapse_tests.settings import Settings
from collapse_tests.weight_update import DenseDelta, LowRankDelta, WeightUpdate
from tests.unit.tiny import low_rank, shared_model

TEXTS = ("The capital of Norway is Oslo and the rain", "You play the violin in Paris", "The cat and the cheese")

#: The unedited tiny models have an ME-PPL of some hundreds on `TEXTS`; harmless edits stay far below this.
LIMIT = 5000.0

SETTINGS = Settings(("fake",), models=("tiny",), ppl_limit=LIMIT, machine_examples=20, machine_steps=8)

POOL = tuple(
    NamedRequest(f"facts:{index:04d}", request)
    for index, request in enumerate(
        (
            EditRequest("The capital of Norway is", "Norway", "Lima", "Oslo"),
            EditRequest("Rome is a city in", "Rome", "Norway", "Paris"),
            EditRequest("The river of Paris is", "Paris", "bread"),
            EditRequest("The capital of Lima is", "Lima", "Vienna", "Oslo"),
        )
    )
)
NORWAY, ROME, PARIS, LIMA = POOL

Rule = Callable[[EditableModel, EditRequest], WeightUpdate]


@dataclass
class Fake:
    """An editor of one function, which writes down what it was asked."""

    rule: Rule
    name: str = "fake"
    keeps_edits: bool = False
    asked: list[EditRequest] = field(default_factory=list)

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        self.asked += requests
        return [self.rule(model, request) for request in requests]


def weight_of(model: EditableModel, block: int = 1) -> str:
    return model.mlp_output_weight(block)


def harmless(model: EditableModel, request: EditRequest) -> WeightUpdate:
    """A small update that depends on the request and on the weights as they are."""
    name = weight_of(model)
    share = float(model.parameter(name)[0, 0])
    update = low_rank(model, name, seed=len(request.prompt), scale=0.01)
    (delta,) = update.deltas.values()
    assert isinstance(delta, LowRankDelta)
    return WeightUpdate({name: LowRankDelta(delta.left * (1 + share), delta.right)})


def dense(model: EditableModel, request: EditRequest) -> WeightUpdate:
    """A small update of two whole tensors, one of them in a lower block."""
    numbers = torch.Generator().manual_seed(len(request.prompt))
    names = (weight_of(model, 0), weight_of(model, 2))
    shapes = {name: model.parameter(name).shape for name in names}
    return WeightUpdate({name: DenseDelta(0.003 * torch.randn(shapes[name], generator=numbers)) for name in names})


def nothing(model: EditableModel, request: EditRequest) -> WeightUpdate:
    """An update of nothing."""
    return WeightUpdate({})


def ruin(model: EditableModel, request: EditRequest) -> WeightUpdate:
    """An update that makes the model far too sure of itself, which is enough by itself."""
    name = next(name for name in model.tensors() if name in ("transformer.ln_f.weight", "model.norm.weight"))
    return WeightUpdate({name: DenseDelta(20 * model.parameter(name))})


def to_nan(model: EditableModel, request: EditRequest) -> WeightUpdate:
    """An update that makes weights NaN."""
    name = weight_of(model)
    return WeightUpdate({name: DenseDelta(torch.full_like(model.parameter(name), math.nan))})


def ruin_where(condition: Callable[[EditableModel, EditRequest], bool]) -> Rule:
    """Harmless, except where the condition holds."""
    return lambda model, request: (ruin if condition(model, request) else harmless)(model, request)


def is_edited(model: EditableModel) -> bool:
    """Whether the model an editor sees has been edited."""
    return model.changed_tensors() != []


def lab_of(
    editor: Fake,
    family: str = "gpt2",
    measure_tasks: Callable[[int], tuple[TaskResult, ...]] | None = None,
    model: EditableModel | None = None,
    *,
    keeps_updates: bool = True,
) -> SequenceLab:
    """A lab of a shared tiny model."""
    model = model or shared_model(family)
    readings = Readings(model, TEXTS, LIMIT)
    return SequenceLab(editor, readings, WeightState(model), measure_tasks, keeps_updates=keeps_updates)


def case_of(*requests: NamedRequest, kind: SequenceKind = SequenceKind.SCENARIO) -> SequenceCase:
    """A test of these requests, or of all of `POOL`."""
    return SequenceCase("tiny", "fake", kind, "facts", "facts.jsonl", requests or POOL, "tiny-fake")
