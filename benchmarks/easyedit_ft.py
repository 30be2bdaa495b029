"""Compare fine-tuning with EasyEdit's: the same updates.

    python -m benchmarks.easyedit_ft --easyedit PATH_OF_A_CHECKOUT

Both run in this process on the same model, requests, hyper-parameters and stop rule; EasyEdit gets one request at a
time, as its editor does by itself. `--record` writes EasyEdit's numbers on tiny models to the file that the unit tests
compare with.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.recorded import Recorded, RecordedFile, commit_of, short
from benchmarks.rome_reference import REQUESTS, Guard
from collapse_tests.datasets.requests import load_requests
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.apply_function import customary_state
from collapse_tests.editors.easyedit.algorithms import ALGORITHMS
from collapse_tests.editors.easyedit.imports import import_algorithm
from collapse_tests.editors.easyedit.installation import Installation
from collapse_tests.editors.ft import FineTuning, FineTuningHyperparameters
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.registry import create_editor
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.loading import load_model
from collapse_tests.models.specs import FAMILIES
from collapse_tests.settings import DEFAULT_EDITS, DEFAULT_MODEL, Settings
from collapse_tests.weight_update import DenseDelta, WeightUpdate
from fixtures.tiny_models import make_model

__all__ = ["Edit", "Reference", "Setup", "empty_setups", "main"]

#: Updates on tiny float64 models further apart than this, relative to their norm, do not come of rounding; rotary
#: angles are float32 there, too.
TOLERANCE = 1e-4

#: In float32, entries whose gradient is near rounding may go the other way.
REAL_TOLERANCE = 0.02

#: Which of EasyEdit's own files names the modules of a family.
_MODULES_FROM = {"gpt2": "gpt2-xl.yaml", "gptj": "gpt-j-6B.yaml", "llama": "llama-7b.yaml"}

_LOSS = re.compile(r"^Batch loss (\S+)$", re.MULTILINE)
_N_ENTRIES = 12

console = Console(width=None if sys.stdout.isatty() else 120)


# The recorded reference ---------------------------------------------------------------------------------------


class Edit(Recorded):
    """An update in a few numbers.

    Attributes:
        steps: optimiser updates made.
        norms: parameter name → Frobenius norm of its change.
        entries: parameter name → its change at a few places, spread over the stored parameter.
    """

    steps: int
    norms: dict[str, float]
    entries: dict[str, tuple[float, ...]]

    @classmethod
    def of(cls, update: WeightUpdate) -> Edit:
        """The numbers of a dense update."""
        norms, entries = {}, {}
        for name, delta in sorted(update.deltas.items()):
            assert isinstance(delta, DenseDelta)
            flat = delta.delta.flatten()
            norms[name] = short(delta.norm())
            entries[name] = tuple(short(float(flat[37 * place % len(flat)])) for place in range(1, _N_ENTRIES + 1))
        return cls(steps=int(update.diagnostics["steps"]), norms=norms, entries=entries)


class Setup(Recorded):
    """A tiny model with hyper-parameters, and what EasyEdit computes there.

    Attributes:
        name: in test ids and tables.
        family: of `fixtures.tiny_models.make_model`; in float64.
        head_scale: factor of the output embedding; a sharp head lets some edits converge before the last step.
        hyperparameters: with the trained block.
        guards: one per request.
        edits: one per request.
    """

    name: str
    family: Literal["gpt2", "gptj", "llama"]
    head_scale: float = 1.0
    hyperparameters: FineTuningHyperparameters
    guards: tuple[Guard, ...] = ()
    edits: tuple[Edit, ...] = ()

    def model(self) -> EditableModel:
        """The setup's random model."""
        tiny = make_model(self.family, dtype="float64")
        with torch.no_grad():
            tiny.model.get_output_embeddings().weight.mul_(self.head_scale)
        return EditableModel(tiny.model, tiny.tokenizer, self.name)  # anew: its digest is of the scaled weights


class Reference(RecordedFile):
    """The file of recorded numbers.

    Attributes:
        requests: edit requests.
        setups: with their numbers.
    """

    requests: tuple[EditRequest, ...]
    setups: tuple[Setup, ...]


