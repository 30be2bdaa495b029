"""How often does the comparison with a baseline err? False alarms of each test, and what it takes to be noticed.

    python -m benchmarks.regression_rates

Counts are exact, over all outcomes; the median's are simulated. Rates are per cent. docs/baselines.md holds the tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from scipy import stats

from collapse_tests.verdict.exact import drop_p_value
from collapse_tests.verdict.regression import REGRESSION_ALPHA, fisher_p_value, is_median_worse, median_log_ratio

CASES = (16, 50, 100, 500)
FLIPS = (0.005, 0.02, 0.1)
HARM = (0.05, 0.1, 0.2)
RATES = (0.01, 0.1, 0.5)
NOISE = (0.01, 0.05, 0.1, 0.3)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20_000, help="simulated medians per cell")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    _paired()
    _unpaired()
    _median(given.repeats, np.random.default_rng(given.seed))


def _print(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [head, ["---:"] * len(head), *rows]
    print(f"\n**{title}**\n", *(f"| {' | '.join(cells)} |" for cells in lines), sep="\n", flush=True)


def _percent(rate: float) -> str:
    return "0" if rate < 5e-6 else f"{100 * rate:.2g}" if rate < 0.1 else f"{100 * rate:.0f}"


def _paired() -> None:
    """Pairs change at random with probability `flip`, either way alike, or are harmed with probability `harm`."""
    head = ["pairs", *(f"{flip:.1%} change" for flip in FLIPS), *(f"{harm:.0%} newly collapse" for harm in HARM)]
    rows = []
    for pairs in CASES:
        alarms = [_paired_alarms(pairs, flip, 0.5) for flip in FLIPS]
        found = [_paired_alarms(pairs, harm, 1.0) for harm in HARM]
        rows.append([str(pairs), *map(_percent, alarms), *map(_percent, found)])
    _print("McNemar: false alarms where cases change at random, and what is noticed", head, rows)


def _paired_alarms(pairs: int, change: float, worse: float) -> float:
    changed = stats.binom.pmf(range(pairs + 1), pairs, change)
    total = 0.0
    for count in np.flatnonzero(changed > 1e-12):
        masses = stats.binom.pmf(range(count + 1), count, worse)
        alarms = [drop_p_value(bad, int(count) - bad) <= REGRESSION_ALPHA for bad in range(int(count) + 1)]
        total += float(changed[count] * masses[alarms].sum())
    return total


def _unpaired() -> None:
    head = ["cases each", *(f"{rate:.0%} before and after" for rate in RATES), "1% to 10%", "10% to 30%", "50% to 70%"]
    rows = []
    for cases in CASES[:3]:
        shifts = [(rate, rate) for rate in RATES] + [(0.01, 0.1), (0.1, 0.3), (0.5, 0.7)]
        rows.append([str(cases), *(_percent(_unpaired_alarms(cases, *shift)) for shift in shifts)])
    _print("Fisher: false alarms at a rate of collapse, and what is noticed", head, rows)


def _unpaired_alarms(cases: int, before: float, after: float) -> float:
    masses = [stats.binom.pmf(range(cases + 1), cases, rate) for rate in (before, after)]
    return float(
        sum(
            masses[0][old] * masses[1][new]
            for old in range(cases + 1)
            for new in range(old + 1, cases + 1)
            if fisher_p_value(old, cases, new, cases) <= REGRESSION_ALPHA
        )
    )


def _median(repeats: int, generator: np.random.Generator) -> None:
    head = ["pairs", *(f"σ = {sigma:g}" for sigma in NOISE)]
    rows = []
    for pairs in (1, *CASES):
        cells = []
        for sigma in NOISE:
            medians = np.median(generator.normal(0, sigma, (repeats, pairs)), axis=1)
            cells.append(_percent(float(np.mean([is_median_worse(float(median)) for median in medians]))))
        rows.append([str(pairs), *cells])
    assert median_log_ratio([(1.0, 2.0), (1.0, 4.0)]) == np.median(np.log([2.0, 4.0]))
    _print("Median ratio of ME-PPL: false alarms where its logarithm varies by σ from run to run", head, rows)


if __name__ == "__main__":
    main()
