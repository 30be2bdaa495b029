"""Compare ROME with EasyEdit's: the same updates.

    python -m benchmarks.easyedit_rome --easyedit PATH_OF_A_CHECKOUT

Both run in this process on the same model, requests, context templates, hyper-parameters and stop rule. `--record`
writes EasyEdit's numbers on tiny models to the file that the unit tests compare with.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import torch
from rich.progress import track
from rich.table import Table

from benchmarks.easyedit_peer import EasyEditRome, Subject
from benchmarks.recorded import commit_of
from benchmarks.rome_reference import KEYS, REQUESTS, TEMPLATES, Edit, Keys, Reference, empty_setups
from benchmarks.surroundings import wide_console
from collapse_tests.datasets.requests import load_requests
from collapse_tests.editors.contexts import generate_templates
from collapse_tests.editors.hparams import load_hyperparameters
from collapse_tests.editors.rome import RomeHyperparameters
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.models.loading import load_model
from collapse_tests.settings import DEFAULT_EDITS, DEFAULT_MODEL, Settings
from collapse_tests.weight_update import LowRankDelta, WeightUpdate

__all__ = ["main"]

#: Updates further apart than this, relative to their norm, do not come of rounding.
TOLERANCE = 1e-4

_METHODS: dict[Keys, str] = {"mixed": "rome", "prefixed": "c-rome, r-rome", "prompt": "r-rome keys=prompt"}

#: Compared on a real model, where an edit of EasyEdit's takes long.
REAL_KEYS: tuple[Keys, ...] = ("mixed", "prefixed")

console = wide_console(120)


@dataclass(frozen=True, slots=True)
class Parity:
    """How one method agrees on one model: relative errors and (EasyEdit, ours) pairs, one per request."""

    model: str
    method: str
    errors: list[float] = field(default_factory=list)
    denominators: list[tuple[float, float]] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether every update is the same but for rounding."""
        return all(error <= TOLERANCE for error in self.errors) and all(theirs == ours for theirs, ours in self.steps)


def relative_error(theirs: WeightUpdate, ours: WeightUpdate) -> float:
    """‖ΔW − ΔW'‖ / ‖ΔW'‖ in the Frobenius norm; inf if another parameter is changed or a number is not finite."""
    ((name, expected),) = theirs.deltas.items()
    found = ours.deltas.get(name)
    if len(ours.deltas) != 1 or not isinstance(expected, LowRankDelta) or not isinstance(found, LowRankDelta):
        return math.inf
    difference = torch.linalg.matrix_norm(found.matrix().double() - expected.matrix().double())
    error = float(difference / torch.linalg.matrix_norm(expected.matrix().double()))
    return error if math.isfinite(error) else math.inf


def compare(peer: EasyEditRome, subject: Subject, keys: Keys) -> Parity:
    """Edit every request with both, ours as one batch.

    Raises:
        InfrastructureError: one of them changed the model, so that the rest would compare different things.
    """
    parity = Parity(subject.model.name, _METHODS[keys])
    ours = subject.editor(keys).compute_updates(subject.model, subject.requests)
    label = f"{parity.model}, {parity.method}"
    requests = track(subject.requests, label, console=console, transient=True, disable=not console.is_terminal)
    for request, mine in zip(requests, ours, strict=True):
        theirs = peer.update(subject, request, keys)
        parity.errors.append(relative_error(theirs, mine))
        parity.denominators.append((theirs.diagnostics["denominator"], mine.diagnostics["denominator"]))
        parity.steps.append((int(theirs.diagnostics["steps"]), int(mine.diagnostics["steps"])))
    if changed := subject.model.changed_tensors():
        raise InfrastructureError(f"{label}: {', '.join(changed)} of the unedited model has changed")
    return parity


