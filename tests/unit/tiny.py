"""Random tiny models shared between tests, and random updates of them."""

from __future__ import annotations

from functools import cache

import torch

from collapse_tests.models.editable import EditableModel, is_transposed
from collapse_tests.weight_update import DenseDelta, LowRankDelta, WeightUpdate
from fixtures.tiny_models import make_model

#: Every supported `model_type`.
MODEL_TYPES = ("gpt2", "gptj", "llama", "mistral", "qwen2")


@cache
def shared_model(family: str, *, start_token: bool = False, dtype: str = "float32") -> EditableModel:
    """A model that no test may leave changed."""
    return make_model(family, start_token=start_token, dtype=dtype)


def low_rank(model: EditableModel, *names: str, rank: int = 1, seed: int = 0, scale: float = 0.3) -> WeightUpdate:
    """A random low-rank update of some linear layers."""
    numbers = torch.Generator().manual_seed(seed)
    deltas = {}
    for name in names:
        out_features, in_features = model.weight_shape(name)
        left = scale * torch.randn(out_features, rank, generator=numbers)
        deltas[name] = LowRankDelta(left, scale * torch.randn(rank, in_features, generator=numbers))
    return WeightUpdate(deltas)


def dense(model: EditableModel, *names: str, seed: int = 0, scale: float = 0.1) -> WeightUpdate:
    """A random dense update of some parameters."""
    numbers = torch.Generator().manual_seed(seed)
    shapes = {name: model.parameter(name).shape for name in names}
    return WeightUpdate({name: DenseDelta(scale * torch.randn(shapes[name], generator=numbers)) for name in names})


def as_dense(model: EditableModel, update: WeightUpdate) -> WeightUpdate:
    """The same change of the weights, written out."""
    deltas = {}
    for name, delta in update.deltas.items():
        assert isinstance(delta, LowRankDelta)
        matrix = delta.matrix()
        deltas[name] = DenseDelta(matrix.T if is_transposed(model.linear(name)) else matrix)
    return WeightUpdate(deltas, update.diagnostics)


def bits(model: EditableModel) -> dict[str, bytes]:
    """The exact bytes of every parameter and buffer."""
    return {name: tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes() for name, tensor in tensors(model)}


def tensors(model: EditableModel) -> list[tuple[str, torch.Tensor]]:
    """Every parameter and buffer."""
    return [(name, tensor.detach()) for name, tensor in model.tensors().items()]
