"""How far a rate that was observed may be from the rate that is."""

from __future__ import annotations

__all__ = ["rate_interval"]


def rate_interval(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval for the rate behind `hits` of `n` cases (Clopper and Pearson 1934).

    It covers the true rate with at least the given confidence, whatever that rate is; each side is left out with half
    of what is missing. Of no cases at all nothing is known: (0, 1).

    Args:
        hits: cases that had it.
        n: cases.
        confidence: above 0 and below 1.

    Returns:
        Lower and upper end, shares between 0 and 1.

    Raises:
        ValueError: `hits` is not between 0 and `n`, or `confidence` is no probability of use.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} hits of {n} cases")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    if n == 0:
        return 0.0, 1.0
    from scipy.special import betaincinv

    outside = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, outside))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - outside))
    return low, high
