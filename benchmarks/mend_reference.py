"""The cases of the recorded MEND reference: tiny models, hypernetworks and requests, and how the numbers are kept.

`benchmarks.easyedit_mend --record` fills them in with EasyEdit's numbers; `tests/unit/editors/mend` compares ours with
those from then on.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.recorded import Recorded, RecordedFile, short
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.hparams import load_hyperparameters
from collapse_tests.editors.mend import Mend, MendHyperparameters
from collapse_tests.editors.mend.gradients import InnerWeights
from collapse_tests.editors.mend.hypernetwork import Hypernetwork
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import LowRankDelta
from fixtures.tiny_models import make_model

__all__ = ["REQUESTS", "Edit", "Reference", "Setup", "change_of", "empty_setups"]

#: Prompts of different lengths; answers of one token and of many.
REQUESTS = (
    EditRequest("The capital of Norway is", "Norway", "Lima"),
    EditRequest("Rome is the capital of", "Rome", "bread and cheese"),
    EditRequest("You play the violin in Paris and in", "Paris", "the river"),
    EditRequest("The cat", "cat", "Vienna"),
)

_N_ENTRIES = 8


class Edit(Recorded):
    """The change of one weight in a few numbers.

    Attributes:
        norm: Frobenius norm of ΔW.
        entries: ΔW, as (out_features, in_features), at places spread over it.
    """

    norm: float
    entries: tuple[float, ...]

    @classmethod
    def of(cls, change: torch.Tensor) -> Edit:
        """The numbers of ΔW (out_features, in_features)."""
        rows, columns = change.shape
        places = [(7 * i % rows, 17 * i % columns) for i in range(1, _N_ENTRIES + 1)]
        return cls(
            norm=short(float(torch.linalg.matrix_norm(change.double()))),
            entries=tuple(short(float(change[place])) for place in places),
        )


class Setup(Recorded):
    """A tiny model with a random hypernetwork, and what EasyEdit computes there.

    Attributes:
        family: of `fixtures.tiny_models.make_model`.
        hidden_layers: of the hypernetwork.
        rank: of its layers.
        logits_norm: norm of the logits of all requests' prompts; a mismatch means that the fixtures have changed.
        edits: one per request, by weight.
    """

    family: str
    hidden_layers: int = 1
    rank: int = 12
    logits_norm: float = 0.0
    edits: tuple[dict[str, Edit], ...] = ()

    @property
    def name(self) -> str:
        """For test ids and tables."""
        return f"{self.family}-{self.hidden_layers}"

    def model(self) -> EditableModel:
        """The setup's random model, in float32, which is what EasyEdit's hypernetwork computes in."""
        return make_model(self.family)

    def editor(self, model: EditableModel) -> Mend:
        """Our editor with the setup's hypernetwork."""
        fields = load_hyperparameters(MendHyperparameters, "mend", "mend", "default").model_copy(
            update={"blocks": 2, "rank": self.rank, "hidden_layers": self.hidden_layers}
        )
        editor = Mend("mend", fields)
        editor.use(model, _filled(editor.new_network(model, InnerWeights.of_last_blocks(model, 2), seed=0)))
        return editor

    @torch.no_grad()
    def guard(self, model: EditableModel) -> float:
        """`logits_norm` now."""
        norms = [
            float(torch.linalg.vector_norm(model.model(torch.tensor([model.encode(request.prompt)])).logits))
            for request in REQUESTS
        ]
        return short(sum(norms))


def _filled(network: Hypernetwork) -> Hypernetwork:
    """A hypernetwork of which no part is trivial, with numbers that are the same on every version and processor."""
    numbers = np.random.default_rng(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            noise = torch.from_numpy(numbers.normal(size=tuple(tensor.shape)))
            if name.endswith("deviation"):
                noise = 0.02 + 0.01 * noise.abs()
            elif name.endswith(".scale"):
                noise = 1 + 0.2 * noise
            elif not name.endswith(".v"):
                noise = 0.02 * noise
            tensor.copy_(noise)
    return network


def change_of(model: EditableModel, editor: Mend, request: EditRequest) -> dict[str, torch.Tensor]:
    """Our ΔW of one request by weight, (out_features, in_features) each."""
    (update,) = editor.compute_updates(model, [request])
    return {name: delta.matrix() for name, delta in update.deltas.items() if isinstance(delta, LowRankDelta)}


class Reference(RecordedFile):
    """The file of recorded numbers.

    Attributes:
        requests: edit requests.
        setups: with their numbers.
    """

    requests: tuple[EditRequest, ...]
    setups: tuple[Setup, ...]


def empty_setups() -> tuple[Setup, ...]:
    """The setups to record: each family with the study's depth, and one deeper."""
    return (Setup(family="gpt2"), Setup(family="gptj"), Setup(family="llama"), Setup(family="llama", hidden_layers=2))