def empty_setups() -> tuple[Setup, ...]:
    """The setups to record: each family constrained and free, by either objective, and some that stop early."""
    constrained = FineTuningHyperparameters(block=0, steps=25, learning_rate=5e-4, norm_constraint=5e-4)
    free = constrained.model_copy(update={"block": 2, "norm_constraint": None})
    fast = free.model_copy(update={"block": 1, "learning_rate": 2e-2})
    answers = constrained.model_copy(update={"block": 1, "objective": "target_new"})
    families: tuple[Literal["gpt2", "gptj", "llama"], ...] = ("gpt2", "gptj", "llama")
    return tuple(
        setup
        for family in families
        for setup in (
            Setup(name=f"{family}-constrained", family=family, hyperparameters=constrained),
            Setup(name=f"{family}-free", family=family, hyperparameters=free),
            Setup(name=f"{family}-fast", family=family, head_scale=8.0, hyperparameters=fast),
            Setup(name=f"{family}-target-new", family=family, hyperparameters=answers),
        )
    )


# EasyEdit -----------------------------------------------------------------------------------------------------


class EasyEditFineTuning:
    """FT of an EasyEdit checkout.

    Args:
        checkout: root of the checkout.

    Raises:
        UsageError: `checkout` is none, or its modules cannot be imported.
    """

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        try:
            self._main = import_algorithm(ALGORITHMS["ft"], Installation.of_checkout(checkout))
        except UsageError as error:
            raise UsageError(f"--easyedit {checkout}: {error}") from error

    def update(self, model: EditableModel, fields: FineTuningHyperparameters, request: EditRequest) -> WeightUpdate:
        """EasyEdit's update for one request; the model, its tokenizer and its gradient flags are left as found.

        The update is what `apply_ft_to_model` has changed, and the changed weights are put back.
        """
        assert fields.block is not None
        settings = self._settings(model, fields)
        content = {"prompt": request.prompt, "target_new": request.target_new}
        side = "left" if fields.objective == "target_new" else "right"  # what each objective takes for granted
        with customary_state(model, side), contextlib.redirect_stdout(io.StringIO()) as printed:
            edited, originals = self._main.apply_ft_to_model(
                model.model, model.tokenizer, [content], settings, return_orig_weights=True
            )
        parameters = dict(edited.named_parameters())
        deltas = {name: DenseDelta((parameters[name] - old).detach().clone()) for name, old in originals.items()}
        model.restore(originals)
        losses = [float(loss) for loss in _LOSS.findall(printed.getvalue())]
        return WeightUpdate(deltas, {"steps": float(sum(loss >= fields.stop_loss for loss in losses))})

    def _settings(self, model: EditableModel, fields: FineTuningHyperparameters) -> Any:
        """EasyEdit's hyper-parameter object: its own module names, our numbers."""
        file = self.checkout / "hparams" / "FT" / _MODULES_FROM[FAMILIES[model.config.model_type]]
        settings = self._main.FTHyperParams.from_hparams(str(file))
        settings.layers = [fields.block]
        settings.num_steps = fields.steps
        settings.lr = fields.learning_rate
        settings.norm_constraint = False if fields.norm_constraint is None else fields.norm_constraint
        settings.objective_optimization = fields.objective
        settings.batch_size = 1
        settings.device = str(model.device)
        return settings


# The comparison -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parity:
    """How the two agree on one model with one setting, a value per request.

    Attributes:
        name: of model and setting.
        tolerance: largest relative error that is rounding.
        errors: ‖ΔW − ΔW′‖ / ‖ΔW′‖ with EasyEdit's ΔW′, over all parameters together.
        steps: (EasyEdit's, ours).
    """

    name: str
    tolerance: float
    errors: list[float]
    steps: list[tuple[int, int]]

    @property
    def agrees(self) -> bool:
        """Whether every update is the same but for rounding."""
        same = all(theirs == ours for theirs, ours in self.steps)
        return same and all(error <= self.tolerance for error in self.errors)


def relative_error(theirs: WeightUpdate, ours: WeightUpdate) -> float:
    """‖ΔW − ΔW′‖ / ‖ΔW′‖ over all parameters; inf if others are changed or a number is not finite."""
    if theirs.deltas.keys() != ours.deltas.keys():
        return math.inf
    apart = []
    for name, expected in theirs.deltas.items():
        found = ours.deltas[name]
        assert isinstance(expected, DenseDelta)
        assert isinstance(found, DenseDelta)
        apart.append(DenseDelta(found.delta.double() - expected.delta.double().cpu()).norm())
    error = math.hypot(*apart) / (theirs.norm() or math.nan)
    return error if math.isfinite(error) else math.inf


