"""What downstream accuracy costs beside ME-PPL, and beside lm-eval doing the same.

    python -m benchmarks.downstream_cost --edits 4 --rounds 3

Every edit is a random rank-one update at the default block, too small to matter. Ours measures all edits together, as
the gate does; lm-eval evaluates the model with one edit written into it, in one process with ours. Accuracies agree
but for items so close that rounded products turn them: ours rounds as the gate does by default, lm-eval does not.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from collapse_tests.datasets.texts import load_texts
from collapse_tests.engine.bench import Bench
from collapse_tests.engine.task_set import TaskSet
from collapse_tests.metrics.downstream.catalogue import expand_tasks
from collapse_tests.metrics.downstream.loading import load_task, quiet
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.loading import load_model
from collapse_tests.settings import DEFAULT_MODEL, DEFAULT_PPL_TEXTS, DEFAULT_TASKS, Downstream, Settings
from collapse_tests.weight_update import LowRankDelta, WeightUpdate

__all__ = ["main"]

#: The block of the default model that ROME edits.
_BLOCK = 3

console = Console(width=None if sys.stdout.isatty() else 100)


def random_updates(model: EditableModel, count: int) -> list[WeightUpdate]:
    """Rank-one updates of the size of a stable edit's."""
    numbers = torch.Generator().manual_seed(0)
    name = model.mlp_output_weight(_BLOCK)
    out, into = model.weight_shape(name)
    scale = 0.05 * float(model.parameter(name).norm()) / (out * into) ** 0.5
    factors = [(torch.randn(out, 1, generator=numbers), torch.randn(1, into, generator=numbers)) for _ in range(count)]
    return [
        WeightUpdate({name: LowRankDelta((scale * left).to(model.device), right.to(model.device))})
        for left, right in factors
    ]


def peer(model: EditableModel, batch_size: int) -> Callable[[], dict[str, float]]:
    """lm-eval's own evaluation of the model as it is, with its requests built for each call as it does."""
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM

    with quiet():
        wrapped = HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=batch_size)
    tasks: dict[str, Any] = {
        task.name: load_task(task, None, console.print).parts[0] for task in expand_tasks([DEFAULT_TASKS])
    }

    def evaluate() -> dict[str, float]:
        with quiet():
            found = evaluator.evaluate(lm=wrapped, task_dict={"tasks": tasks}, bootstrap_iters=0, log_samples=False)
        return {name: float(found["results"][name]["acc,none"]) for name in tasks}

    return evaluate


def seconds(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """How long `work()` takes, and what it gives."""
    clock = time.perf_counter()
    found = work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - clock, found


def run(arguments: argparse.Namespace) -> Table:
    """Time all three, round by round, and compare the accuracies."""
    settings = Settings(("rome",), downstream=Downstream.EACH, device=arguments.device)
    model = load_model(DEFAULT_MODEL, settings, console.print)
    bench = Bench(
        model, load_texts(DEFAULT_PPL_TEXTS), settings.ppl_limit, TaskSet(settings, console.print).downstream()
    )
    assert bench.downstream is not None
    downstream = bench.downstream
    updates = random_updates(model, arguments.edits)
    evaluate = peer(model, arguments.peer_batch)
    bench.perplexities(updates), downstream.measure(updates)  # fills the caches
    rows: dict[str, list[float]] = {"ME-PPL, 50 sentences": [], "three tasks": [], "three tasks, lm-eval": []}
    for _ in range(arguments.rounds):
        took, _found = seconds(lambda: bench.perplexities(updates), model.device)
        rows["ME-PPL, 50 sentences"].append(took / len(updates))
        took, results = seconds(lambda: downstream.measure(updates), model.device)
        rows["three tasks"].append(took / len(updates))
        with model.applied(updates[0]):
            took, expected = seconds(evaluate, model.device)
        rows["three tasks, lm-eval"].append(took)
    return _table(rows, {result.task: result.edited for result in results[0]}, expected)


def _table(rows: dict[str, list[float]], ours: dict[str, float], theirs: dict[str, float]) -> Table:
    medians = {name: statistics.median(values) for name, values in rows.items()}
    base = medians["ME-PPL, 50 sentences"]
    agreement = ", ".join(f"{name} {ours[name]:.4f} / {theirs[name]:.4f}" for name in ours)
    table = Table(title="Seconds for one edit, medians", caption=f"accuracy, ours / lm-eval's: {agreement}")
    table.add_column("measurement")
    table.add_column("seconds", justify="right")
    table.add_column("times ME-PPL's", justify="right")
    for name, value in medians.items():
        table.add_row(name, f"{value:.4g}", f"{value / base:.2f}")
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.downstream_cost", description=__doc__.split("\n")[0])
    parser.add_argument("--edits", type=int, default=4, help="measured together (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--peer-batch", type=int, default=64, help="batch size of lm-eval (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="(default: %(default)s)")
    console.print(run(parser.parse_args(argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
