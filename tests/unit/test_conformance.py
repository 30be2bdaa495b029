"""The conformance kit lets sound editors pass and names what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from collapse_tests import conformance
from collapse_tests.conformance import ConformanceSetting, ContractError, check_editor_contract
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.hparams import load_hyperparameters
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.rome import Rome, RomeHyperparameters
from collapse_tests.models.editable import EditableModel
from collapse_tests.settings import Override
from collapse_tests.weight_update import DenseDelta, LowRankDelta, WeightUpdate

CHECKS = {
    "one update per request": conformance.test_editor_gives_one_update_per_request,
    "leaves the model as found": conformance.test_editor_leaves_the_model_as_found,
    "updates fit the model": conformance.test_editor_updates_fit_the_model,
    "finite numbers": conformance.test_editor_updates_are_finite,
    "the same again under a seed": conformance.test_editor_makes_the_same_update_again,
    "a batch equals single edits": conformance.test_editor_treats_a_batch_like_single_edits,
}

Updates = Sequence[Any]


class Sound:
    """Meets the contract: a rank-one update that depends on the request."""

    name = "sound"

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> Updates:
        return [self.update(model, request) for request in requests]

    def update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        name = model.mlp_output_weight(1)
        out_features, in_features = model.weight_shape(name)
        left = torch.full((out_features, 1), 0.1 * len(request.prompt), device=model.device)
        return WeightUpdate({name: LowRankDelta(left, torch.ones(1, in_features, device=model.device))}, {"size": 1.0})


class Forgetful(Sound):
    """Skips requests about Rome."""

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> Updates:
        return [self.update(model, request) for request in requests if request.subject != "Rome"]


class OtherThings(Sound):
    """Gives dictionaries."""

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> Updates:
        return [dict(update.deltas) for update in super().compute_updates(model, requests)]


class Untidy(Sound):
    """Leaves a bit of itself in the weights."""

    def update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        with torch.no_grad():
            model.parameter(model.mlp_output_weight(2)).add_(1)
        return super().update(model, request)


class UntidyPreparation(Sound):
    """Does so while it prepares."""

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        with torch.no_grad():
            model.parameter(model.mlp_output_weight(2)).add_(1)


class Hooked(Sound):
    """Leaves a hook."""

    def update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        model.family.blocks[0].register_forward_hook(lambda *arguments: None)
        return super().update(model, request)


class Training(Sound):
    """Leaves the model in training mode."""

    def update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        model.model.train()
        return super().update(model, request)


class Misshapen(Sound):
    """Gives a change of another shape."""

    def update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        return WeightUpdate({model.mlp_output_weight(1): DenseDelta(torch.ones(2, 3))})


class Misnamed(Sound):
    """Names a parameter that does not exist."""

    def update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        return WeightUpdate({"nowhere.weight": DenseDelta(torch.ones(2, 3))})


class Shared(Sound):
    """Gives the weight itself."""

    def update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        name = model.mlp_output_weight(1)
        return WeightUpdate({name: DenseDelta(model.parameter(name).detach())})


class Attached(Sound):
    """Keeps the graph."""

    def update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        name = model.mlp_output_weight(1)
        return WeightUpdate({name: DenseDelta(torch.zeros_like(model.parameter(name)).requires_grad_(True))})


class Explosive(Sound):
    """Divides by nothing."""

    def update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        name = model.mlp_output_weight(1)
        return WeightUpdate({name: DenseDelta(torch.full_like(model.parameter(name), float("inf")))})


class Undefined(Sound):
    """Reports no number."""

    def update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        return WeightUpdate(super().update(model, request).deltas, {"size": float("nan")})


class Wordy(Sound):
    """Reports a text."""

    def update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        diagnostics: Any = {"size": "large"}
        return WeightUpdate(super().update(model, request).deltas, diagnostics)


calls: list[int] = []


class Moody(Sound):
    """Differs from time to time."""

    def update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        calls.append(1)
        name = model.mlp_output_weight(1)
        return WeightUpdate({name: DenseDelta(torch.full_like(model.parameter(name), float(len(calls))))})


class Reversed(Sound):
    """Gives updates in another order."""

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> Updates:
        return super().compute_updates(model, requests)[::-1]


class Joint(Sound):
    """Gives every request the sum of all."""

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> Updates:
        updates = [self.update(model, request) for request in requests]
        for index in range(1, len(updates)):
            updates[index] = updates[index].compose(updates[index - 1])
        return updates


class Dice(Sound):
    """Draws from torch's generator, which goes on from request to request."""

    def update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        name = model.mlp_output_weight(1)
        return WeightUpdate({name: DenseDelta(torch.randn_like(model.parameter(name)))})


