"""The contract of an editor as tests, for those who write one.

In a test module of the editor's project:

    from collapse_tests.conformance import *

    @pytest.fixture
    def editor():
        return MyEditor()

`editor` may be an editor, a class of editors or a callable that edits in place, as for `--editor`, or a name that
`--editor` takes. The tests run on random models of each family that this module makes, in float32 and bfloat16, on
the CPU and, where there is one, a GPU. `check_editor_contract` does the same in one call.

It stands beside the suite and may import everything; nothing else imports it.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.own import adapt
from collapse_tests.editors.protocol import Editor, EditorContext, PreparedEditor
from collapse_tests.editors.registry import create_editor
from collapse_tests.errors import EditorError
from collapse_tests.models.editable import EditableModel, is_transposed
from collapse_tests.models.leftovers import ModelState
from collapse_tests.models.tiny import FAMILIES, make_model
from collapse_tests.settings import Settings
from collapse_tests.weight_update import LowRankDelta, WeightUpdate

__all__ = [
    "CONFORMANCE_REQUESTS",
    "ConformanceSetting",
    "ContractError",
    "check_editor_contract",
    "conformance_float32_setting",
    "conformance_setting",
    "test_editor_gives_one_update_per_request",
    "test_editor_leaves_the_model_as_found",
    "test_editor_makes_the_same_update_again",
    "test_editor_treats_a_batch_like_single_edits",
    "test_editor_updates_are_finite",
    "test_editor_updates_fit_the_model",
]

#: What the editor is asked to write: subjects in the middle and at the start of a prompt, of one token and several.
CONFORMANCE_REQUESTS = (
    EditRequest("The capital of Norway is", "Norway", "Lima", "Oslo", "Norway is a city in", "Paris is a"),
    EditRequest("Rome is a city in", "Rome", "Norway", "Paris"),
    EditRequest("You play the violin in", "violin", "Oslo", "Vienna"),
)

_SEED = 0

#: ‖difference‖ / ‖Δ‖ up to which two updates pass for the same. Several edits in one pass sum in another order, and
#: an optimisation of some dozen steps enlarges the rounding.
_SAME_AGAIN = {"cpu": 1e-6, "cuda": 1e-2}
_SAME_IN_BATCH = 1e-2


@dataclass(frozen=True, slots=True)
class ConformanceSetting:
    """A model to check an editor on.

    Attributes:
        family: `gpt2`, `gptj` or `llama`.
        dtype: `float32` or `bfloat16`.
        device: `cpu` or `cuda`.
    """

    family: str
    dtype: str = "float32"
    device: str = "cpu"

    def __str__(self) -> str:
        return f"{self.family} in {self.dtype} on {self.device}"


class ContractError(AssertionError):
    """An editor breaks its contract.

    Args:
        clause: which part of it.
        setting: on which model.
        problem: how, and what to do about it.
    """

    def __init__(self, clause: str, setting: ConformanceSetting, problem: str) -> None:
        super().__init__(f"clause '{clause}' of the editor contract is broken on {setting}: {problem}")
        self.clause = clause


_ALL_SETTINGS = tuple(
    ConformanceSetting(family, dtype, device)
    for device in (("cpu", "cuda") if torch.cuda.is_available() else ("cpu",))
    for family in FAMILIES
    for dtype in ("float32", "bfloat16")
)
_FLOAT32_SETTINGS = tuple(setting for setting in _ALL_SETTINGS if setting.dtype == "float32")


def _name(setting: ConformanceSetting) -> str:
    return f"{setting.family}-{setting.dtype}-{setting.device}"


@pytest.fixture(params=_ALL_SETTINGS, ids=_name)
def conformance_setting(request: pytest.FixtureRequest) -> ConformanceSetting:
    """Each family, type and available device in turn."""
    setting: ConformanceSetting = request.param
    return setting


@pytest.fixture(params=_FLOAT32_SETTINGS, ids=_name)
def conformance_float32_setting(request: pytest.FixtureRequest) -> ConformanceSetting:
    """The same in float32 alone, where rounding hides nothing."""
    setting: ConformanceSetting = request.param
    return setting


def check_editor_contract(editor: Any) -> None:
    """Check every clause on every model that this machine can run.

    Args:
        editor: an editor, a class of editors, a callable that edits in place, or a name that `--editor` takes.

    Raises:
        ContractError: the first clause that is broken, and how.
    """
    for setting in _ALL_SETTINGS:
        for check in _CLAUSES:
            check(editor, setting)
    for setting in _FLOAT32_SETTINGS:
        test_editor_treats_a_batch_like_single_edits(editor, setting)


# Tests ----------------------------------------------------------------------------------------------------


def test_editor_gives_one_update_per_request(editor: Any, conformance_setting: ConformanceSetting) -> None:
    """As many weight updates as requests, for none, one and several."""
    with _Run(editor, conformance_setting, "one update per request") as run:
        for count in (0, 1, len(CONFORMANCE_REQUESTS)):
            updates = run.updates(CONFORMANCE_REQUESTS[:count])
            run.require(
                len(updates) == count and all(isinstance(update, WeightUpdate) for update in updates),
                f"compute_updates returned {_described(updates)} for {count} requests; "
                "return one WeightUpdate for each, in order",
            )


def test_editor_leaves_the_model_as_found(editor: Any, conformance_setting: ConformanceSetting) -> None:
    """No bit of a weight differs afterwards, nor anything else of the model."""
    with _Run(editor, conformance_setting, "leaves the model as found") as run:
        state = ModelState(run.model)
        run.updates(CONFORMANCE_REQUESTS)
        changed = run.model.changed_tensors()
        left = [leftover.text for leftover in state.leftovers() if not leftover.is_random]
        run.require(not changed, f"{', '.join(changed[:3])} differ afterwards; restore them before returning")
        run.require(not left, f"the editor {', '.join(left[:3])}; undo it before returning")


def test_editor_updates_fit_the_model(editor: Any, conformance_setting: ConformanceSetting) -> None:
    """Updates name parameters that exist, have their shapes, and hold tensors of their own."""
    with _Run(editor, conformance_setting, "updates fit the model") as run:
        weights = {tensor.untyped_storage().data_ptr() for tensor in run.model.tensors().values()}
        for update in run.updates(CONFORMANCE_REQUESTS):
            try:
                run.model.check_fits(update)
            except EditorError as error:
                run.require(False, str(error))
            for name, tensor in _tensors(update):
                run.require(
                    tensor.untyped_storage().data_ptr() not in weights,
                    f"the change of {name} shares memory with the model's weights; give a copy (`.clone()`)",
                )
                run.require(
                    not tensor.requires_grad,
                    f"the change of {name} carries gradients and keeps their graph alive; give it `.detach()`ed",
                )
            with run.model.applied(update):
                pass


def test_editor_updates_are_finite(editor: Any, conformance_setting: ConformanceSetting) -> None:
    """On these harmless requests neither a change nor a diagnostic is inf or NaN."""
    with _Run(editor, conformance_setting, "finite numbers") as run:
        for update in run.updates(CONFORMANCE_REQUESTS):
            for name, tensor in _tensors(update):
                run.require(bool(torch.isfinite(tensor).all()), f"the change of {name} has inf or NaN in it")
            for name, value in update.diagnostics.items():
                number = isinstance(value, int | float)
                run.require(number, f"the diagnostic {name} is a {type(value).__name__}; make it a float")
                run.require(abs(value) < float("inf"), f"the diagnostic {name} is {value}")


def test_editor_makes_the_same_update_again(editor: Any, conformance_setting: ConformanceSetting) -> None:
    """A fresh editor with the same seed makes the same updates."""
    with _Run(editor, conformance_setting, "the same again under a seed") as run:
        first = run.updates(CONFORMANCE_REQUESTS)
    with _Run(editor, conformance_setting, "the same again under a seed") as run:
        second = run.updates(CONFORMANCE_REQUESTS)
        for index, (one, other) in enumerate(zip(first, second, strict=True)):
            distance = _distance(run.model, one, other)
            run.require(
                distance <= _SAME_AGAIN[conformance_setting.device],
                f"the update of request {index} differs by {distance:.2g} of its norm from run to run; draw random "
                "numbers from a generator seeded with the seed that `prepare` gets",
            )


def test_editor_treats_a_batch_like_single_edits(editor: Any, conformance_float32_setting: ConformanceSetting) -> None:
    """A request gets the update it would get alone, in the place of its request."""
    with _Run(editor, conformance_float32_setting, "a batch equals single edits") as run:
        singles = [run.updates([request])[0] for request in CONFORMANCE_REQUESTS]
        batch = run.updates(CONFORMANCE_REQUESTS)
        distances = [[_distance(run.model, single, update) for single in singles] for update in batch]
        for index, row in enumerate(distances):
            nearest = min(range(len(row)), key=row.__getitem__)
            run.require(
                row[index] <= _SAME_IN_BATCH or row[nearest] > _SAME_IN_BATCH,
                f"update {index} is that of request {nearest}; return updates in the order of the requests",
            )
            run.require(
                row[index] <= _SAME_IN_BATCH,
                f"the update of request {index} among {len(row)} differs by {row[index]:.2g} of its norm from what "
                "it is alone; compute each from the unedited weights, with random numbers of its own",
            )


_CLAUSES = (
    test_editor_gives_one_update_per_request,
    test_editor_leaves_the_model_as_found,
    test_editor_updates_fit_the_model,
    test_editor_updates_are_finite,
    test_editor_makes_the_same_update_again,
)


# Running an editor ----------------------------------------------------------------------------------------


class _Run:
    """An editor, prepared on a model of its own; random states are put back at the end of a `with` block.

    Args:
        editor: as given to the kit.
        setting: the model to make.
        clause: what is checked, for errors.
    """

    def __init__(self, editor: Any, setting: ConformanceSetting, clause: str) -> None:
        self._given = editor
        self._setting = setting
        self._clause = clause

    def __enter__(self) -> _Run:
        self.model = make_model(self._setting.family, dtype=self._setting.dtype, device=self._setting.device)
        self._before = ModelState(self.model)
        self._editor = _fresh(self._given, self.model.name)
        if isinstance(self._editor, PreparedEditor):
            self._seed()
            self._editor.prepare(self.model, EditorContext(_SEED))
            changed = self.model.changed_tensors()
            self.require(not changed, f"after `prepare`, {', '.join(changed[:3])} differ; restore them")
        return self

    def __exit__(self, *exception: object) -> None:
        self._before.undo()

    def updates(self, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        """What the editor makes of `requests`; the global generators are seeded alike before each call."""
        self._seed()
        return list(self._editor.compute_updates(self.model, list(requests)))

    def require(self, condition: bool, problem: str) -> None:
        """Raise a `ContractError` unless `condition`."""
        __tracebackhide__ = True
        if not condition:
            raise ContractError(self._clause, self._setting, problem)

    @staticmethod
    def _seed() -> None:
        random.seed(_SEED)
        np.random.seed(_SEED)
        torch.manual_seed(_SEED)


def _fresh(editor: Any, model: str) -> Editor:
    """An editor that has seen no model yet: an object is copied, since `prepare` may keep what it made."""
    if isinstance(editor, str):
        return create_editor(editor, model, Settings((editor,)))
    return adapt(getattr(editor, "__name__", type(editor).__name__), copy.deepcopy(editor))


def _described(updates: Sequence[Any]) -> str:
    kinds = dict.fromkeys(type(update).__name__ for update in updates)
    return f"{len(updates)} values ({', '.join(kinds)})" if updates else "nothing"


def _tensors(update: WeightUpdate) -> Iterator[tuple[str, torch.Tensor]]:
    for name, delta in update.deltas.items():
        for tensor in (delta.left, delta.right) if isinstance(delta, LowRankDelta) else (delta.delta,):
            yield name, tensor


def _matrices(model: EditableModel, update: WeightUpdate) -> dict[str, torch.Tensor]:
    """Every change in float64, as it is stored."""
    found = {}
    for name, delta in update.deltas.items():
        if isinstance(delta, LowRankDelta):
            matrix = delta.left.double() @ delta.right.double()
            found[name] = matrix.T if is_transposed(model.linear(name)) else matrix
        else:
            found[name] = delta.delta.double()
    return found


def _distance(model: EditableModel, first: WeightUpdate, second: WeightUpdate) -> float:
    """‖first − second‖ / ‖first‖ over all parameters; inf if they change others."""
    one, other = _matrices(model, first), _matrices(model, second)
    if one.keys() != other.keys():
        return float("inf")
    difference = sum(float((one[name] - other[name].to(one[name].device)).square().sum()) for name in one)
    norm = sum(float(matrix.square().sum()) for matrix in one.values())
    return (difference / norm) ** 0.5 if norm else float("inf") if difference else 0.0
