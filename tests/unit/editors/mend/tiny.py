"""Requests, settings and hypernetworks for tiny models."""

from __future__ import annotations

import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.mend.editor import Mend, MendHyperparameters
from collapse_tests.editors.mend.gradients import InnerWeights
from collapse_tests.editors.mend.hypernetwork import Hypernetwork
from collapse_tests.models.editable import EditableModel

#: Prompts of different lengths, answers of one token and of many; the tiny tokenizers take other text as bytes.
REQUESTS = (
    EditRequest("The capital of Norway is", "Norway", "Lima"),
    EditRequest("Rome is the capital of", "Rome", "Peru"),
    EditRequest("You play the violin in Paris and in", "Paris", "a city of cheese"),
    EditRequest("The cat", "cat", "rain"),
)

FIELDS = MendHyperparameters(
    blocks=2,
    rank=12,
    hidden_layers=1,
    edit_lr=-0.001,
    steps=12,
    batch_size=4,
    learning_rate=1e-3,
    edit_lr_learning_rate=1e-4,
    edit_factor=0.1,
    locality_factor=1.0,
    base_factor=0.0,
    outer="rephrase",
    gradient_clip=100.0,
    validate_every=4,
    patience=10,
    validation_requests=4,
)


def training_requests(count: int = 20) -> list[EditRequest]:
    """Requests with rephrasing and locality prompt, one subject each."""
    answers = ("Lima", "Oslo", "Vienna", "Rome", "bread")
    return [
        EditRequest(
            prompt=f"The city of X{index} is",
            subject=f"X{index}",
            target_new=answers[index % 5],
            ground_truth=answers[(index + 1) % 5],
            rephrase_prompt=f"You play in X{index} and",
            locality_prompt=f"The river of Y{index} is",
            locality_ground_truth=answers[(index + 2) % 5],
        )
        for index in range(count)
    ]


def random_network(model: EditableModel, fields: MendHyperparameters = FIELDS, seed: int = 0) -> Hypernetwork:
    """A hypernetwork none of whose parts is trivial, as after training."""
    weights = InnerWeights.of_last_blocks(model, fields.blocks)
    network = Mend("mend", fields).new_network(model, weights, seed)
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            noise = torch.randn(tensor.shape, generator=numbers).to(tensor.dtype)
            if name.endswith("deviation"):
                tensor.copy_(0.02 + 0.01 * noise.abs())
            elif name.endswith("mean"):
                tensor.copy_(0.01 * noise)
            elif name.endswith((".u", ".bias", ".shift")):
                tensor.copy_(0.05 * noise)
            elif name.endswith(".scale"):
                tensor.copy_(1 + 0.2 * noise)
            elif name == "edit_lrs":
                tensor.copy_(1e-4 * noise)
    return network
