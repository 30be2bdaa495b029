"""What MEMIT, EMMET and AlphaEdit promise, whatever the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import spreading_reference as reference
from benchmarks.rome_reference import TEMPLATES
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.alphaedit import AlphaEdit, AlphaEditHyperparameters
from collapse_tests.editors.memit import Emmet, EmmetHyperparameters, Memit, MemitHyperparameters
from collapse_tests.editors.protocol import EditorContext, JointEditor, PreparedEditor
from collapse_tests.editors.registry import create_editor
from collapse_tests.editors.second_moment import SecondMoment
from collapse_tests.editors.spreading import SpreadingEditor
from collapse_tests.errors import EditorError, UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.settings import Override, Settings
from collapse_tests.weight_update import LowRankDelta, WeightUpdate
from fixtures.tiny_models import FAMILIES, make_model

FIELDS: dict[str, Any] = {
    "blocks": (1, 2),
    "steps": 6,
    "learning_rate": 0.5,
    "weight_decay": 0.1,
    "clamp_norm_factor": 2.0,
    "kl_factor": 0.0625,
}
REQUESTS = [
    EditRequest("Norway is a city in", "Norway", "Lima"),
    EditRequest("You play the cello in", "cello", "the river"),
    EditRequest("Rome is the capital of", "Rome", "bread and cheese"),
]


def memit(model: EditableModel, **fields: Any) -> Memit:
    given = FIELDS | {"moment_weight": 3.0} | fields
    moments = reference.moments(model, given["blocks"])
    editor = Memit("memit", MemitHyperparameters(**given), TEMPLATES, moments)
    editor.prepare(model, EditorContext())
    return editor


def matrices(update: WeightUpdate) -> dict[str, torch.Tensor]:
    found = {}
    for name, delta in update.deltas.items():
        assert isinstance(delta, LowRankDelta)
        found[name] = delta.matrix().double()
    return found


def distance(first: WeightUpdate, second: WeightUpdate) -> float:
    """Largest relative difference over the parameters of `second`."""
    assert first.deltas.keys() == second.deltas.keys()
    ours, theirs = matrices(first), matrices(second)
    return max(float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in theirs)


@pytest.mark.parametrize("setup", reference.SETUPS, ids=lambda setup: f"{setup.method}-{setup.family}")
def test_updates_are_those_recorded_from_easyedit(setup: reference.Setup) -> None:
    (entry,) = (
        entry
        for entry in reference.read(Path(__file__).with_name("spreading_reference.json"))
        if (entry["family"], entry["method"]) == (setup.family, setup.method)
    )
    model, editor = setup.build()
    joint = editor.compute_joint_update(model, reference.REQUESTS)
    found = [reference.compact(update) for update in (*editor.compute_updates(model, reference.REQUESTS), joint)]

    assert len(found) == len(entry["edits"]) == len(reference.REQUESTS) + 1
    for ours, theirs in zip(found, entry["edits"], strict=True):
        assert ours.keys() == theirs.keys()
        for name, numbers in theirs.items():
            # The entries of a matrix differ in size; the error that counts is the matrix's.
            assert ours[name] == pytest.approx(numbers, rel=1e-4, abs=1e-5 * numbers[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_gives_what_each_request_gets_alone(family: str) -> None:
    model = make_model(family, dtype="float64")
    editor = memit(model)
    together = editor.compute_updates(model, REQUESTS)
    for request, update in zip(REQUESTS, together, strict=True):
        (alone,) = editor.compute_updates(model, [request])
        assert distance(update, alone) < 1e-6  # GPT-J attends in float32 whatever its type
        assert update.diagnostics == pytest.approx(alone.diagnostics, rel=1e-6)
    assert model.changed_tensors() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_joint_edit_of_one_request_is_its_single_edit(family: str) -> None:
    model = make_model(family, dtype="float64")
    editor = memit(model)
    (single,) = editor.compute_updates(model, REQUESTS[:1])
    assert distance(editor.compute_joint_update(model, REQUESTS[:1]), single) < 1e-9


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_block_closes_the_gap_where_nothing_is_shielded(family: str) -> None:
    """With hardly any weight on other keys a joint edit brings every subject's state to its target."""
    model = make_model(family, dtype="float64")
    # One template, so that the key written for is the key looked up.
    moments = reference.moments(model, (1, 2))
    editor = Memit("memit", MemitHyperparameters(**FIELDS, moment_weight=1e-9), ("{}",), moments)
    editor.prepare(model, EditorContext())
    for update in (*editor.compute_updates(model, REQUESTS), editor.compute_joint_update(model, REQUESTS)):
        assert update.diagnostics["missing_share"] < 1e-6
        assert update.diagnostics["delta_norm"] > 0.1


def test_more_weight_on_other_keys_changes_less() -> None:
    model = make_model("llama", dtype="float64")
    norms = [memit(model, moment_weight=weight).compute_updates(model, REQUESTS)[0].norm() for weight in (0.1, 10, 1e3)]
    assert norms == sorted(norms, reverse=True)
    assert norms[0] > 10 * norms[2]


@pytest.mark.parametrize("family", FAMILIES)
def test_emmet_is_memit_with_another_weight(family: str) -> None:
    model = make_model(family, dtype="float64")
    moments = reference.moments(model, (2,))
    emmet = Emmet(
        "emmet", EmmetHyperparameters(**FIELDS | {"blocks": (2,)}, moment_weight=30, slack=0.1), TEMPLATES, moments
    )
    emmet.prepare(model, EditorContext())
    expected = memit(model, blocks=(2,), moment_weight=3.0).compute_joint_update(model, REQUESTS)
    assert distance(emmet.compute_joint_update(model, REQUESTS), expected) < 1e-9


