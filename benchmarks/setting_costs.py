"""What a case costs on models of the study's sizes, editor by editor: the numbers that `benchmarks.cost_model` needs.

    python -m benchmarks.setting_costs --edits FILE --sizes gpt2-xl,gpt-j-6b,llama2-7b --out FILE.yaml
    python -m benchmarks.setting_costs --edits FILE --sizes smollm2-135m --cases 512 --out FILE.yaml

Weights are random, so no optimisation stops early: the worst case. One-off work is cut short (MEND trains a few steps,
second moments are of a few tokens) and reported per step and per token. The first batch does not count.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.table import Table

from benchmarks.arguments import names_among
from benchmarks.model_sizes import SIZES, random_model
from benchmarks.surroundings import wide_console
from collapse_tests.cases import Case
from collapse_tests.datasets.requests import NamedRequest, load_requests
from collapse_tests.datasets.texts import load_texts
from collapse_tests.editors.protocol import BoundedEditor, no_progress
from collapse_tests.engine.bench import Bench
from collapse_tests.engine.runner import BatchRunner
from collapse_tests.engine.setting_up import make_editor, prepare_for
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.loading import load_model, resolve_device
from collapse_tests.models.workload import requests_per_batch
from collapse_tests.settings import DEFAULT_MODEL, DEFAULT_PPL_TEXTS, Downstream, Override, Settings

__all__ = ["main"]

EDITORS = ("rome", "memit", "ft", "mend")

#: Training steps of MEND, and of its validation requests, that are made.
TRAINING_STEPS, VALIDATION_REQUESTS = 20, 20

#: Tokens of second moments, in multiples of the layer's width, that are counted.
TOKENS_PER_INPUT = 2

console = wide_console(110)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write the numbers."""
    arguments = _parser().parse_args(argv)
    requests = load_requests(arguments.edits)
    found = []
    for size in arguments.sizes:
        settings = Settings(("rome",), models=(size,), dtype=arguments.dtype, ppl_limit=1e30)
        clock = time.perf_counter()
        model = _model(size, settings)
        texts = load_texts(DEFAULT_PPL_TEXTS)
        bench = Bench(model, texts, settings.ppl_limit)
        load = round(time.perf_counter() - clock, 1)
        console.print(f"{size}: made and measured unedited in {load} s", highlight=False)
        for editor in arguments.editors:
            row = {
                "model": size,
                "editor": editor,
                "dtype": arguments.dtype,
                "device": _device_name(model),
                "load": load,
            }
            found.append(row | cost(bench, editor, settings, requests, arguments.cases))
            console.print(found[-1], highlight=False)
            if arguments.out is not None:  # after each: what is measured is not lost
                arguments.out.write_text(yaml.safe_dump(found, sort_keys=False))
        del model, bench
        gc.collect()
        torch.cuda.empty_cache()
    console.print(table(found))
    return 0


def cost(
    bench: Bench, editor_name: str, settings: Settings, requests: Sequence[NamedRequest], count: int
) -> dict[str, Any]:
    """Seconds a case of each part, after a batch that does not count, and of the editor's one-off work."""
    model = bench.model
    settings = Settings(
        (editor_name,),
        models=settings.models,
        dtype=settings.dtype,
        ppl_limit=settings.ppl_limit,
        downstream=Downstream.NEVER,
        overrides=_cut_short(editor_name, model),
    )
    editor = make_editor(editor_name, model.name, settings)
    clock = time.perf_counter()
    prepare_for(model, editor, editor_name, settings, no_progress)
    prepared = time.perf_counter() - clock
    at_once = min(requests_per_batch(model), count)
    if isinstance(editor, BoundedEditor):
        at_once = min(at_once, editor.requests_at_once(model))
    runner = BatchRunner(bench, editor, settings, "main", no_progress)
    cases = [Case(model.name, editor_name, named.edit_id, named.request) for named in requests]
    runner.run(cases[: min(at_once, 8)])
    timed = cases[: max(1, count // at_once) * at_once]
    records = [
        record for first in range(0, len(timed), at_once) for record in runner.run(timed[first : first + at_once])
    ]
    if errors := {record.error for record in records if record.error is not None}:
        raise SystemExit(f"{editor_name} on {model.name}: {sorted(errors)[0]}")
    names = sorted({name for record in records for name in record.seconds})
    seconds = {name: round(sum(one.seconds.get(name, 0.0) for one in records) / len(records), 5) for name in names}
    return {"cases": len(records), "batch": at_once, "seconds": seconds, "prepare": round(prepared, 2)}


def _model(size: str, settings: Settings) -> EditableModel:
    device = resolve_device(settings.device)
    default = load_model(DEFAULT_MODEL, settings, print)
    if size == DEFAULT_MODEL:
        return default
    dtype: torch.dtype = getattr(torch, settings.dtype)
    return random_model(size, default.tokenizer, device, dtype, settings.matmul_precision)


def _cut_short(editor: str, model: EditableModel) -> tuple[Override, ...]:
    """Hyper-parameters that make one-off work short."""
    if editor == "memit":
        width = model.weight_shape(model.mlp_output_weight(0))[1]
        return (Override(editor, "moment_tokens", TOKENS_PER_INPUT * width),)
    if editor == "mend":
        training = {"steps": TRAINING_STEPS, "validate_every": TRAINING_STEPS}
        training |= {"validation_requests": VALIDATION_REQUESTS, "train_on_first_use": True}
        return tuple(Override(editor, field, value) for field, value in training.items())
    return ()


def _device_name(model: EditableModel) -> str:
    return torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else "cpu"


def table(found: Sequence[dict[str, Any]]) -> Table:
    """A line for each model and editor."""
    result = Table(title="milliseconds a case")
    parts = ("edit", "perplexity", "quality")
    for column in ("model", "editor", "batch", *parts, "all", "one-off, cut short, s"):
        result.add_column(column, justify="left" if column in ("model", "editor") else "right")
    for row in found:
        milliseconds = [1000 * row["seconds"].get(part, 0.0) for part in parts]
        numbers = [f"{value:.1f}" for value in (*milliseconds, sum(milliseconds))]
        result.add_row(row["model"], row["editor"], str(row["batch"]), *numbers, f"{row['prepare']:.1f}")
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.setting_costs", description=__doc__.split("\n")[0])
    parser.add_argument("--edits", required=True, metavar="FILE", help="request file or set")
    parser.add_argument("--sizes", type=names_among((DEFAULT_MODEL, *SIZES)), default=SIZES, metavar="SIZE,SIZE")
    parser.add_argument("--editors", type=names_among(EDITORS), default=EDITORS, metavar="NAME,NAME")
    parser.add_argument("--cases", type=int, default=192, metavar="N", help="about so many (default: %(default)s)")
    parser.add_argument("--dtype", default="float32", help="of the weights (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers as YAML")
    return parser


if __name__ == "__main__":
    sys.exit(main())
