from __future__ import annotations

import pytest
import torch

from collapse_tests.models.editable import EditableModel
from fixtures.tiny_models import FAMILIES, make_model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@torch.no_grad()
def test_fused_layers_give_the_library_s_result(family: str, dtype: str) -> None:
    model = make_model(family, dtype=dtype)
    ids = torch.tensor([[20, 30, 40, 50, 60]])

    def states() -> torch.Tensor:
        return model.run_blocks(model.embed(ids), 0)

    expected = states()
    with model.fast_kernels():
        replaced = _replaced(model)
        found = states()

    # A layer that the library renames would silently be slow again.
    assert len(replaced) == {"gpt2": 4, "gptj": 4, "llama": 3 * 4 + 1}[family]
    # The library takes the norm of a float64 model in float32.
    tolerance = {"float32": 1e-5, "float64": 1e-6, "bfloat16": 2e-2}[dtype]
    assert float((found - expected).double().norm() / expected.double().norm()) < tolerance
    assert found.dtype == expected.dtype
    assert _replaced(model) == []
    assert torch.equal(states(), expected)


def _replaced(model: EditableModel) -> list[str]:
    return [name for name, module in model.model.named_modules() if "forward" in vars(module)]
