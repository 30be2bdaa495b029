"""Fewer kernels where the library's layers use many: norms, the GPT models' activation, rotary attention.

They are chains of small elementwise operations there, each a pass over memory. The replacements round differently in
the last place and otherwise compute the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from collapse_tests.models.forwards import Forwards
from collapse_tests.models.rotary import rotary_attention

__all__ = ["fused_forwards"]


def fused_forwards(model: nn.Module) -> Forwards:
    """The layers of a Hugging Face model that have a faster equal, each with it."""
    return [(layer, forward) for layer in model.modules() if (forward := _fused(layer)) is not None]


def _fused(layer: nn.Module) -> Callable[..., Any] | None:
    # By name, so that importing this module does not import transformers.
    name = type(layer).__name__
    if name in {"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm"}:
        return partial(_rms_norm, layer)
    if name == "NewGELUActivation":
        return partial(F.gelu, approximate="tanh")
    if name in {"LlamaAttention", "MistralAttention", "Qwen2Attention"}:
        return partial(rotary_attention, layer)
    return None


def _rms_norm(layer: Any, states: torch.Tensor) -> torch.Tensor:
    weight: torch.Tensor = layer.weight
    return F.rms_norm(states, weight.shape, weight, layer.variance_epsilon)
