"""EasyEdit's ROME and R-ROME as a peer to compare with, run from a checkout that the user already has."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.rome_reference import Keys
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.apply_function import customary_state
from collapse_tests.editors.easyedit.algorithms import ALGORITHMS
from collapse_tests.editors.easyedit.imports import import_algorithm
from collapse_tests.editors.easyedit.installation import Installation
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.rome import Rome, RomeHyperparameters
from collapse_tests.errors import UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.specs import FAMILIES
from collapse_tests.weight_update import LowRankDelta, WeightUpdate

__all__ = ["PEER_BATCH_SIZE", "EasyEditRome", "Subject", "padded_me_ppl"]

#: Sentences per forward pass in the study's own perplexity measurement.
PEER_BATCH_SIZE = 10

#: Which of EasyEdit's own files names the modules of a family.
_MODULES_FROM = {"gpt2": "gpt2-xl.yaml", "gptj": "gpt-j-6B.yaml", "llama": "llama-7b.yaml"}


_DENOMINATOR = re.compile(r"^Division Factor: (\S+)$", re.MULTILINE)
_LOSS = re.compile(r"^loss (\S+) = ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Subject:
    """What both sides are given.

    Attributes:
        model: unedited.
        hyperparameters: without covariance; `keys` is replaced.
        templates: context templates; the bare one first.
        requests: to edit.
    """

    model: EditableModel
    hyperparameters: RomeHyperparameters
    templates: tuple[str, ...]
    requests: tuple[EditRequest, ...]

    def editor(self, keys: Keys) -> Rome:
        """Our editor, prepared."""
        editor = Rome("rome", self.hyperparameters.model_copy(update={"keys": keys}), self.templates)
        editor.prepare(self.model, EditorContext())
        return editor


class EasyEditRome:
    """ROME and R-ROME of an EasyEdit checkout, with the context templates given rather than sampled.

    Args:
        checkout: root of the checkout.

    Raises:
        UsageError: `checkout` is none, or its modules cannot be imported.
    """

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        try:
            installation = Installation.of_checkout(checkout)
            self._rome = import_algorithm(ALGORITHMS["rome"], installation)
            self._r_rome = import_algorithm(ALGORITHMS["r-rome"], installation)
        except UsageError as error:
            raise UsageError(f"--easyedit {checkout}: {error}") from error

    def update(self, subject: Subject, request: EditRequest, keys: Keys) -> WeightUpdate:
        """EasyEdit's update for one request; the model, its tokenizer and its gradient flags are left as found.

        Returns:
            The rank-one update in the orientation of `LowRankDelta`; its diagnostics are what EasyEdit prints:
            `denominator`, `steps` (optimiser updates made) and `final_loss` (to three decimals).

        Raises:
            UsageError: a second moment is asked for, which this peer does not pass on.
        """
        if subject.hyperparameters.second_moment is not None:
            raise UsageError("second_moment: the comparison with EasyEdit runs without covariance; leave it unset")
        model = subject.model
        main = self._rome if keys == "mixed" else self._r_rome
        execute = main.execute_rome if keys == "mixed" else main.execute_r_rome
        settings = self._settings(main, subject, keys)
        fields = {"prompt": request.prompt, "subject": request.subject, "target_new": request.target_new}
        main.CONTEXT_TEMPLATES_CACHE = list(subject.templates)
        try:
            with customary_state(model), contextlib.redirect_stdout(io.StringIO()) as printed:
                deltas = execute(model.model, model.tokenizer, fields, settings)
        finally:
            main.CONTEXT_TEMPLATES_CACHE = None  # it would be taken for the next model's
        return _as_update(deltas, printed.getvalue())

    def _settings(self, main: Any, subject: Subject, keys: Keys) -> Any:
        """EasyEdit's hyper-parameter object: its own module names, our numbers."""
        model, ours = subject.model, subject.hyperparameters
        file = _MODULES_FROM[FAMILIES[model.config.model_type]]
        schema, folder = (main.ROMEHyperParams, "ROME") if keys == "mixed" else (main.R_ROMEHyperParams, "R-ROME")
        choice = {"enable_prompt_keys": keys == "prompt", "enable_random_prefix_keys": keys == "prefixed"}
        shipped = schema.from_hparams(str(self.checkout / "hparams" / folder / file))
        return dataclasses.replace(
            shipped,
            layers=[subject.editor(keys).block(model)],
            v_num_grad_steps=ours.steps,
            v_lr=ours.learning_rate,
            v_weight_decay=ours.weight_decay,
            clamp_norm_factor=ours.clamp_norm_factor,
            kl_factor=ours.kl_factor,
            v_loss_layer=model.n_blocks - 1,
            mom2_adjustment=False,
            fact_token="subject_last",
            device=str(model.device),
            **({} if keys == "mixed" else choice),
        )


@torch.no_grad()
def padded_me_ppl(model: EditableModel, texts: Sequence[str], batch_size: int = PEER_BATCH_SIZE) -> float:
    """ME-PPL by plain padded forward passes over the whole model, as the study measures it after each edit.

    Sentences are taken in the order given; no start token is added. Every one needs two tokens or more.
    """
    total = 0.0
    with customary_state(model):
        for start in range(0, len(texts), batch_size):
            rows = model.tokenizer(
                list(texts[start : start + batch_size]), add_special_tokens=False, padding=True, return_tensors="pt"
            ).to(model.device)
            logits = model.model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).logits
            labels = rows["input_ids"][:, 1:]
            # Flat, as torch sums over a vocabulary that is not the last axis with an error of 1e-4.
            losses = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels.flatten(), reduction="none")
            nll = losses.view(labels.shape)
            real = rows["attention_mask"][:, 1:]
            total += float(((nll * real).sum(1).double() / real.sum(1)).exp().sum())
    return total / len(texts)


def _as_update(deltas: dict[str, tuple[torch.Tensor, torch.Tensor]], printed: str) -> WeightUpdate:
    # EasyEdit calls the input-side factor left and the output-side factor right.
    ours = {name: LowRankDelta(value[:, None], key[None, :]) for name, (key, value) in deltas.items()}
    losses = [float(loss) for loss in _LOSS.findall(printed)]
    (denominator,) = _DENOMINATOR.findall(printed)
    return WeightUpdate(
        ours, {"denominator": float(denominator), "steps": float(len(losses) - 1), "final_loss": losses[-1]}
    )
