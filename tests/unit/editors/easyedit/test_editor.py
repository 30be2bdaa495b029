from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.contexts import context_templates
from collapse_tests.editors.easyedit.editor import EasyEditEditor, create_easyedit_editor
from collapse_tests.editors.easyedit.installation import VARIABLE
from collapse_tests.editors.moments import MomentSource, second_moments
from collapse_tests.editors.protocol import EditorContext, PreparedEditor
from collapse_tests.editors.registry import check_hyperparameters, create_editor
from collapse_tests.errors import EditorError, UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.settings import Override, Settings
from collapse_tests.weight_update import DenseDelta, LowRankDelta
from fixtures.tiny_models import make_model
from tests.unit.tiny import bits, shared_model

STAND_IN = Path(__file__).parent / "stand_in"
OSLO = EditRequest("Oslo is in", "Oslo", "Peru")
LIMA = EditRequest("Lima is in", "Lima", "Rome")


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(STAND_IN))


def editor_of(algorithm: str, **fields: object) -> EasyEditEditor:
    name = f"easyedit:{algorithm}"
    overrides = tuple(Override(name, field, value) for field, value in fields.items())
    return create_easyedit_editor(name, Settings((name,), overrides=overrides))


def prepared(algorithm: str, model: EditableModel, **fields: object) -> EasyEditEditor:
    editor = editor_of(algorithm, **fields)
    editor.prepare(model, EditorContext())
    return editor


# Editing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "block"), [("gpt2", 3), ("gptj", 3), ("llama", 2)])
def test_the_family_s_file_is_fitted_to_the_depth(family: str, block: int) -> None:
    model = shared_model(family)
    before = bits(model)
    name = "easyedit:rome"
    editor = create_editor(name, model.name, Settings((name,)))
    assert isinstance(editor, PreparedEditor)
    editor.prepare(model, EditorContext())
    updates = editor.compute_updates(model, [OSLO, LIMA])
    assert bits(model) == before
    for request, update in zip((OSLO, LIMA), updates, strict=True):
        ((parameter, delta),) = update.deltas.items()
        assert parameter == model.mlp_output_weight(block)
        assert isinstance(delta, LowRankDelta)
        assert delta.rank == 1
        out_size, in_size = model.weight_shape(parameter)
        first = model.tokenizer.encode(request.subject)[0]
        expected = torch.outer(0.5 * torch.linspace(-1, 1, out_size), torch.linspace(0, 0.01 * first, in_size))
        torch.testing.assert_close(delta.matrix(), expected, rtol=1e-4, atol=1e-5)
        assert update.diagnostics["update_norm"] == pytest.approx(float(expected.norm()), rel=1e-4)
        assert update.notes == ()


def test_templates_are_ours_and_names_tell_the_family(model: EditableModel) -> None:
    (update,) = prepared("ROME", model).compute_updates(model, [OSLO])
    templates = context_templates(model, ((3, 5), (4, 5)), 0, None)
    assert len(templates) == 11
    assert f"templates {list(templates)}" in update.printed
    mark = {"gpt2": "gpt2", "gptj": "gpt-j-6b", "llama": "llama"}[model.config.model_type]
    called = model.name if mark in model.name else f"{mark}-{model.name}"
    head = {"gpt2": "transformer.wte", "gptj": "lm_head", "llama": "lm_head"}[model.config.model_type]
    assert f"padding right, called {called}, head {head}" in update.printed
    assert model.config._name_or_path != called


def test_nothing_of_one_model_reaches_another() -> None:
    first, second = make_model("llama", seed=0), make_model("llama", seed=1)
    editor = prepared("MEMIT", first)
    one = editor.compute_updates(first, [OSLO])
    editor.prepare(second, EditorContext())
    other = editor.compute_updates(second, [OSLO])
    alone = prepared("MEMIT", second).compute_updates(second, [OSLO])
    assert one[0].norm() != other[0].norm()
    assert other[0].norm() == alone[0].norm()


def test_second_moments_are_ours() -> None:
    model = shared_model("llama")
    (update,) = prepared("MEMIT", model).compute_updates(model, [OSLO])
    assert update.printed == "[1, 5]\n"
    assert list(update.deltas) == [model.mlp_output_weight(block) for block in (0, 1)]  # 4 to 8 of 32, scaled to 4
    moments = second_moments(model, [0, 1], MomentSource(), EditorContext())
    for block in (0, 1):
        delta = update.deltas[model.mlp_output_weight(block)]
        assert isinstance(delta, LowRankDelta)
        row = torch.linalg.solve(moments[block].corrected.float(), torch.ones(48))
        torch.testing.assert_close(delta.matrix()[5], row, rtol=1e-2, atol=1e-2 * float(row.abs().max()))


def test_keys_of_earlier_edits_are_forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = shared_model("llama")
    monkeypatch.chdir(tmp_path)
    first, second = prepared("AlphaEdit", model).compute_updates(model, [OSLO, OSLO])
    assert list(first.deltas) == [model.mlp_output_weight(block) for block in (1, 2)]
    assert first.norm() == second.norm() > 0
    assert not list(tmp_path.iterdir())


