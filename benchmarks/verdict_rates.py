"""How often does the verdict on downstream accuracy err? False alarms, misses, and a Wald test beside them.

    python -m benchmarks.verdict_rates

Unharmed models on right and wrong answers are counted exactly, over all outcomes. Collapsed models that follow a
strategy, and graded answers, are simulated. Rates are per cent. docs/downstream-verdict.md holds the tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.graded_answers import GradedTask
from collapse_tests.metrics.item_scores import ChanceModel, ItemScores
from collapse_tests.records import TaskVerdict
from collapse_tests.verdict import MARGIN, choice_chance, has_margin, task_verdict
from collapse_tests.verdict.exact import fewest_hits

Floats = NDArray[np.float64]

ITEMS = (20, 50, 100, 120, 200)
LEVELS = (0.01, 0.05)
CHOICES, FLOOR = ("k = 2", "k = 4"), ("1/n",)
SKILLS = (0.3, 0.6, 0.9)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000, help="simulated models per cell")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    for alpha in LEVELS:
        _unharmed(CHOICES, (0.6, 0.75, 0.9), alpha)
        _unharmed(FLOOR, (0.1, 0.2, 0.4), alpha)
    _guessing()
    _following(given.repeats, np.random.default_rng(given.seed))
    _graded(given.repeats, np.random.default_rng(given.seed))


def _print(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [head, ["---:"] * len(head), *rows]
    print(f"\n{title}\n", *(f"| {' | '.join(cells)} |" for cells in lines), sep="\n", flush=True)


def _percent(rate: float) -> str:
    if rate < 5e-6 or rate > 1 - 5e-4:
        return "0" if rate < 5e-6 else "100"
    return f"{100 * rate:.2g}" if rate < 0.1 else f"{100 * rate:.0f}"


# Right and wrong, all outcomes --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcomes:
    """What becomes of every number of hits, each (n + 1,) of bool."""

    passes: NDArray[np.bool_]
    informative: NDArray[np.bool_]
    plug_in: NDArray[np.bool_]
    wald: NDArray[np.bool_]


@lru_cache
def outcomes(kind: str, items: int, alpha: float) -> Outcomes:
    """By the project's own functions; `plug_in` is a margin by the binomial at the observed accuracy, for contrast."""
    chance = 1 / items if kind == "1/n" else 1 / int(kind[-1])
    model = ChanceModel((chance,) * items, kind)
    scores = [_hits(right, items) for right in range(items + 1)]
    hits = np.arange(items + 1)
    return Outcomes(
        np.array([task_verdict("", "", model, scores[-1], each, alpha=alpha).p_value <= alpha for each in scores]),
        np.array([has_margin(model, each, alpha) for each in scores]),
        stats.binom.sf(fewest_hits(model.rates, alpha) - 1, items, hits / items) >= MARGIN,
        _wald(hits / items, np.sqrt(hits / items * (1 - hits / items) / (items - 1)), chance, alpha),
    )


def _hits(right: int, items: int) -> ItemScores:
    return ItemScores((1.0,) * right + (0.0,) * (items - right), right / items, finite=True)


def _wald(mean: Floats, error: Floats, chance: float, alpha: float) -> NDArray[np.bool_]:
    return np.asarray(mean - stats.norm.isf(alpha) * error > chance, dtype=np.bool_)


def _alarms(accuracy: float, informative: NDArray[np.bool_], passes: NDArray[np.bool_], redrawn: float = 1.0) -> float:
    """P(task informative, edited model fails), where the edit redraws that share of the items."""
    items = len(passes) - 1
    before = stats.binom.pmf(np.arange(items + 1), items, accuracy)
    if redrawn == 1:
        return float(before[informative].sum() * before[~passes].sum())
    total = 0.0
    for hits in np.flatnonzero(informative):
        kept = stats.binom.pmf(np.arange(hits + 1), hits, 1 - redrawn * (1 - accuracy))
        gained = stats.binom.pmf(np.arange(items - hits + 1), items - hits, redrawn * accuracy)
        total += float(before[hits] * np.convolve(kept, gained)[~passes].sum())
    return total


def _unharmed(kinds: Sequence[str], accuracies: Sequence[float], alpha: float) -> None:
    rows = []
    for kind in kinds:
        for items in ITEMS:
            found = outcomes(kind, items, alpha)
            firsts = [str(np.argmax(flags)) if flags.any() else "–" for flags in (found.passes, found.informative)]
            cells = [_cells(found, accuracy) for accuracy in accuracies]
            rows.append([kind, str(items), *firsts, *cells, *map(_percent, _worst(found))])
    head = ["chance", "n", "passes from", "informative from", *(f"a = {accuracy}" for accuracy in accuracies)]
    head += ["worst a", "worst a, a tenth redrawn", "worst a, plug-in margin"]
    _print(f"Unharmed, α = {alpha}: informative / random / random by Wald", head, rows)


def _cells(found: Outcomes, accuracy: float) -> str:
    always = np.ones_like(found.informative)
    rates = (
        _alarms(accuracy, found.informative, ~always),
        _alarms(accuracy, found.informative, found.passes),
        _alarms(accuracy, always, found.wald),
    )
    return " / ".join(map(_percent, rates))


