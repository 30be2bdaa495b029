"""A model over two GPUs: what it computes is what it computes on one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.engine.continuation import continuations
from collapse_tests.engine.downstream import Downstream
from collapse_tests.engine.scoring import RowCache, Scorer
from collapse_tests.errors import InfrastructureError
from collapse_tests.metrics.downstream.loading import LoadedTask, quiet
from collapse_tests.metrics.downstream.plan import PlannedTask, plan_task
from collapse_tests.metrics.perplexity import perplexity, perplexity_rows
from collapse_tests.models import devices, workload
from collapse_tests.models.batching import pad_right
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.leftovers import ModelState
from collapse_tests.models.loading import load_model
from collapse_tests.models.precision import MatmulPrecision
from collapse_tests.settings import Settings
from collapse_tests.weight_update import WeightUpdate
from fixtures.pytester_cases import GateProject
from fixtures.tiny_models import FAMILIES, make_model
from fixtures.tiny_tasks import write_tasks
from tests.unit.models.split_editors import EDITORS, EDITS, computed, make_split, matrices
from tests.unit.sequence.fakes import TEXTS, Fake, dense, harmless, lab_of
from tests.unit.tiny import dense as dense_update
from tests.unit.tiny import low_rank

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices"),
]

HOME, AWAY = torch.device("cuda", 0), torch.device("cuda", 1)
IDS = ((5, 9, 40, 33, 17, 260, 3), (8, 2), (77, 21, 4, 4, 90))

Save = Callable[[str], Path]


def whole(family: str) -> EditableModel:
    return make_model(family, device="cuda:0")


def split(family: str) -> EditableModel:
    return make_split(family, HOME, AWAY)


def me_ppls(model: EditableModel, updates: list[WeightUpdate]) -> list[float]:
    cache = RowCache(perplexity_rows(model, TEXTS))
    return [perplexity(scores).me_ppl for scores in Scorer(model).shared(cache, updates)]


def on_both(model: EditableModel) -> list[WeightUpdate]:
    """Updates of a block on either GPU, their tensors in the host's memory."""
    names = [model.mlp_output_weight(block) for block in (1, 2)]
    return [low_rank(model, *names, rank=2, seed=1), low_rank(model, names[1], seed=2), dense_update(model, *names)]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_librarys_forward_pass_and_that_by_blocks(family: str) -> None:
    one, two = whole(family), split(family)
    ids = pad_right(IDS, HOME)
    expected = one.model(input_ids=ids).logits

    assert two.digest == one.digest
    assert two.blocks_by_device == {HOME: 2, AWAY: 2}
    real = torch.ones_like(ids)
    real[1, 2:] = 0
    masked = {"input_ids": ids, "attention_mask": real}
    torch.testing.assert_close(two.model(**masked).logits[:, :2], one.model(**masked).logits[:, :2])
    torch.testing.assert_close(two.model(input_ids=ids).logits, expected)
    for block in range(two.n_blocks + 1):
        logits = two.head(two.run_blocks(two.hidden_at(ids, block), block))
        assert logits.device == HOME
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", EDITORS)
@pytest.mark.parametrize("family", FAMILIES)
def test_updates_and_perplexity_are_those_of_one_gpu(family: str, name: str) -> None:
    one, two = whole(family), split(family)
    expected, found = computed(name, one), computed(name, two)

    assert two.changed_tensors() == []
    for ours, theirs in zip(found, expected, strict=True):
        changes = matrices(ours)
        for parameter, change in matrices(theirs).items():
            assert float((changes[parameter] - change).norm() / change.norm()) < 1e-2, parameter
    assert me_ppls(two, found) == pytest.approx(me_ppls(one, expected), rel=1e-2)
    assert two.changed_tensors() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_one_update_has_one_perplexity(family: str) -> None:
    one, two = whole(family), split(family)
    updates = on_both(one)

    assert me_ppls(two, updates) == pytest.approx(me_ppls(one, updates), rel=1e-3)
    assert me_ppls(two, updates[:2]) == pytest.approx(me_ppls(one, updates[:2]), rel=1e-3)
    prompts = [request.prompt for request in EDITS]
    assert continuations(two, prompts, updates, 4) == continuations(one, prompts, updates, 4)