def test_a_projection_is_onto_where_keys_hardly_reach() -> None:
    model = shared_model("llama")
    moment = second_moments(model, [1], MomentSource(), EditorContext())[1].moment.double()
    threshold = float(torch.linalg.eigvalsh(moment)[24])  # half of the directions
    (update,) = prepared("AlphaEdit", model, layers=[1], nullspace_threshold=threshold).compute_updates(model, [OSLO])
    delta = update.deltas[model.mlp_output_weight(1)]
    assert isinstance(delta, LowRankDelta)
    row = delta.matrix()[0].double()
    assert 0 < float(row @ moment @ row) < threshold * float(row @ row)


def test_an_executor_is_made_anew_and_its_hooks_go() -> None:
    model, archive = shared_model("llama"), STAND_IN / "__init__.py"
    updates = prepared("MEND", model, archive=str(archive)).compute_updates(model, [OSLO, LIMA])
    for update in updates:
        assert sorted(update.deltas) == ["model.layers.3.mlp.up_proj.weight"]  # 30 and 31 of 32, scaled to 4
        assert isinstance(update.deltas["model.layers.3.mlp.up_proj.weight"], DenseDelta)
        assert update.diagnostics["update_norm_ratio"] == pytest.approx(0.25, rel=1e-4)
        assert update.printed == "padding left\n"
        assert update.notes == ()
    assert not model.model._forward_hooks
    assert model.changed_tensors() == []


def test_a_trained_network_has_to_be_given() -> None:
    with pytest.raises(UsageError, match=r"archive=\./no_such_archive: MEND needs a network trained for this model"):
        prepared("MEND", shared_model("llama"))


def test_it_has_to_be_prepared() -> None:
    with pytest.raises(EditorError, match=r"prepare\(\) has to be called"):
        editor_of("ROME").compute_updates(shared_model("llama"), [OSLO])


# Hyper-parameters -----------------------------------------------------------------------------------------


def hyperparameters(model: EditableModel, algorithm: str = "ROME", **fields: object) -> Any:
    return editor_of(algorithm, **fields).hyperparameters(model)


def test_what_the_run_decides_cannot_be_set() -> None:
    found = hyperparameters(shared_model("llama"), device=0, model_name="another", model_parallel=True)
    assert (found.device, found.model_name, found.model_parallel) == ("cpu", "tiny-llama", False)


def test_exponents_are_numbers_and_the_loss_is_at_the_last_block(model: EditableModel) -> None:
    found = hyperparameters(model)
    assert found.v_lr == 0.5
    assert found.v_loss_layer == 3


def test_a_field_that_is_set_is_taken_as_it_is() -> None:
    found = hyperparameters(shared_model("llama"), layers=[3], v_lr=0.25, lm_head_module="model.norm")
    assert (found.layers, found.v_lr, found.lm_head_module) == ([3], 0.25, "model.norm")


def test_a_file_may_be_given_and_its_layers_are_meant() -> None:
    model = shared_model("llama")
    file = STAND_IN / "hparams" / "ROME" / "llama-7b.yaml"
    assert hyperparameters(model).layers == [2]
    assert hyperparameters(model, hparams=str(file)).layers == [16]
    with pytest.raises(UsageError, match=r"--set easyedit:ROME.hparams=nowhere.yaml: there is no such file"):
        hyperparameters(model, hparams="nowhere.yaml")


def test_a_file_of_the_model_s_own_name_wins() -> None:
    model = make_model("llama")
    model.name = "Llama2-7B"
    assert hyperparameters(model).layers == [16]


def test_an_unknown_field_is_refused_before_a_model_is_loaded() -> None:
    name = "easyedit:ROME"
    settings = Settings((name,), overrides=(Override(name, "v_rl", 1, "--editor-config mine.yaml"),))
    with pytest.raises(
        UsageError, match=r"--editor-config mine\.yaml: easyedit:ROME\.v_rl: there is no such field; give one of layers"
    ):
        check_hyperparameters(settings)


def test_a_family_without_a_file_is_told_to_give_one() -> None:
    with pytest.raises(UsageError, match=r"no hyper-parameters of MEMIT for the gpt2 family; give a file with --set"):
        hyperparameters(shared_model("gpt2"), "MEMIT")


@pytest.mark.parametrize("text", ["- 1", "a: [", "alg_name: ROME"])
def test_a_useless_file_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"mine\.yaml"):
        hyperparameters(shared_model("llama"), hparams=str(file))


def test_a_block_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"layers=\[9\]: model 'tiny-llama' has blocks 0 to 3"):
        prepared("MEMIT", shared_model("llama"), layers=[9])


def test_second_moments_of_other_layers_are_refused() -> None:
    with pytest.raises(UsageError, match="second moments are computed for the MLP's output projection"):
        prepared("MEMIT", shared_model("llama"), rewrite_module_tmp="model.layers.{}.self_attn.o_proj")


@pytest.mark.parametrize("value", [3, [5, 10], "text"])
def test_template_lengths_are_pairs(value: object) -> None:
    with pytest.raises(UsageError, match="context_template_length_params"):
        prepared("ROME", shared_model("llama"), context_template_length_params=value)
