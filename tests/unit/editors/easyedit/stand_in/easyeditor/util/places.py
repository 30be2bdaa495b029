from __future__ import annotations

from typing import Any

import matplotlib.style  # type: ignore[import-not-found] # noqa: F401 - never installed for the tests, nor used
import torch


def write(model: Any, name: str, out_side: torch.Tensor, in_side: torch.Tensor) -> None:
    """Add outer(out_side, in_side) to a weight, which GPT-2 stores transposed."""
    weight = model.get_parameter(name)
    change = torch.outer(out_side, in_side)
    with torch.no_grad():
        weight.add_((change if change.shape == weight.shape else change.T).to(weight.dtype))


def shape(model: Any, template: str, layer: int) -> tuple[int, int]:
    """(out, in) of a layer that maps to the hidden size."""
    hidden = model.config.hidden_size
    sides = set(model.get_parameter(f"{template.format(layer)}.weight").shape)
    return hidden, (sides - {hidden}).pop()
