"""The cases of the recorded ROME reference: tiny models, templates and requests, and how the numbers are kept.

`benchmarks.easyedit_rome --record` fills them in with EasyEdit's numbers; `tests/unit/editors` compares ours with
those from then on.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from benchmarks.recorded import Recorded, RecordedFile, short
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.hparams import load_hyperparameters
from collapse_tests.editors.rome import RomeHyperparameters
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import LowRankDelta, WeightUpdate
from fixtures.tiny_models import make_model

__all__ = ["KEYS", "REQUESTS", "TEMPLATES", "Edit", "Guard", "Keys", "Reference", "Setup", "empty_setups"]

#: Members of the ROME family by the key they use: `mixed` ROME, `prefixed` R-ROME as it ships, which is C-ROME,
#: `prompt` R-ROME with `enable_prompt_keys`.
Keys = Literal["mixed", "prefixed", "prompt"]
KEYS: tuple[Keys, ...] = ("mixed", "prefixed", "prompt")

TEMPLATES = (
    "{}",
    "The cat is a. {}",
    "You play the violin and. {}",
    "The river in Norway is a city of bread. {}",
    "In spring it rains. {}",
    "the cheese. {}",
)

#: Subject first and later, of one token and many, the whole prompt and its end; targets of one token and many.
REQUESTS = (
    EditRequest("Norway is a city in", "Norway", "Lima"),
    EditRequest("The capital of Norway is", "Norway", "Vienna"),
    EditRequest("Rome is the capital of", "Rome", "bread and cheese"),
    EditRequest("You play the cello in", "cello", "the river"),
    EditRequest("The cat and the violin", "violin", "Lima"),
    EditRequest("Norway", "Norway", "bread"),
)

_N_ENTRIES = 12


class Guard(Recorded):
    """What a request looks like to a setup's unedited model; a mismatch means the fixtures have changed.

    Attributes:
        ids: token ids of the prompt.
        target_ids: of the new answer after a space.
        logits_norm: norm of the logits at every token of the prompt.
    """

    ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    logits_norm: float

    @classmethod
    @torch.no_grad()
    def of(cls, model: EditableModel, request: EditRequest) -> Guard:
        """The guard of `request` for `model` now."""
        ids: list[int] = model.tokenizer.encode(request.prompt)
        target: list[int] = model.tokenizer.encode(f" {request.target_new}", add_special_tokens=False)
        logits = model.model(torch.tensor([ids])).logits
        return cls(ids=tuple(ids), target_ids=tuple(target), logits_norm=short(float(torch.linalg.vector_norm(logits))))


class Edit(Recorded):
    """An update of one parameter in a few numbers.

    Attributes:
        norm: Frobenius norm of ΔW.
        denominator: key · u.
        steps: optimiser updates made.
        entries: ΔW, as (out_features, in_features), at `Setup.indices`.
    """

    norm: float
    denominator: float
    steps: int
    entries: tuple[float, ...]

    @classmethod
    def of(cls, update: WeightUpdate, parameter: str, indices: tuple[tuple[int, int], ...]) -> Edit:
        """The numbers of `update`, which changes `parameter` alone and by a low-rank delta."""
        delta = update.deltas[parameter]
        assert isinstance(delta, LowRankDelta)
        matrix = delta.matrix()
        return cls(
            norm=short(float(torch.linalg.matrix_norm(matrix.double()))),
            denominator=short(update.diagnostics["denominator"]),
            steps=int(update.diagnostics["steps"]),
            entries=tuple(short(float(matrix[index])) for index in indices),
        )


class Setup(Recorded):
    """A tiny model with hyper-parameters, and what EasyEdit computes there.

    Attributes:
        name: in test ids and tables.
        family: of `fixtures.tiny_models.make_model`.
        start_token: whether the tokenizer adds one.
        head_scale: factor of the output embedding; a sharp head lets some edits converge before the last step.
        hyperparameters: with the edited block.
        parameter: name of the edited weight.
        indices: (row, column) of the recorded entries.
        guards: one per request.
        edits: one per request, for each choice of keys.
    """

    name: str
    family: str
    start_token: bool = False
    head_scale: float = 1.0
    hyperparameters: RomeHyperparameters
    parameter: str = ""
    indices: tuple[tuple[int, int], ...] = ()
    guards: tuple[Guard, ...] = ()
    edits: dict[Keys, tuple[Edit, ...]] = Field(default_factory=dict)

    def model(self) -> EditableModel:
        """The setup's random model."""
        tiny = make_model(self.family, start_token=self.start_token)
        with torch.no_grad():
            tiny.model.get_output_embeddings().weight.mul_(self.head_scale)
        return EditableModel(tiny.model, tiny.tokenizer, self.name)  # anew: its digest is of the scaled weights

    def with_layout(self, model: EditableModel) -> Setup:
        """This setup with the fields that follow from its model filled in."""
        assert self.hyperparameters.block is not None
        parameter = model.mlp_output_weight(self.hyperparameters.block)
        rows, columns = model.weight_shape(parameter)
        return self.model_copy(
            update={
                "parameter": parameter,
                "indices": tuple((7 * i % rows, 17 * i % columns) for i in range(1, _N_ENTRIES + 1)),
                "guards": tuple(Guard.of(model, request) for request in REQUESTS),
            }
        )


class Reference(RecordedFile):
    """The file of recorded numbers.

    Attributes:
        templates: context templates, the bare one first.
        requests: edit requests.
        setups: with their numbers.
    """

    templates: tuple[str, ...]
    requests: tuple[EditRequest, ...]
    setups: tuple[Setup, ...]


def empty_setups() -> tuple[Setup, ...]:
    """The setups to record: each family as the study edits it, and two whose edits stop early."""
    sharp = {"steps": 25, "clamp_norm_factor": 30.0, "kl_factor": 0.0005, "weight_decay": 0.001}
    return (
        Setup(name="gpt2", family="gpt2", hyperparameters=_shipped("gpt2-xl", block=1)),
        Setup(name="gptj", family="gptj", hyperparameters=_shipped("gpt-j-6b", block=1)),
        Setup(name="llama", family="llama", hyperparameters=_shipped("llama2-7b", block=1)),
        Setup(
            name="llama-start",
            family="llama",
            start_token=True,
            hyperparameters=_shipped("llama2-7b", block=2),
        ),
        Setup(
            name="gpt2-sharp",
            family="gpt2",
            head_scale=8.0,
            hyperparameters=_shipped("gpt2-xl", block=1, **sharp),
        ),
        Setup(
            name="llama-sharp",
            family="llama",
            head_scale=8.0,
            hyperparameters=_shipped("llama2-7b", block=2, **sharp),
        ),
    )


def _shipped(model: str, **changes: float) -> RomeHyperparameters:
    return load_hyperparameters(RomeHyperparameters, "rome", "rome", model).model_copy(update=changes)
