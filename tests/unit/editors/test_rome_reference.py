"""Our ROME updates against numbers recorded from EasyEdit's on the same tiny models."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.rome_reference import KEYS, Edit, Guard, Keys, Reference, Setup
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.rome import Rome
from collapse_tests.models.editable import EditableModel

# The two agreed to 1e-6 of ‖ΔW‖ where the numbers were recorded, which is also how far float32 is from float64.
# Adam divides by small gradients, so another processor's rounding may be larger; yet 1 % more of the learning rate or
# 10 % more of the KL factor is far beyond this.
TOLERANCE = 1e-4

REFERENCE = Reference.read(Path(__file__).with_name("rome_reference.json"))
SETUPS = {setup.name: setup for setup in REFERENCE.setups}
RECORD = "record anew with `python -m benchmarks.easyedit_rome --easyedit PATH --record FILE`"


@pytest.fixture(params=SETUPS, scope="module")
def setup(request: pytest.FixtureRequest) -> Setup:
    """A recorded setup."""
    return SETUPS[request.param]


@pytest.fixture(scope="module")
def model(setup: Setup) -> EditableModel:
    """The setup's model, if it still is the one that the numbers were recorded on."""
    model = setup.model()
    for request, recorded in zip(REFERENCE.requests, setup.guards, strict=True):
        now = Guard.of(model, request)
        assert (now.ids, now.target_ids) == (recorded.ids, recorded.target_ids), (
            f"the tiny tokenizer now encodes {request} differently, so the reference no longer applies: {RECORD}"
        )
        assert now.logits_norm == pytest.approx(recorded.logits_norm, rel=TOLERANCE), (
            f"the tiny model {setup.name!r} has changed, so the reference no longer applies: {RECORD}"
        )
    return model


@pytest.mark.parametrize("keys", KEYS)
def test_updates_equal_the_recorded_ones(setup: Setup, model: EditableModel, keys: Keys) -> None:
    editor = Rome("rome", setup.hyperparameters.model_copy(update={"keys": keys}), REFERENCE.templates)
    editor.prepare(model, EditorContext())

    updates = editor.compute_updates(model, REFERENCE.requests)

    found = [Edit.of(update, setup.parameter, setup.indices) for update in updates]
    pairs = zip(REFERENCE.requests, found, setup.edits[keys], strict=True)
    wrong = [f"{request}: {problem}" for request, ours, theirs in pairs if (problem := _difference(ours, theirs))]
    assert not wrong, f"ROME with keys={keys} on {setup.name} differs from EasyEdit's:\n" + "\n".join(wrong)


def _difference(ours: Edit, theirs: Edit) -> str:
    """What differs, in words; empty if nothing does."""
    if ours.steps != theirs.steps:
        return f"{ours.steps} steps, recorded are {theirs.steps}"
    for name, found, expected in (
        ("key·u", ours.denominator, theirs.denominator),
        ("‖ΔW‖", ours.norm, theirs.norm),
    ):
        if not math.isclose(found, expected, rel_tol=TOLERANCE):
            return f"{name} is {found:.7g}, recorded is {expected:.7g}"
    error = math.dist(ours.entries, theirs.entries) / math.hypot(*theirs.entries)
    return "" if error <= TOLERANCE else f"the recorded entries of ΔW differ by {error:.1e} of their norm"
