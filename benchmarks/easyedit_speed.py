"""Seconds per edit and ME-PPL: EasyEdit one by one against ours in batches, in one process.

    python -m benchmarks.easyedit_speed --easyedit PATH_OF_A_CHECKOUT
    python -m benchmarks.easyedit_speed --easyedit PATH --size llama2-7b --precision tf32,bfloat16

Both sides get the same model, requests, context templates, steps and stop rule. EasyEdit computes in float32, as it
does by default; ours in every precision asked for. `--size` takes a model of the study's size with random weights, on
which no request stops early.

The utilisation is what was counted in matrix products and attention, over the time taken, as a share of the rate of a
large matrix product of the same type on the same device.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
from rich.table import Table

from benchmarks.arguments import names_among
from benchmarks.easyedit_peer import EasyEditRome, Subject, padded_me_ppl
from benchmarks.model_sizes import SIZES, random_model
from benchmarks.surroundings import wide_console
from benchmarks.utilisation import count_flops, now, product_rate
from collapse_tests.cache import cache_dir
from collapse_tests.datasets.requests import load_requests
from collapse_tests.datasets.texts import load_texts
from collapse_tests.editors.contexts import context_templates
from collapse_tests.editors.hparams import load_hyperparameters
from collapse_tests.editors.rome import RomeHyperparameters
from collapse_tests.engine.scoring import RowCache, Scorer
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.metrics.perplexity import perplexity, perplexity_rows
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.loading import load_model, resolve_device
from collapse_tests.settings import DEFAULT_EDITS, DEFAULT_MODEL, DEFAULT_PPL_TEXTS, Settings
from collapse_tests.weight_update import WeightUpdate

__all__ = ["main"]

PRECISIONS = ("float32", "tf32", "bfloat16-products", "bfloat16")

#: Requests, spread evenly, on which operations are counted.
COUNTED = 16

console = wide_console(120)


@dataclass(frozen=True, slots=True)
class Side:
    """What one side took, in seconds per edit; the utilisations are None where nobody counted.

    Attributes:
        name: of the side and its precision.
        edit: to compute the update.
        me_ppl: to measure ME-PPL under it.
        values: ME-PPL by request.
        steps: optimiser steps by request.
        utilisation: of the edit and of ME-PPL.
    """

    name: str
    edit: float
    me_ppl: float
    values: dict[int, float]
    steps: dict[int, int]
    utilisation: tuple[float, float] | None = None

    @property
    def both(self) -> float:
        """Edit and ME-PPL together."""
        return self.edit + self.me_ppl


def peer_side(peer: EasyEditRome, subject: Subject, texts: Sequence[str], rounds: int) -> Side:
    """EasyEdit's medians over `rounds` requests spread evenly, after one that does not count."""
    count, device = len(subject.requests), subject.model.device
    edits, measurements, values, steps = [], [], {}, {}
    for turn in range(-1, rounds):
        index = max(turn, 0) * count // rounds
        start = now(device)
        update = peer.update(subject, subject.requests[index], "mixed")
        edited = now(device)
        with subject.model.applied(update):
            values[index] = padded_me_ppl(subject.model, texts)
        done = now(device)
        steps[index] = int(update.diagnostics["steps"])
        console.print(f"EasyEdit, request {index}: {edited - start:.3f} s + {done - edited:.3f} s", highlight=False)
        if turn >= 0:
            edits.append(edited - start)
            measurements.append(done - edited)
    return Side("EasyEdit, float32", median(edits), median(measurements), values, steps)


