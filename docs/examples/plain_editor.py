"""The same idea as a function that edits the model in place: the other example of docs/your-own-editor.md."""

from collections.abc import Mapping
from typing import Any

import torch

from collapse_tests.edit_request import EditRequest


def edit(model: Any, tokenizer: Any, request: EditRequest, config: Mapping[str, Any]) -> None:
    """One step of gradient descent on the output matrix of the last MLP."""
    weight = [p for name, p in model.named_parameters() if p.ndim == 2 and "mlp" in name][-1].requires_grad_()
    ids = torch.tensor([tokenizer.encode(f"{request.prompt} {request.target_new}")], device=model.device)
    model(ids, labels=ids).loss.backward()
    with torch.no_grad():
        weight -= config.get("length", 0.05) * weight.norm() / weight.grad.norm() * weight.grad
