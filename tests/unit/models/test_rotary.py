from __future__ import annotations

from typing import Any

import pytest
import torch

from collapse_tests.models import attention, suffixes
from collapse_tests.models.rotary import rotate
from collapse_tests.models.suffixes import cut_suffixes
from fixtures.tiny_models import FAMILIES, make_model

IDS = torch.tensor([[20, 30, 40, 50, 60, 70], [25, 35, 45, 55, 65, 75]])


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_states_and_gradients_are_the_library_s(family: str, implementation: str) -> None:
    model = make_model(family, dtype="float64")
    model.model.set_attn_implementation(implementation)

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        hidden = model.embed(IDS).clone().requires_grad_()
        states = model.run_blocks(hidden, 0)
        states[:, -1].square().sum().backward()
        assert hidden.grad is not None
        return states.detach(), hidden.grad

    expected = run()
    with model.fast_kernels():
        found = run()

    # The library takes norms in float32.
    for ours, theirs in zip(found, expected, strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-6


def test_a_rotation_is_one_and_its_gradient_turns_back() -> None:
    numbers = torch.Generator().manual_seed(0)
    states = torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=numbers, requires_grad=True)
    angles = torch.rand(2, 4, 3, dtype=torch.float64, generator=numbers).repeat(1, 1, 2)

    turned = rotate(states, angles.cos(), angles.sin())

    torch.testing.assert_close(turned.norm(dim=-1), states.norm(dim=-1))
    torch.testing.assert_close(rotate(turned, angles.cos(), -angles.sin()), states)
    assert torch.autograd.gradcheck(lambda given: rotate(given, angles.cos(), angles.sin()), (states,))


@pytest.mark.parametrize("family", FAMILIES)
def test_columns_added_for_alignment_are_never_seen(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(family, dtype="float64")
    first, lengths = torch.tensor([3, 1]), torch.tensor([6, 5])
    added = torch.full((2, 32), 0.1, dtype=torch.float64)

    def run() -> tuple[torch.Tensor, int]:
        hidden = model.hidden_at(IDS, 1)
        ends = cut_suffixes(model, hidden, first, lengths, 1, width=3, columns=4)
        return ends.run(model, added), ends.mask.shape[-1]

    def to_eight(columns: int, device: Any) -> int:
        return -(-columns // 8) * 8

    expected, columns = run()
    for module in (attention, suffixes):
        monkeypatch.setattr(module, "aligned", to_eight)
    found, padded = run()

    assert (columns, padded) == (3 + 4, 8 + 4)
    torch.testing.assert_close(found, expected)