@pytest.mark.parametrize("precision", [MatmulPrecision.TF32, MatmulPrecision.BFLOAT16])
def test_short_products_on_two_gpus(precision: MatmulPrecision) -> None:
    def short(model: EditableModel) -> EditableModel:
        return EditableModel(model.model, model.tokenizer, model.name, precision)

    one, two = short(whole("llama")), short(split("llama"))
    updates = on_both(one)
    assert me_ppls(two, updates) == pytest.approx(me_ppls(one, updates), rel=1e-2)
    assert two.changed_tensors() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_written_updates_are_taken_back(family: str) -> None:
    model = split(family)
    before = model.snapshot()
    for update in on_both(model):
        with model.applied(update):
            assert model.changed_tensors() == sorted(update.deltas)
        assert model.changed_tensors() == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.tensors().items())


def test_what_moves_a_models_inputs_is_no_leftover_and_moved_weights_are_put_back() -> None:
    model = split("llama")
    state = ModelState(model)
    with model.fast_kernels(), torch.no_grad():
        model.hidden_at(pad_right(IDS, HOME), model.n_blocks)
    assert state.leftovers() == []

    model.model.to(HOME)
    assert any("moved to another device" in leftover.text for leftover in state.leftovers())
    state.undo()
    assert state.leftovers() == []
    assert model.blocks_by_device == {HOME: 2, AWAY: 2}
    assert model.device_of_block(3) == AWAY


@pytest.mark.filterwarnings("ignore")
def test_tasks_are_those_of_one_gpu(tmp_path: Path) -> None:
    from lm_eval.tasks import TaskManager

    folder = write_tasks(tmp_path)
    names = ["tiny_choice", "tiny_word", "tiny_text"]
    with quiet():
        tasks = TaskManager(include_path=folder, include_defaults=False).load(names)["tasks"]

    def plan(model: EditableModel, name: str) -> PlannedTask:
        return plan_task(LoadedTask(name, (tasks[name],)), model, None)

    results = []
    for model in (split("llama"), whole("llama")):
        downstream = Downstream(Scorer(model), [plan(model, name) for name in names])
        measured = downstream.measure(on_both(model))
        results.append([result.edited for case in measured for result in case])
        assert model.changed_tensors() == []
    assert results[0] == pytest.approx(results[1])


@pytest.mark.parametrize("rule", [harmless, dense])
@pytest.mark.parametrize("family", FAMILIES)
def test_edits_in_sequence(family: str, rule: Callable[..., WeightUpdate]) -> None:
    ends = []
    for model in (split(family), whole(family)):
        lab = lab_of(Fake(rule), model=model)
        node = lab.root
        for number, request in enumerate(EDITS):
            node = lab.extend(node, NamedRequest(f"e{number}", request))
        lab.revert(node)
        lab.leave()
        ends.append((node.perplexity.me_ppl, node.drift))
        assert model.changed_tensors() == []
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)


# Loading ------------------------------------------------------------------------------------------------------


def loaded(path: Path, device_map: str) -> EditableModel:
    return load_model(str(path), Settings(("rome",), device="cuda", device_map=device_map), lambda line: None)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_loaded_over_all_gpus_and_is_the_same_model(saved_tiny_model: Save, family: str) -> None:
    path = saved_tiny_model(family)
    one, all_gpus = loaded(path, "none"), loaded(path, "auto")

    assert all_gpus.digest == one.digest
    assert len(one.blocks_by_device) == 1
    assert len(all_gpus.blocks_by_device) > 1
    assert all_gpus.device == HOME
    tensors = all_gpus.tensors()
    outside = {tensors[name].device for name in tensors if not name.startswith(all_gpus.family.blocks_path)}
    assert outside == {HOME}
    assert not any("forward" in vars(module) or hasattr(module, "_hf_hook") for module in all_gpus.model.modules())
    updates = on_both(one)
    assert me_ppls(all_gpus, updates) == pytest.approx(me_ppls(one, updates), rel=1e-3)
    ids = pad_right(IDS, HOME)
    with torch.no_grad():
        torch.testing.assert_close(all_gpus.model(input_ids=ids).logits, one.model(input_ids=ids).logits)
    assert all(size > 0 for size in (workload.gradient_budget(all_gpus).tokens, workload.requests_per_batch(all_gpus)))


def test_a_model_too_large_for_all_gpus_is_refused(saved_tiny_model: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_bytes", lambda device: 10**4)
    with pytest.raises(InfrastructureError, match="are missing"):
        loaded(saved_tiny_model("llama"), "auto")


def test_a_run_over_all_gpus_gives_the_verdicts_of_one(gate_project: GateProject) -> None:
    verdicts = []
    for arguments in (("--device=cuda",), ("--device-map=auto",)):
        gate_project.run_apart(*arguments)
        verdicts.append(gate_project.verdicts())
    assert verdicts[0] == verdicts[1]
    assert "error" not in verdicts[0].values()