def our_side(name: str, subject: Subject, texts: Sequence[str], rounds: int) -> Side:
    """Our medians over `rounds` batches, after a small one that does not count, and the operations of one more."""
    model, device, count = subject.model, subject.model.device, len(subject.requests)
    editor, scorer = subject.editor("mixed"), Scorer(model)
    cache = RowCache(perplexity_rows(model, texts))
    edits, measurements = [], []
    scorer.shared(cache, editor.compute_updates(model, subject.requests[: max(1, count // 16)]))
    updates: list[WeightUpdate] = []
    for _ in range(rounds):
        start = now(device)
        updates = editor.compute_updates(model, subject.requests)
        edited = now(device)
        scores = scorer.shared(cache, updates)
        done = now(device)
        edits.append((edited - start) / count)
        measurements.append((done - edited) / count)
        console.print(f"ours, {name}: {edits[-1]:.4f} s + {measurements[-1]:.4f} s an edit", highlight=False)
    rate = product_rate(model)
    some = range(0, count, max(1, count // COUNTED))  # counting is slow
    flops = (
        count_flops(lambda: editor.compute_updates(model, [subject.requests[index] for index in some])) / len(some),
        count_flops(lambda: scorer.shared(cache, [updates[index] for index in some])) / len(some),
    )
    seconds = median(edits), median(measurements)
    console.print(
        f"ours, {name}: {flops[0] / 1e12:.2f} + {flops[1] / 1e12:.3f} TFLOP an edit, "
        f"product rate {rate / 1e12:.3g} TFLOP/s",
        highlight=False,
    )
    used = tuple(work / time / rate for work, time in zip(flops, seconds, strict=True))
    values = {index: perplexity(score).me_ppl for index, score in enumerate(scores)}
    steps = {index: int(update.diagnostics["steps"]) for index, update in enumerate(updates)}
    return Side(f"ours, {name}", *seconds, values, steps, (used[0], used[1]))


def load(arguments: argparse.Namespace, precision: str) -> EditableModel:
    """The model of the command line in one precision."""
    dtype = "bfloat16" if precision == "bfloat16" else "float32"
    matmul = {"tf32": "tf32", "bfloat16-products": "bfloat16"}.get(precision, "float32")
    settings = Settings(editors=("rome",), device=arguments.device, dtype=dtype, matmul_precision=matmul)
    if arguments.size is None:
        return load_model(arguments.model, settings, console.print)
    tokenizer = load_model(DEFAULT_MODEL, replace(settings, device="cpu"), console.print).tokenizer
    device = resolve_device(arguments.device)
    console.print(f"making a model of {arguments.size}'s size on {device} in {dtype}")
    return random_model(arguments.size, tokenizer, device, getattr(torch, dtype), matmul)


def table(sides: Sequence[Side], title: str, caption: str) -> Table:
    """One line per side; ratios are to the first."""
    result = Table(title=title, caption=caption)
    for column in ("", "edit", "ME-PPL", "both", "times faster", "use, edit", "use, ME-PPL"):
        result.add_column(column, justify="right" if column else "left", no_wrap=True)
    for side in sides:
        used = [f"{100 * share:.0f} %" for share in side.utilisation or ()] or ["", ""]
        seconds = (f"{value:.4f}" for value in (side.edit, side.me_ppl, side.both))
        result.add_row(side.name, *seconds, f"{sides[0].both / side.both:.1f}", *used)
    return result


def agreement(theirs: Side, ours: Side) -> str:
    """How far ME-PPL and steps agree on the requests that both sides have."""
    shared = sorted(theirs.values.keys() & ours.values.keys())
    error = max(abs(ours.values[index] / theirs.values[index] - 1) for index in shared)
    steps = max(abs(ours.steps[index] - theirs.steps[index]) for index in shared)
    return f"{ours.name}: ME-PPL within {error:.1%} of EasyEdit's, steps within {steps}, on {len(shared)} requests"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 when done, 2 for bad input."""
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments)
    except (UsageError, InfrastructureError) as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False)
        return 2
    return 0


def _run(arguments: argparse.Namespace) -> None:
    named = load_requests(arguments.edits)
    count = min(arguments.batch_size, len(named))
    requests = tuple(named[index * len(named) // count].request for index in range(count))
    texts = load_texts(DEFAULT_PPL_TEXTS)
    name = arguments.size or arguments.model
    hyperparameters = load_hyperparameters(RomeHyperparameters, "rome", "rome", name)
    templates: tuple[str, ...] | None = None
    sides: list[Side] = []
    for precision in ("float32", *arguments.precision):
        model = load(arguments, precision)
        if templates is None:
            templates = _templates(arguments, model, hyperparameters)
        subject = Subject(model, hyperparameters, templates, requests)
        if not sides:
            sides.append(peer_side(EasyEditRome(arguments.easyedit), subject, texts, arguments.rounds))
        else:
            sides.append(our_side(precision, subject, texts, arguments.our_rounds))
        del model, subject
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    kind = "random weights" if arguments.size else "pretrained"
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    caption = f"{where}; EasyEdit: median of {arguments.rounds} requests; ours: batches of {count}"
    console.print(table(sides, f"Seconds per edit and ME-PPL of {len(texts)} sentences, {name}, {kind}", caption))
    for side in sides[1:]:
        console.print(agreement(sides[0], side), highlight=False)


def _templates(
    arguments: argparse.Namespace, model: EditableModel, hyperparameters: RomeHyperparameters
) -> tuple[str, ...]:
    """The default model's own context templates, for models with random weights, too: theirs would be noise."""
    if arguments.size is not None:
        settings = Settings(editors=("rome",), device=arguments.device)
        model = load_model(DEFAULT_MODEL, settings, console.print)
    return context_templates(model, hyperparameters.context_lengths, 0, cache_dir())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.easyedit_speed", description=__doc__.split("\n")[0])
    parser.add_argument("--easyedit", type=Path, required=True, metavar="PATH", help="an EasyEdit checkout")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name, directory or hub id (default: %(default)s)")
    parser.add_argument("--size", choices=SIZES, help="instead: a model of this size with random weights")
    parser.add_argument("--edits", default=DEFAULT_EDITS, help="request set or file (default: %(default)s)")
    parser.add_argument(
        "--precision",
        type=names_among(PRECISIONS),
        default=("float32",),
        metavar="P,…",
        help=f"ours: {', '.join(PRECISIONS)} (default: float32)",
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="EasyEdit's requests (default: %(default)s)")
    parser.add_argument("--our-rounds", type=int, default=1, metavar="N", help="batches of ours (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="our requests (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
