"""Invented questions with short answers, and models that answer them with more or less skill, scored by token F1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collapse_tests.metrics.item_scores import ChanceModel, ItemScores
from collapse_tests.verdict import generative_floor

__all__ = ["GradedTask"]

_VOCABULARY = 400
_LENGTH = 3


class GradedTask:
    """n questions whose answers are three distinct tokens, common ones more often than rare ones.

    Attributes:
        chance: the floor of these questions, from the references alone.
    """

    def __init__(self, items: int, generator: np.random.Generator) -> None:
        self._generator = generator
        weights = 1 / np.arange(1.0, _VOCABULARY + 1)
        self._weights = weights / weights.sum()
        self._references = self._random(items)
        values = _f1(self._references, self._references)
        texts = [str(item) for item in range(items)]
        self.chance: ChanceModel = generative_floor(texts, [], lambda text, item: float(values[int(text), item]))

    def skilled(self, skill: float) -> ItemScores:
        """A model that answers that share of the questions right and the others with random tokens."""
        knows = self._generator.random(len(self._references)) < skill
        return self._scored(np.where(knows[:, None], self._references, self._random(len(self._references))))

    def collapsed(self, kind: str) -> ItemScores:
        """A model that gives one answer (`constant`), shuffles the right ones (`others`) or says anything (`noise`)."""
        if kind == "constant":
            return self._scored(np.tile(self._random(1), (len(self._references), 1)))
        if kind == "others":
            return self._scored(self._generator.permutation(self._references))
        return self._scored(self._random(len(self._references)))

    def _random(self, count: int) -> NDArray[np.int_]:
        drawn = [
            self._generator.choice(_VOCABULARY, size=_LENGTH, replace=False, p=self._weights) for _ in range(count)
        ]
        return np.array(drawn)

    def _scored(self, answers: NDArray[np.int_]) -> ItemScores:
        table = _f1(answers, self._references).tolist()
        values = tuple(row[item] for item, row in enumerate(table))
        return ItemScores(values, sum(values) / len(values), finite=True, cross=lambda i, j: float(table[i][j]))


def _f1(answers: NDArray[np.int_], references: NDArray[np.int_]) -> NDArray[np.float64]:
    """Token F1 of every answer against every reference, (n, n): all have one length, so it is the shared share."""
    shared = (answers[:, None, :, None] == references[None, :, None, :]).sum((2, 3))
    return np.asarray(shared / _LENGTH, dtype=np.float64)
