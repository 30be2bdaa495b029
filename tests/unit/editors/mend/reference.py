"""MEND applied to one request by the plainest means: autograd on the weights, loops, no batches."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.mend.hypernetwork import Hypernetwork
from collapse_tests.models.editable import EditableModel, is_transposed


def token_ids(model: EditableModel, request: EditRequest) -> tuple[list[int], int]:
    """Ids of prompt and answer together, and how many are the answer's."""
    whole = model.tokenizer(f"{request.prompt} {request.target_new}")["input_ids"]
    return whole, len(model.tokenizer(f" {request.target_new}", add_special_tokens=False)["input_ids"])


def answer_loss(logits: torch.Tensor, ids: list[int], count: int) -> torch.Tensor:
    """Mean NLL of the last `count` ids, for logits (length, vocabulary)."""
    chosen = [-logits[column - 1].log_softmax(-1)[ids[column]] for column in range(len(ids) - count, len(ids))]
    return torch.stack(chosen).mean()


def weight_gradients(model: EditableModel, names: tuple[str, ...], request: EditRequest) -> dict[str, torch.Tensor]:
    """Gradient of each weight, (out_features, in_features), by autograd on a copy of the model."""
    network: Any = deepcopy(model.model)
    parameters = {name: network.get_parameter(name).requires_grad_() for name in names}
    ids, count = token_ids(model, request)
    answer_loss(network(torch.tensor([ids])).logits[0], ids, count).backward()
    return {
        name: parameter.grad.T if is_transposed(model.linear(name)) else parameter.grad
        for name, parameter in parameters.items()
    }


def edit(model: EditableModel, network: Hypernetwork, request: EditRequest) -> dict[str, torch.Tensor]:
    """ΔW of every edited weight, (out_features, in_features), token by token."""
    copy: Any = deepcopy(model.model)
    kept: dict[str, list[torch.Tensor]] = {}

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            output.retain_grad()
            kept[name] = [inputs[0].detach(), output]

        return hook

    for name in network.names:
        copy.get_parameter(name).requires_grad_()
        copy.get_submodule(name.removesuffix(".weight")).register_forward_hook(keep(name))
    ids, count = token_ids(model, request)
    answer_loss(copy(torch.tensor([ids])).logits[0], ids, count).backward()

    shapes = [model.weight_shape(name) for name in network.names]
    changes = {}
    for index, name in enumerate(network.names):
        transform = network.transform_of(name)
        member = shapes[:index].count(shapes[index])
        total = torch.zeros(model.weight_shape(name), dtype=torch.float64)
        inputs, output = kept[name]
        assert output.grad is not None
        for x, d in zip(inputs[0], output.grad[0], strict=True):
            if (x == 0).all() or (d == 0).all():
                continue
            x_norm = (x - transform.input_mean) / (transform.input_deviation + 1e-7)
            d_norm = (d - transform.gradient_mean) / (transform.gradient_deviation + 1e-7)
            h = torch.cat([x_norm, d_norm])
            for layer in transform.residual_layers:
                inner = layer.u @ (layer.v @ h) + layer.bias
                h = h + torch.maximum(inner * layer.scale[member] + layer.shift[member], torch.zeros_like(h))
            total += torch.outer(h[len(x) :], h[: len(x)])
        changes[name] = (network.edit_lrs[index] * total).detach()
    return changes
