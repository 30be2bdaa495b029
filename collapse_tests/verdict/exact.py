"""Exact tests on counts of hits: Poisson-binomial against chance, McNemar against the unedited model."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["drop_p_value", "fewest_hits", "passes_again", "upper_tail"]


@lru_cache(maxsize=256)
def upper_tail(rates: tuple[float, ...]) -> NDArray[np.float64]:
    """P(at least h hits) for h = 0 to n, (n + 1,), where item i is hit with probability `rates[i]`.

    The items of one rate are binomial; groups are pooled by convolution, without an approximation.
    """
    import numpy as np  # late, as the plugin reaches this module in runs that gate nothing
    from scipy import stats

    mass = np.ones(1)
    for rate, items in Counter(rates).items():
        mass = np.convolve(mass, stats.binom.pmf(np.arange(items + 1), items, rate))
    tail = np.minimum(np.cumsum(mass[::-1])[::-1], 1.0)
    tail.flags.writeable = False
    return tail


def fewest_hits(rates: tuple[float, ...], alpha: float) -> int:
    """The smallest number of hits whose p-value is at most `alpha`; n + 1 if not even all are enough."""
    return int((upper_tail(rates) > alpha).sum())


def passes_again(hits: int, items: int, needed: int) -> float:
    """Probability that a model that scored `hits` of `items` once scores at least `needed` when it is drawn again.

    Both draws share an unknown accuracy. With Jeffreys' prior on it the second is beta-binomial given the first. The
    binomial at the observed accuracy would take that for the true one, and promise certainty where all were right.
    """
    from scipy import stats

    return float(stats.betabinom.sf(needed - 1, items, hits + 0.5, items - hits + 0.5))


def drop_p_value(lost: int, gained: int) -> float:
    """Exact one-sided McNemar test: the probability of so many losses if each changed item could go either way."""
    return float(upper_tail((0.5,) * (lost + gained))[lost])
