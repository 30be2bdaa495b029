"""One kernel where the library's layers use many: root-mean-square norms and the GPT models' activation.

Both are a chain of small elementwise operations there, each a pass over memory. The fused kernels round differently in
the last place and otherwise compute the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["FusedLayers"]


class FusedLayers:
    """The layers of a model that have a fused kernel.

    Args:
        model: a Hugging Face model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._forwards = [(layer, forward) for layer in model.modules() if (forward := _fused(layer)) is not None]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the layers run fused for the time of a `with` block."""
        for layer, forward in self._forwards:
            layer.forward = forward
        try:
            yield
        finally:
            for layer, _ in self._forwards:
                vars(layer).pop("forward", None)


def _fused(layer: nn.Module) -> Callable[[torch.Tensor], torch.Tensor] | None:
    # By name, so that importing this module does not import transformers.
    name = type(layer).__name__
    if name in {"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm"}:
        return partial(_rms_norm, layer)
    if name == "NewGELUActivation":
        return partial(F.gelu, approximate="tanh")
    return None


def _rms_norm(layer: Any, states: torch.Tensor) -> torch.Tensor:
    weight: torch.Tensor = layer.weight
    return F.rms_norm(states, weight.shape, weight, layer.variance_epsilon)
