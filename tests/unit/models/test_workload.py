from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from collapse_tests.models import workload
from collapse_tests.models.editable import EditableModel
from fixtures.tiny_models import make_model


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> EditableModel:
    """A model that says it is on a GPU with 80 GB free."""
    monkeypatch.setattr(EditableModel, "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (80 * 10**9, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    return make_model("llama")


def test_a_gpu_gets_more_at_once_than_a_cpu(gpu: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[Callable[[], int]] = [
        lambda: workload.requests_per_batch(gpu),
        lambda: workload.scoring_budget(gpu).tokens,
        lambda: workload.gradient_budget(gpu).tokens,
        lambda: workload.logits_per_slice(gpu),
        lambda: int(workload.pass_overhead(gpu)),
    ]
    large = [size() for size in sizes]
    monkeypatch.setattr(EditableModel, "device", torch.device("cpu"))
    small = [size() for size in sizes]

    assert all(less < more for less, more in zip(small, large, strict=True))
    assert min(small) > 0


def test_budgets_follow_free_memory(gpu: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    plenty = workload.gradient_budget(gpu).tokens
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**7, 80 * 10**9))
    little = workload.gradient_budget(gpu).tokens
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 10**7)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 4 * 10**6)
    with_reserve = workload.gradient_budget(gpu).tokens
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)

    assert plenty > with_reserve > little > 1
    assert with_reserve == pytest.approx(1.6 * little, rel=0.01)
    assert workload.gradient_budget(gpu).tokens == 1  # never zero: the work itself then says what does not fit


def test_fewer_requests_share_a_batch_where_their_prefixes_would_not_fit(
    gpu: EditableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plenty = workload.requests_per_batch(gpu)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**8, 80 * 10**9))
    little = workload.requests_per_batch(gpu)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 80 * 10**9))

    assert plenty > little > 1
    assert workload.requests_per_batch(gpu) == 1


def test_activations_kept_for_gradients_take_every_block(gpu: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**8, 80 * 10**9))

    scoring, gradient = workload.scoring_budget(gpu).tokens, workload.gradient_budget(gpu).tokens

    assert scoring == pytest.approx(gpu.n_blocks * gradient, rel=0.01)


def test_large_updates_are_held_a_few_at_a_time(gpu: EditableModel) -> None:
    assert workload.updates_in_memory(180 << 20) == 22
    assert workload.updates_in_memory(1 << 40) == 1
    assert workload.updates_in_memory(0) > 1


def test_trained_copies_follow_free_memory(gpu: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    plenty = workload.trained_copies(gpu, 1 << 20)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 20, 1 << 40))
    assert 1 <= workload.trained_copies(gpu, 1 << 20) < plenty
    assert workload.trained_copies(gpu, 1 << 60) == 1
