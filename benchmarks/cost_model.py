"""What the full study would take, and a million cases, predicted from what was measured.

    python -m benchmarks.cost_model [--gpus 1,4,8] [--cases 1000000] [--cluster 64]

The model, for one model, data set and editor on G GPUs:

    wall = load + one-off + max(N · c / (G · e), N / d) + b · c

with N cases of c seconds each, e the efficiency of one worker among G, d the cases a second that the controlling
process can take in, and a last batch of b cases that one worker may still have when the others are done. One-off work
is done by one worker while the others wait. `benchmarks.setting_costs` measures c, `benchmarks.scaling` e, and
`benchmarks.driver_throughput` d and the controlling process's memory for each case.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from benchmarks.arguments import counts
from benchmarks.setting_costs import EDITORS, TOKENS_PER_INPUT
from benchmarks.surroundings import wide_console
from collapse_tests.datasets.catalogue import CATALOGUE
from collapse_tests.settings import DEFAULT_MODEL

__all__ = ["Cost", "Limits", "main", "wall_seconds"]

MEASURED = Path(__file__).with_name("measured")

DATA_SETS = ("counterfact", "zsre")

STUDIED = ("gpt2-xl", "gpt-j-6b", "llama2-7b")

#: C is counted from 40 tokens per input of a layer.
FULL_TOKENS_PER_INPUT = 40

console = wide_console(110)


@dataclass(frozen=True, slots=True)
class Cost:
    """What was measured of one model and editor on one GPU, in seconds.

    Attributes:
        model: of the study, by name.
        editor: by name.
        case: a case costs, once all is loaded.
        batch: cases edited together.
        one_off: what the editor's preparation takes in full; MEND's training is not in it.
        load: to load the model and measure it unedited.
        scaled: whether `case` is that of ROME, times what the editor takes in terms of ROME elsewhere.
    """

    model: str
    editor: str
    case: float
    batch: int
    one_off: float
    load: float
    scaled: bool = False

    @classmethod
    def of(cls, row: dict[str, Any]) -> Cost:
        """From a row of `benchmarks.setting_costs`, with its one-off work scaled up to what the study does."""
        factor = FULL_TOKENS_PER_INPUT / TOKENS_PER_INPUT if row["editor"] == "memit" else 1.0
        one_off = row["prepare"] * factor
        return cls(row["model"], row["editor"], sum(row["seconds"].values()), row["batch"], one_off, row["load"])


@dataclass(frozen=True, slots=True)
class Limits:
    """What the controlling process and the spreading of work allow.

    Attributes:
        rate: cases a second that the controlling process takes in.
        bytes_per_case: its memory grows by.
        base_bytes: its memory without cases.
        efficiency: of one worker among many, of one alone.
    """

    rate: float
    bytes_per_case: float
    base_bytes: float
    efficiency: float

    def memory(self, cases: int) -> float:
        """Bytes of the controlling process with so many cases."""
        return self.base_bytes + cases * self.bytes_per_case


def wall_seconds(cost: Cost, cases: int, gpus: int, limits: Limits) -> float:
    """Wall time of one model, data set and editor; the equation is above."""
    computing = cases * cost.case / (gpus * (limits.efficiency if gpus > 1 else 1.0))
    last_batch = cost.batch * cost.case if gpus > 1 else 0.0
    return cost.load + cost.one_off + max(computing, cases / limits.rate) + last_batch


def study(costs: Sequence[Cost], gpus: Sequence[int], limits: Limits) -> Table:
    """All settings: models x data sets x editors, one after the other on the same GPUs."""
    table = Table(title="The study: every setting, single edits with ME-PPL and edit quality")
    for column in ("model", "editor", "data set", "cases", "ms a case", *(f"hours on {n}" for n in gpus)):
        table.add_column(column, justify="left" if column in ("model", "editor", "data set") else "right")
    totals = dict.fromkeys(gpus, 0.0)
    for cost, name, cases in _settings(costs):
        hours = {count: wall_seconds(cost, cases, count, limits) / 3600 for count in gpus}
        totals = {count: totals[count] + hours[count] for count in gpus}
        told = (f"{hours[count]:.2f}" for count in gpus)
        table.add_row(cost.model, cost.editor, name, f"{cases:,}", _case(cost), *told)
    table.add_section()
    table.add_row("all", "", "", "", "wall hours", *(f"{totals[count]:.1f}" for count in gpus))
    table.add_row("", "", "", "", "GPU hours", *(f"{count * totals[count]:.1f}" for count in gpus))
    return table


def many(costs: Sequence[Cost], cases: int, gpus: int, limits: Limits) -> Table:
    """One long run for each model and editor, and what limits it."""
    table = Table(title=f"{cases:,} cases on {gpus} GPUs, one run; its controlling process {_memory(cases, limits)}")
    for column in ("model", "editor", "GPUs could, cases/s", "driver can", "wall hours", "GPU hours", "limited by"):
        table.add_column(column, justify="left" if column in ("model", "editor", "limited by") else "right")
    for cost in costs:
        rate = gpus * limits.efficiency / cost.case
        hours = wall_seconds(cost, cases, gpus, limits) / 3600
        limit = "the driver" if rate > limits.rate else "the GPUs"
        numbers = (f"{rate:,.0f}", f"{limits.rate:,.0f}", f"{hours:.2f}", f"{hours * gpus:.0f}")
        table.add_row(cost.model, cost.editor, *numbers, limit)
    return table


def _case(cost: Cost) -> str:
    """Milliseconds, marked where they were not measured."""
    return f"{'~' if cost.scaled else ''}{1000 * cost.case:.0f}"


def _memory(cases: int, limits: Limits) -> str:
    return f"holds {limits.memory(cases) / 2**30:.1f} GiB"


def _settings(costs: Sequence[Cost]) -> Iterator[tuple[Cost, str, int]]:
    for cost in costs:
        for name in DATA_SETS:
            yield cost, name, CATALOGUE[name].records


def measured_costs() -> list[Cost]:
    """Every model of the study with each of its editors, and the default model with ROME.

    What was not measured on a GPU is ROME's case on that model, times what the editor takes in terms of ROME on another
    model there or, failing that, on the default model on a CPU.
    """
    rows = _rows("h100.yaml")
    found = {(row["model"], row["editor"]): Cost.of(row) for row in rows}
    ratios = _in_terms_of_rome([*_rows("cpu.yaml"), *rows])
    for model in STUDIED:
        for editor in EDITORS:
            rome = found[model, "rome"]
            likely = replace(rome, editor=editor, case=rome.case * ratios[editor], one_off=0.0, scaled=True)
            found.setdefault((model, editor), likely)
    return [found[model, editor] for model in STUDIED for editor in EDITORS] + [found[DEFAULT_MODEL, "rome"]]


def _in_terms_of_rome(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Editor → seconds a case over those of ROME on the same model and device; the last row of an editor counts."""
    seconds = {(row["model"], row.get("device"), row["editor"]): sum(row["seconds"].values()) for row in rows}
    return {editor: taken / seconds[model, device, "rome"] for (model, device, editor), taken in seconds.items()}


def _rows(file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((MEASURED / file).read_text())
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    arguments = _parser().parse_args(argv)
    limits = Limits(**yaml.safe_load((MEASURED / "limits.yaml").read_text()))
    costs = measured_costs()
    in_study = [cost for cost in costs if cost.model in STUDIED]
    console.print(study(in_study, arguments.gpus, limits))
    console.print(many(costs, arguments.cases, arguments.cluster, limits))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost_model", description=__doc__.split("\n")[0])
    parser.add_argument("--gpus", type=counts, default=(1, 4, 8), metavar="N,N", help="of the study's table")
    parser.add_argument("--cases", type=int, default=1_000_000, metavar="N", help="of the long run")
    parser.add_argument("--cluster", type=int, default=64, metavar="N", help="GPUs of the long run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