@pytest.mark.parametrize("family", FAMILIES)
def test_alphaedit_leaves_the_directions_of_most_keys_alone(family: str) -> None:
    model = make_model(family, dtype="float64")
    moments = reference.moments(model, (1, 2))
    fields = AlphaEditHyperparameters(**FIELDS, nullspace_threshold=1.0, regularisation=2.0)
    editor = AlphaEdit("alphaedit", fields, TEMPLATES, moments)
    editor.prepare(model, EditorContext())
    (update,) = editor.compute_updates(model, REQUESTS[:1])
    for block in (1, 2):
        values, vectors = torch.linalg.eigh(moments[block].moment)
        change = matrices(update)[model.mlp_output_weight(block)]
        assert float((change @ vectors[:, values > 1.0]).norm()) < 1e-9 * float(change.norm())
        assert float((change @ vectors[:, values < 1.0]).norm()) > 0


def test_alphaedit_needs_a_null_space() -> None:
    model = make_model("llama", dtype="float64")
    fields = AlphaEditHyperparameters(**FIELDS, nullspace_threshold=1e-6, regularisation=2.0)
    editor = AlphaEdit("alphaedit", fields, TEMPLATES, reference.moments(model, (1, 2)))
    with pytest.raises(UsageError, match=r"alphaedit\.nullspace_threshold=1e-06: no eigenvalue .* block 1"):
        editor.prepare(model, EditorContext())


def test_diagnostics_describe_the_edit() -> None:
    model = make_model("llama", dtype="float64")
    (update,) = memit(model).compute_updates(model, REQUESTS[:1])
    weights = [model.parameter(name).norm() for name in update.deltas]
    changes = [matrix.norm() for matrix in matrices(update).values()]
    assert update.diagnostics["update_norm"] == pytest.approx(math.hypot(*changes))
    assert update.diagnostics["update_norm_ratio"] == pytest.approx(math.hypot(*changes) / math.hypot(*weights))
    assert (update.diagnostics["first_block"], update.diagnostics["last_block"]) == (1, 2)
    assert list(update.deltas) == [model.mlp_output_weight(1), model.mlp_output_weight(2)]
    assert all(delta.rank == 1 for delta in update.deltas.values() if isinstance(delta, LowRankDelta))


def test_overflow_gives_numbers_that_are_none_and_no_exception() -> None:
    model = make_model("llama")
    width = model.weight_shape(model.mlp_output_weight(1))[1]
    editor = memit(model)
    editor.moments = {block: SecondMoment(1e-60 * torch.eye(width, dtype=torch.float64)) for block in (1, 2)}
    (update,) = editor.compute_updates(model, REQUESTS[:1])
    assert not all(bool(torch.isfinite(matrix).all()) for matrix in matrices(update).values())
    assert model.changed_tensors() == []


@pytest.mark.parametrize(
    ("name", "model", "blocks"),
    [
        ("memit", "gpt2-xl", (13, 14, 15, 16, 17)),
        ("memit", "gpt-j-6b", (3, 4, 5, 6, 7, 8)),
        ("memit", "llama2-7b", (4, 5, 6, 7, 8)),
        ("emmet", "gpt2-xl", (17,)),
        ("alphaedit", "gpt-j-6b", (3, 4, 5, 6, 7, 8)),
        ("memit", "any", None),
    ],
)
def test_known_models_have_hyperparameters_of_their_own(name: str, model: str, blocks: Sequence[int] | None) -> None:
    editor = create_editor(name, model, Settings((name,)))
    assert isinstance(editor, SpreadingEditor)
    assert isinstance(editor, JointEditor)
    assert isinstance(editor, PreparedEditor)
    assert editor.hyperparameters.blocks == blocks


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("name", "count"), [("memit", None), ("emmet", 1), ("alphaedit", None)])
def test_an_unknown_model_gets_blocks_by_relative_depth(family: str, name: str, count: int | None) -> None:
    model = make_model(family)
    editor = create_editor(name, "any", Settings((name,)))
    assert isinstance(editor, SpreadingEditor)
    blocks = editor.blocks(model)
    assert list(blocks) == list(range(blocks[0], blocks[-1] + 1))
    assert 0 <= blocks[0] <= blocks[-1] < model.n_blocks
    assert count is None or len(blocks) == count


@pytest.mark.parametrize("blocks", [[], [2, 1], [1, 1], [-1], 3])
def test_blocks_that_make_no_sense_are_refused(blocks: object) -> None:
    with pytest.raises(UsageError, match=r"--set memit\.blocks="):
        create_editor("memit", "any", Settings(("memit",), overrides=(Override("memit", "blocks", blocks),)))


def test_a_block_the_model_does_not_have_is_refused() -> None:
    model = make_model("llama")
    editor = create_editor("memit", "llama2-7b", Settings(("memit",)))
    assert isinstance(editor, SpreadingEditor)
    with pytest.raises(
        UsageError, match=r"memit\.blocks=\[4, 5, 6, 7, 8\], last=8: model 'tiny-llama' has blocks 0 to 3"
    ):
        editor.prepare(model, EditorContext())


def test_an_editor_that_was_not_prepared_says_so() -> None:
    model = make_model("llama")
    editor = Memit("memit", MemitHyperparameters(**FIELDS, moment_weight=1.0), TEMPLATES)
    with pytest.raises(EditorError, match="prepare"):
        editor.compute_updates(model, REQUESTS)
    with pytest.raises(EditorError, match="at least one request"):
        editor.compute_joint_update(model, [])
    assert editor.compute_updates(model, []) == []