def compare(
    peer: EasyEditFineTuning,
    model: EditableModel,
    editor: FineTuning,
    requests: Sequence[EditRequest],
    name: str,
    tolerance: float,
) -> Parity:
    """Edit every request with both, ours as one batch.

    Raises:
        InfrastructureError: one of them changed the model, so that the rest would compare different things.
    """
    fields = editor.hyperparameters.model_copy(update={"block": editor.block(model)})
    ours = editor.compute_updates(model, requests)
    theirs = [peer.update(model, fields, request) for request in requests]
    if changed := model.changed_tensors():
        raise InfrastructureError(f"{name}: {', '.join(changed)} of the unedited model has changed")
    pairs = list(zip(theirs, ours, strict=True))
    return Parity(
        name=name,
        tolerance=tolerance,
        errors=[relative_error(*pair) for pair in pairs],
        steps=[(int(first.diagnostics["steps"]), int(second.diagnostics["steps"])) for first, second in pairs],
    )


def record(peer: EasyEditFineTuning, path: Path) -> None:
    """Write EasyEdit's numbers on the reference setups to `path`."""
    setups = []
    for setup in empty_setups():
        model = setup.model()
        guards = tuple(Guard.of(model, request) for request in REQUESTS)
        edits = tuple(Edit.of(peer.update(model, setup.hyperparameters, request)) for request in REQUESTS)
        setups.append(setup.model_copy(update={"guards": guards, "edits": edits}))
    versions = {"EasyEdit": commit_of(peer.checkout)} | {name: version(name) for name in ("torch", "transformers")}
    Reference(recorded_with=versions, requests=REQUESTS, setups=tuple(setups)).write(path)
    console.print(f"recorded {len(setups)} setups in {path}")


def tiny_rows(peer: EasyEditFineTuning) -> list[Parity]:
    """The comparison on the reference setups."""
    rows = []
    for setup in empty_setups():
        editor = FineTuning("ft", setup.hyperparameters)
        rows.append(compare(peer, setup.model(), editor, REQUESTS, setup.name, TOLERANCE))
    return rows


def real_rows(peer: EasyEditFineTuning, arguments: argparse.Namespace) -> list[Parity]:
    """The comparison on the model of the command line, with the hyper-parameters it ships with."""
    settings = Settings(editors=("ft",), device=arguments.device, matmul_precision="float32")
    model = load_model(arguments.model, settings, console.print)
    requests = [named.request for named in load_requests(arguments.edits)][: arguments.requests]
    rows = []
    for name in ("ft", "ft-unconstrained"):
        editor = create_editor(name, arguments.model, settings)
        assert isinstance(editor, FineTuning)
        editor.prepare(model, EditorContext())
        rows.append(compare(peer, model, editor, requests, f"{arguments.model}, {name}", REAL_TOLERANCE))
    return rows


def parity_table(rows: Sequence[Parity]) -> Table:
    """One line per model and setting."""
    table = Table(title="Agreement with EasyEdit's FT")
    for column in ("model and setting", "edits", "worst error of ΔW", "tolerance", "steps", "(ours)"):
        table.add_column(column, justify="left" if column == "model and setting" else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            str(len(row.errors)),
            f"{max(row.errors):.1e}",
            f"{row.tolerance:g}",
            *(" ".join(str(count) for count in counts) for counts in zip(*row.steps, strict=True)),
            style=None if row.agrees else "bold red",
        )
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 if every update agrees, 1 if not, 2 for bad input."""
    arguments = _parser().parse_args(argv)
    try:
        peer = EasyEditFineTuning(arguments.easyedit)
        if arguments.record is not None:
            record(peer, arguments.record)
            return 0
        rows = tiny_rows(peer)
        if arguments.model is not None:
            rows += real_rows(peer, arguments)
    except (UsageError, InfrastructureError) as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False)
        return 2
    console.print(parity_table(rows))
    return 0 if all(row.agrees for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.easyedit_ft", description=__doc__.split("\n")[0])
    parser.add_argument("--easyedit", type=Path, required=True, metavar="PATH", help="an EasyEdit checkout")
    parser.add_argument(
        "--model", nargs="?", const=DEFAULT_MODEL, help=f"a real model as well; without a name {DEFAULT_MODEL}"
    )
    parser.add_argument("--edits", default=DEFAULT_EDITS, help="request set or file (default: %(default)s)")
    parser.add_argument(
        "--requests", type=_count, default=4, metavar="N", help="requests on the real model (default: %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n (default: %(default)s)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write EasyEdit's numbers on tiny models and stop")
    return parser


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
