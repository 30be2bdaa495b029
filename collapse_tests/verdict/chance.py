"""What a model that has lost its language still scores: the best of the simplest strategies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from statistics import fmean

from collapse_tests.metrics.item_scores import ChanceModel

__all__ = ["choice_chance", "generative_floor"]


def choice_chance(
    n_options: Sequence[int], gold: Sequence[int | Sequence[int]], lengths: Sequence[Sequence[float]]
) -> ChanceModel:
    """Chance on multiple choice: the best of 1/k, one label for all, always the shortest, always the longest option.

    What follows a constant strategy always scores the same, and what follows it loosely scores about that. Either is
    tested as if each item were hit with the strategy's rate: independent hits with that mean never exceed it by more
    than one hit more often than the binomial does (Hoeffding 1956, theorem 4).

    Args:
        n_options: per item, how many options.
        gold: per item, index of the right one, or the different indices of several that each count as right.
        lengths: per item, length of each option, in the unit that scores grow with, such as tokens or characters.
            Options of equal length share an item equally.

    Raises:
        ValueError: no items, or arguments that do not fit together.
    """
    if not n_options:
        raise ValueError("chance is asked for on no items")
    rights = [(labels,) if isinstance(labels, int) else tuple(labels) for labels in gold]
    for options, labels, sizes in zip(n_options, rights, lengths, strict=True):
        if not set(labels) <= set(range(options)) or len(sizes) != options:
            told = ", ".join(map(str, labels))
            raise ValueError(f"an item has {options} options, right option {told} and {len(sizes)} lengths")
    guesses = tuple(len(labels) / options for options, labels in zip(n_options, rights, strict=True))
    items = list(zip(rights, lengths, strict=True))
    by_label = Counter(chain.from_iterable(rights))
    reached = {
        "1/k": fmean(guesses),
        "majority label": max(by_label.values(), default=0) / len(rights),
        "shortest option": fmean(_share(right, sizes, min(sizes)) for right, sizes in items),
        "longest option": fmean(_share(right, sizes, max(sizes)) for right, sizes in items),
    }
    # Of strategies that reach the same, the first.
    best = max(reached, key=lambda name: reached[name])
    return ChanceModel(guesses if best == "1/k" else (reached[best],) * len(rights), best)


def _share(right: Sequence[int], sizes: Sequence[float], chosen: float) -> float:
    return sum(sizes[label] == chosen for label in right) / sizes.count(chosen)


def generative_floor(
    references: Sequence[str | Sequence[str]], answers: Sequence[str], hit: Callable[[str, int], float]
) -> ChanceModel:
    """Chance on free answers: the best of 1/n, any one answer for all, and answers to other items.

    A chance of zero would let a single lucky hit pass. The mean over all ways to shuffle the references among items is
    the mean over pairs of different items, so nothing is drawn at random. Calls `hit` once for each distinct text
    and item, which makes about 2n² calls.

    Args:
        references: per item, the accepted answer or answers.
        answers: per item, the unedited model's; empty where a task reads no text off the model.
        hit: value, 0 to 1, of a text as the answer to the item of that index.

    Raises:
        ValueError: no items, or not one answer for each.
    """
    items = len(references)
    if not items or len(answers) not in {0, items}:
        raise ValueError(f"chance is asked for on {items} items with {len(answers)} answers")
    accepted = chain.from_iterable([entry] if isinstance(entry, str) else entry for entry in references)
    values = {text: [hit(text, item) for item in range(items)] for text in dict.fromkeys([*accepted, *answers])}
    reached = {
        "1/n": 1 / items,
        "best constant answer": max(map(fmean, values.values()), default=0.0),
        "shuffled references": _on_others([values[text] for text in answers]),
    }
    best = max(reached, key=lambda name: reached[name])
    return ChanceModel((reached[best],) * items, best)


def _on_others(values: Sequence[Sequence[float]]) -> float:
    """Mean of a square table off its diagonal; zero where there is nothing."""
    others = [value for row, cells in enumerate(values) for column, value in enumerate(cells) if column != row]
    return fmean(others) if others else 0.0