def _worst(found: Outcomes) -> list[float]:
    asked = [(found.informative, 1.0, 197), (found.informative, 0.1, 50), (found.plug_in, 1.0, 197)]
    return [
        max(_alarms(accuracy, margin, found.passes, redrawn) for accuracy in np.linspace(0.01, 0.99, points))
        for margin, redrawn, points in asked
    ]


def _guessing() -> None:
    rows = []
    for kind in (*CHOICES, *FLOOR):
        for items in ITEMS:
            chance = 1 / items if kind == "1/n" else 1 / int(kind[-1])
            mass = stats.binom.pmf(np.arange(items + 1), items, chance)
            found = [outcomes(kind, items, alpha) for alpha in LEVELS]
            rates = [_percent(float(mass[flags].sum())) for each in found for flags in (each.passes, each.wald)]
            rows.append([kind, str(items), *rates])
    head = ["chance", "n", *(f"{name}, α = {alpha}" for alpha in LEVELS for name in ("exact", "Wald"))]
    _print("Collapsed, at chance: passing", head, rows)


# Strategies, simulated ----------------------------------------------------------------------------------------

Strategy = Callable[[NDArray[np.int_], Floats], NDArray[np.int_]]
STRATEGIES: dict[str, Strategy] = {
    "one label": lambda gold, lengths: np.full(len(gold), np.bincount(gold).argmax()),
    "longest option": lambda gold, lengths: lengths.argmax(1),
}


def _following(repeats: int, generator: np.random.Generator) -> None:
    """Items whose labels and lengths lean one way: the first label, and the longest option, are right more often."""
    rows = []
    for options, lean in ((2, 0.65), (4, 0.45)):
        for items in ITEMS:
            for name, strategy in STRATEGIES.items():
                cells = _follower(options, items, lean, name, strategy, repeats, generator)
                rows.append([str(options), str(items), name, *cells])
    columns = [f"{name}, α = {alpha}" for alpha in LEVELS for name in ("best strategy", "1/k")]
    _print(
        "Collapsed, answering nine items of ten by a strategy: passing",
        ["k", "n", "strategy", *columns],
        rows,
    )


def _follower(
    options: int, items: int, lean: float, name: str, strategy: Strategy, repeats: int, generator: np.random.Generator
) -> list[str]:
    passed = np.zeros((repeats, len(LEVELS), 2))
    guess = ChanceModel((1 / options,) * items, "1/k")
    for repeat in range(repeats):
        gold = generator.integers(options, size=items)
        lengths = generator.random((items, options))
        leaning = generator.random(items) < (lean - 1 / options) / (1 - 1 / options)
        if name == "one label":
            gold[leaning] = 0
        else:
            lengths[leaning, gold[leaning]] = 2.0
        follows = generator.random(items) < 0.9
        answers = np.where(follows, strategy(gold, lengths), generator.integers(options, size=items))
        right = _hits(int((answers == gold).sum()), items)
        best = choice_chance([options] * items, gold.tolist(), lengths.tolist())
        for column, chance in enumerate((best, guess)):
            p_value = task_verdict("", "", chance, _hits(items, items), right).p_value
            passed[repeat, :, column] = [p_value <= alpha for alpha in LEVELS]
    return [_percent(rate) for rate in passed.mean(0).ravel()]


# Graded answers, simulated ------------------------------------------------------------------------------------

DRAWS = 10


def _graded(repeats: int, generator: np.random.Generator) -> None:
    rows = []
    for items in ITEMS:
        for alpha in LEVELS:
            tasks = [GradedTask(items, generator) for _ in range(repeats // (10 * DRAWS))]
            cells = [_graded_unharmed(tasks, skill, alpha) for skill in SKILLS]
            cells += [" / ".join(_graded_collapsed(tasks, kind, alpha)) for kind in ("constant", "others", "noise")]
            rows.append([str(items), str(alpha), *cells])
    head = ["n", "α", *(f"skill {skill}" for skill in SKILLS), "one answer", "other items' answers", "noise"]
    title = "Graded answers: unharmed, informative / random; collapsed, passing by shuffling / by Wald"
    _print(title, head, rows)


def _graded_unharmed(tasks: Sequence[GradedTask], skill: float, alpha: float) -> str:
    informative, alarms = [], []
    for task in tasks:
        unedited = task.skilled(skill)
        chance = task.chance
        informative.append(has_margin(chance, unedited, alpha))
        for _ in range(DRAWS):
            result = task_verdict("", "", chance, unedited, task.skilled(skill), alpha=alpha)
            alarms.append(result.verdict is TaskVerdict.RANDOM)
    return f"{_percent(fmean(informative))} / {_percent(fmean(alarms))}"


def _graded_collapsed(tasks: Sequence[GradedTask], kind: str, alpha: float) -> tuple[str, str]:
    shuffling, wald = [], []
    for task in tasks:
        unedited = task.skilled(0.9)
        for _ in range(DRAWS):
            edited = task.collapsed(kind)
            shuffling.append(task_verdict("", "", task.chance, unedited, edited, alpha=alpha).p_value <= alpha)
            mean, error = np.mean(edited.values), np.std(edited.values, ddof=1) / len(edited.values) ** 0.5
            wald.append(bool(_wald(np.array(mean), np.array(error), 0.0, alpha)))
    return _percent(fmean(shuffling)), _percent(fmean(wald))


if __name__ == "__main__":
    main()