BROKEN: list[tuple[type, str, str]] = [
    (Forgetful, "one update per request", r"2 values \(WeightUpdate\) for 3 requests; return one WeightUpdate"),
    (OtherThings, "one update per request", r"1 values \(dict\) for 1 requests"),
    (Untidy, "leaves the model as found", r"\.2\.mlp\..*weight differ afterwards; restore them"),
    (UntidyPreparation, "finite numbers", r"after `prepare`, .*\.2\.mlp\..*weight differ; restore them"),
    (Hooked, "leaves the model as found", r"the editor left a forward hook on .*\.0.*; undo it before returning"),
    (Training, "leaves the model as found", r"the editor left the model in training mode"),
    (Misshapen, "updates fit the model", r"the update of .* has shape \(2, 3\), not \(\d+, \d+\)"),
    (Misnamed, "updates fit the model", r"has no parameter 'nowhere\.weight'"),
    (Shared, "updates fit the model", r"shares memory with the model's weights; give a copy"),
    (Attached, "updates fit the model", r"carries gradients and keeps their graph alive; give it `\.detach\(\)`ed"),
    (Explosive, "finite numbers", r"has inf or NaN in it"),
    (Undefined, "finite numbers", r"the diagnostic size is nan"),
    (Wordy, "finite numbers", r"the diagnostic size is a str; make it a float"),
    (Moody, "the same again under a seed", r"differs by .* of its norm from run to run; draw random numbers"),
    (Reversed, "a batch equals single edits", r"update 0 is that of request 2; return updates in the order"),
    (Joint, "a batch equals single edits", r"the update of request 1 among 3 differs by .* from what it is alone"),
    (Dice, "a batch equals single edits", r"the update of request 1 among 3 .* with random numbers of its own"),
]


@pytest.mark.parametrize(("editor", "clause", "message"), BROKEN, ids=[kind.__name__ for kind, _, _ in BROKEN])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_broken_clause_is_named(editor: type, clause: str, message: str, family: str) -> None:
    with pytest.raises(ContractError, match=message) as caught:
        CHECKS[clause](editor(), ConformanceSetting(family))
    assert caught.value.clause == clause
    assert str(caught.value).startswith(
        f"clause '{clause}' of the editor contract is broken on {family} in float32 on cpu: "
    )


@pytest.mark.parametrize("editor", [kind for kind, clause, _ in BROKEN if clause == "a batch equals single edits"])
def test_an_editor_is_blamed_for_one_clause_only(editor: type) -> None:
    for clause, check in CHECKS.items():
        if clause != "a batch equals single edits":
            check(editor(), ConformanceSetting("gptj"))


@torch.no_grad()
def random_in_place(model: Any, tokenizer: Any, request: EditRequest) -> None:
    """Meets the contract too, since each edit starts from the same random state."""
    for name, parameter in model.named_parameters():
        if "mlp" in name and parameter.ndim == 2:
            parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize("editor", [Sound, Sound(), random_in_place, "null"], ids=["class", "object", "call", "name"])
def test_sound_editors_pass_in_one_call(editor: Any) -> None:
    state = torch.get_rng_state().tolist()
    check_editor_contract(editor)
    assert torch.get_rng_state().tolist() == state


def test_one_call_finds_what_is_broken() -> None:
    with pytest.raises(ContractError, match="clause 'a batch equals single edits'"):
        check_editor_contract(Reversed)


def rome() -> Rome:
    """The native editor, with as little optimisation as shows anything."""
    quick = (Override("rome", "steps", 3), Override("rome", "context_lengths", [[3, 2]]))
    return Rome("rome", load_hyperparameters(RomeHyperparameters, "rome", "rome", "tiny", quick))


def test_the_native_editor_passes() -> None:
    check_editor_contract(rome())


MODULE = """
import pytest
import torch

from collapse_tests.conformance import *


@pytest.fixture
def editor():
    def edit(model, tokenizer, request):
        with torch.no_grad():
            next(model.parameters()).add_(len(request.prompt))
            {extra}

    return edit
"""


def run(pytester: pytest.Pytester, extra: str) -> pytest.RunResult:
    pytester.makepyfile(MODULE.format(extra=extra))
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-k", "gpt2 and cpu")


def test_the_kit_is_tests_to_import(pytester: pytest.Pytester) -> None:
    run(pytester, "pass").assert_outcomes(passed=5 * 2 + 1)


def test_the_kit_says_what_is_broken(pytester: pytest.Pytester) -> None:
    result = run(pytester, "next(model.parameters()).fill_(float('nan'))")

    result.assert_outcomes(passed=3 * 2, failed=2 * 2 + 1)
    result.stdout.fnmatch_lines(["E *clause 'finite numbers' of the editor contract is broken on gpt2 in float32*"])


def test_every_check_is_exported() -> None:
    names = {name for name in vars(conformance) if name.startswith("test_")}
    checks: set[Callable[..., None]] = set(CHECKS.values())
    assert names <= set(conformance.__all__)
    assert {getattr(conformance, name) for name in names} == checks
