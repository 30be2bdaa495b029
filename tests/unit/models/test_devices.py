"""A model over two devices computes what it computes on one, and nothing meets what is on the other device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.engine.continuation import continuations
from collapse_tests.engine.scoring import RowCache, Scorer
from collapse_tests.errors import InfrastructureError
from collapse_tests.metrics.rows import TokenRow
from collapse_tests.models import workload
from collapse_tests.models.batching import pad_right
from collapse_tests.models.devices import device_map, stretches
from collapse_tests.models.editable import EditableModel
from fixtures.tiny_models import make_model
from tests.unit.models.simulated_devices import AWAY, HOME, HOST, DeviceMismatchError, SimulatedDevices
from tests.unit.models.split_editors import EDITORS, EDITS, computed, make_split, matrices
from tests.unit.sequence.fakes import Fake, harmless, lab_of
from tests.unit.tiny import MODEL_TYPES, bits, dense, low_rank, shared_model

IDS = ((5, 9, 40, 33, 17, 260, 3), (8, 2), (77, 21, 4, 4, 90))
ROWS = [TokenRow((20, 30, 40, 50), 1), TokenRow((9, 8, 7, 6, 5, 4, 3), 2), TokenRow((11, 12), 1)]


@pytest.fixture
def two_devices() -> Iterator[None]:
    with SimulatedDevices():
        yield


def split(family: str) -> EditableModel:
    return make_split(family, HOME, AWAY)


@pytest.mark.usefixtures("two_devices")
def test_the_simulation_refuses_what_devices_refuse() -> None:
    here, there = torch.ones(3, device=HOME), torch.ones(3, device=AWAY)
    assert (here.device, there.device, torch.ones(3).device) == (HOME, AWAY, HOST)
    assert (here + there.to(HOME)).device == HOME
    assert here[torch.tensor([0])].device == HOME
    assert (here * torch.tensor(2.0)).device == HOME
    assert torch.zeros(3, device=AWAY).copy_(here).device == AWAY
    index = torch.tensor([0], device=AWAY)
    wrong: list[Callable[[], torch.Tensor]] = [
        lambda: here + there,
        lambda: torch.cat([here, there]),
        lambda: here + torch.ones(3),
        lambda: here[index],
    ]
    for mixed in wrong:
        with pytest.raises(DeviceMismatchError):
            mixed()


def test_blocks_in_runs_on_one_device() -> None:
    places = [HOME, HOME, AWAY, AWAY, HOME]
    assert list(stretches(places, 0, 5)) == [(HOME, 0, 2), (AWAY, 2, 4), (HOME, 4, 5)]
    assert list(stretches(places, 1, 3)) == [(HOME, 1, 2), (AWAY, 2, 3)]
    assert list(stretches(places, 3, 4)) == [(AWAY, 3, 4)]


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("family", MODEL_TYPES)
@torch.no_grad()
def test_a_split_model_gives_the_logits_of_the_whole_one(family: str) -> None:
    whole, model = shared_model(family), split(family)
    ids = pad_right(IDS, HOME)
    expected = whole.model(pad_right(IDS, HOST)).logits.to(HOME)

    assert model.digest == whole.digest
    assert model.blocks_by_device == {HOME: 2, AWAY: 2}
    torch.testing.assert_close(model.model(input_ids=ids).logits, expected, rtol=1e-5, atol=1e-5)
    for block in range(model.n_blocks + 1):
        hidden = model.run_blocks(model.hidden_at(ids, block), block)
        assert hidden.device == HOME
        torch.testing.assert_close(model.head(hidden), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize(
    ("name", "family"),
    [*((name, "llama") for name in EDITORS), *((name, other) for name in ("rome", "ft") for other in ("gpt2", "gptj"))],
)
def test_an_editor_makes_of_a_split_model_what_it_makes_of_the_whole_one(name: str, family: str) -> None:
    model = split(family)
    found, expected = computed(name, model), computed(name, make_model(family))

    assert model.changed_tensors() == []
    for ours, theirs in zip(found, expected, strict=True):
        changes = matrices(ours)
        for parameter, change in matrices(theirs).items():
            torch.testing.assert_close(changes[parameter], change, rtol=1e-3, atol=1e-3 * float(change.abs().max()))


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
def test_scores_and_texts_under_updates_of_blocks_on_both_devices(family: str) -> None:
    whole, model = shared_model(family), split(family)
    names = [whole.mlp_output_weight(block) for block in (1, 2)]  # on either side
    updates = [low_rank(whole, *names, rank=2, seed=1), low_rank(whole, names[1], seed=2), dense(whole, *names)]
    prompts = [request.prompt for request in EDITS]

    for part in (updates[:2], updates):
        found = Scorer(model).shared(RowCache(ROWS), part)
        expected = Scorer(whole).shared(RowCache(ROWS), part)
        assert [[row.nll for row in case] for case in found] == [
            pytest.approx([row.nll for row in case], rel=1e-4) for case in expected
        ]
    assert continuations(model, prompts, updates, 4) == continuations(whole, prompts, updates, 4)
    assert model.changed_tensors() == []


@pytest.mark.usefixtures("two_devices")
def test_an_update_of_both_devices_is_written_and_taken_back() -> None:
    model = split("llama")
    before, names = bits(model), [model.mlp_output_weight(block) for block in (1, 2)]
    for update in (low_rank(model, *names), dense(model, *names)):
        with model.applied(update):
            assert model.changed_tensors() == names
        assert bits(model) == before


@pytest.mark.usefixtures("two_devices")
def test_edits_in_sequence() -> None:
    requests = [NamedRequest(f"e{number}", request) for number, request in enumerate(EDITS)]
    ends = []
    for model in (split("gpt2"), shared_model("gpt2")):
        lab = lab_of(Fake(harmless), model=model)
        node = lab.root
        for request in requests:
            node = lab.extend(node, request)
        lab.revert(node)
        lab.leave()
        ends.append((node.digest, node.perplexity.me_ppl, node.drift))
        assert model.changed_tensors() == []
    assert ends[0] == pytest.approx(ends[1])


def test_budgets_follow_the_device_with_the_least_room(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("llama")
    free = {HOME: 10**9, AWAY: 10**7}
    monkeypatch.setattr(workload, "free_bytes", free.__getitem__)
    monkeypatch.setattr(EditableModel, "device", torch.device("cuda", 0))
    monkeypatch.setattr(EditableModel, "blocks_by_device", {HOME: 1, AWAY: 3})
    sizes = (workload.scoring_budget, workload.gradient_budget, workload.decoding_budget)
    tight = [size(model).tokens for size in sizes]
    free[AWAY] = 10**9
    roomy = [size(model).tokens for size in sizes]
    assert all(1 < small < large for small, large in zip(tight, roomy, strict=True))


# Where blocks are put -----------------------------------------------------------------------------------------


def empty(family: str) -> nn.Module:
    model: nn.Module = AutoModelForCausalLM.from_config(shared_model(family).config)
    return model


@pytest.mark.parametrize("family", MODEL_TYPES)
def test_a_device_map_names_every_weight_and_keeps_all_but_blocks_at_home(family: str) -> None:
    model = shared_model(family)
    gpus = {torch.device("cuda", index): 10**8 for index in (0, 1, 2)}
    found = device_map(lambda: empty(family), gpus, family)

    blocks = {name: place for name, place in found.items() if name.startswith(f"{model.family.blocks_path}.")}
    assert list(blocks.values()) == sorted(blocks.values())
    assert len(blocks) == model.n_blocks
    assert len(set(found.values())) > 1
    assert {place for name, place in found.items() if name not in blocks} == {0}
    assert all(any(name.startswith(f"{path}.") for path in found) for name in model.tensors())


def test_a_model_that_no_split_fits_is_refused_with_what_is_missing() -> None:
    gpus = {torch.device("cuda", index): 10**4 for index in (0, 1)}
    with pytest.raises(InfrastructureError, match=r"'big' has 0\.0 GB of weights.*2 GPUs.*missing.*shorter --dtype"):
        device_map(lambda: empty("llama"), gpus, "big")
