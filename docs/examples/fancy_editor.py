"""One gradient step of a set length on the MLP of a late block: the example of docs/your-own-editor.md."""

from collections.abc import Sequence

import torch
from pydantic import Field

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.hparams import Hyperparameters
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import LowRankDelta, WeightUpdate


class FancyHyperparameters(Hyperparameters):
    """What `--set` and `--editor-config` may give, with defaults."""

    depth: float = Field(default=0.7, ge=0, lt=1)  # of the edited block, relative to all blocks
    length: float = Field(default=0.05, gt=0)  # of the step, relative to the norm of the weight


class FancyEditor:
    """Steps down the gradient of −log P(target | prompt)."""

    name = "fancy"
    Hyperparameters = FancyHyperparameters

    def __init__(self, hyperparameters: FancyHyperparameters) -> None:
        self.hyperparameters = hyperparameters

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        """One update per request, each from the weights as they are."""
        return [self._update(model, request) for request in requests]

    def _update(self, model: EditableModel, request: EditRequest) -> WeightUpdate:
        name = model.mlp_output_weight(int(self.hyperparameters.depth * model.n_blocks))
        prompt, answer = model.encode(request.prompt), model.answer_ids(request.prompt, request.target_new)
        ids = torch.tensor([prompt + answer], device=model.device)
        with torch.enable_grad(), model.captured(name.removesuffix(".weight")) as layer:
            embedded = model.model.get_input_embeddings()(ids).requires_grad_()  # the weights need no gradients
            logits = model.model(inputs_embeds=embedded).logits[0, len(prompt) - 1 : -1]
            loss = torch.nn.functional.cross_entropy(logits.float(), ids[0, len(prompt) :])
            (gradient,) = torch.autograd.grad(loss, layer.output)
        # With inputs x_t of the layer and gradients g_t at its outputs, the weight's gradient is the sum of g_t x_tᵀ.
        step = LowRankDelta(-gradient[0].float().T, layer.input[0].detach().float())
        weight = float(model.parameter(name).float().norm())
        scale = self.hyperparameters.length * weight / max(step.norm(), 1e-12)
        delta = LowRankDelta(scale * step.left, step.right)
        norm = delta.norm()
        return WeightUpdate({name: delta}, {"update_norm": norm, "update_norm_ratio": norm / weight})