def record(peer: EasyEditRome, path: Path) -> None:
    """Write EasyEdit's numbers on the reference setups to `path`."""
    setups = []
    for empty in empty_setups():
        model = empty.model()
        setup = empty.with_layout(model)
        subject = Subject(model, setup.hyperparameters, TEMPLATES, REQUESTS)
        edits = {
            keys: tuple(
                Edit.of(peer.update(subject, request, keys), setup.parameter, setup.indices) for request in REQUESTS
            )
            for keys in KEYS
        }
        setups.append(setup.model_copy(update={"edits": edits}))
    versions = {"EasyEdit": commit_of(peer.checkout)} | {name: version(name) for name in ("torch", "transformers")}
    Reference(recorded_with=versions, templates=TEMPLATES, requests=REQUESTS, setups=tuple(setups)).write(path)
    console.print(f"recorded {len(setups)} setups in {path}")


def tiny_subjects() -> list[Subject]:
    """The reference setups, freshly built."""
    return [Subject(setup.model(), setup.hyperparameters, TEMPLATES, REQUESTS) for setup in empty_setups()]


def real_subject(arguments: argparse.Namespace) -> Subject:
    """The model of the command line with shipped hyper-parameters, generated templates and all requests."""
    named = load_requests(arguments.edits)
    settings = Settings(editors=("rome",), device=arguments.device, matmul_precision="float32")
    model = load_model(arguments.model, settings, console.print)
    hyperparameters = load_hyperparameters(RomeHyperparameters, "rome", "rome", arguments.model)
    templates = generate_templates(model, hyperparameters.context_lengths, settings.seed)
    return Subject(model, hyperparameters, templates, tuple(edit.request for edit in named))


def with_fewer(subject: Subject, count: int) -> Subject:
    """`subject` with at most `count` requests, spread evenly: a set may hold hard requests first."""
    total = len(subject.requests)
    chosen = [subject.requests[index * total // count] for index in range(count)] if count < total else []
    return replace(subject, requests=tuple(chosen) or subject.requests)


def parity_table(rows: Sequence[Parity]) -> Table:
    """One line per model and method; the error and the denominators are those of the worst request."""
    table = Table(title="Agreement with EasyEdit, worst of the requests", caption=f"tolerance {TOLERANCE:g}")
    for column in ("model", "method", "edits", "error of ΔW", "denominator", "(ours)", "steps", "(ours)"):
        table.add_column(column, justify="left" if column in {"model", "method"} else "right", no_wrap=True)
    for row in rows:
        worst = row.errors.index(max(row.errors))
        table.add_row(
            row.model,
            row.method,
            str(len(row.errors)),
            f"{row.errors[worst]:.1e}",
            *(f"{denominator:.6g}" for denominator in row.denominators[worst]),
            *(_span(steps) for steps in zip(*row.steps, strict=True)),
            style=None if row.agrees else "bold red",
        )
    return table


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}–{high}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 if every update agrees, 1 if not, 2 for bad input."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except (UsageError, InfrastructureError) as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False)
        return 2


def _run(arguments: argparse.Namespace) -> int:
    peer = EasyEditRome(arguments.easyedit)
    if arguments.record is not None:
        record(peer, arguments.record)
        return 0
    real = None if arguments.tiny else real_subject(arguments)
    rows = [compare(peer, subject, keys) for subject in tiny_subjects() for keys in KEYS]
    if real is not None:
        rows += [compare(peer, with_fewer(real, arguments.requests), keys) for keys in REAL_KEYS]
    console.print(parity_table(rows))
    return 0 if all(row.agrees for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.easyedit_rome", description=__doc__.split("\n")[0])
    parser.add_argument("--easyedit", type=Path, required=True, metavar="PATH", help="an EasyEdit checkout")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name, directory or hub id (default: %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="compare on tiny random models only; load no other")
    parser.add_argument("--edits", default=DEFAULT_EDITS, help="request set or file (default: %(default)s)")
    parser.add_argument(
        "--requests", type=_count, default=4, metavar="N", help="requests on the real model (default: %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n (default: %(default)s)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write EasyEdit's numbers on tiny models and stop")
    return parser


def _count(text: str) -> int:
    if (number := int(text)) < 0:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
