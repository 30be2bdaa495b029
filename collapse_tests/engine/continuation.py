"""Greedy continuations of prompts, each under its own update: what a collapsed model says."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from collapse_tests.engine.generation import decode
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import WeightUpdate

__all__ = ["continuations"]


@torch.no_grad()
def continuations(
    model: EditableModel, prompts: Sequence[str], updates: Sequence[WeightUpdate | None], tokens: int = 16
) -> list[str]:
    """Up to `tokens` greedily decoded tokens after each prompt, under its update (None: unedited).

    Args:
        model: unedited.
        prompts: texts to continue.
        updates: one per prompt.
        tokens: how many tokens to decode at most.
    """
    texts: list[str] = [""] * len(prompts)
    shared = [index for index, update in enumerate(updates) if update is None or model.shareable(update)]
    if shared:
        edits = [update for index in shared if (update := updates[index]) is not None]
        cases = iter(range(len(edits)))
        rows = [len(edits) if updates[index] is None else next(cases) for index in shared]
        with model.side_by_side(edits, torch.tensor(rows, device=model.device)):
            for index, text in zip(shared, _generate(model, [prompts[i] for i in shared], tokens), strict=True):
                texts[index] = text
    for index in sorted(set(range(len(prompts))) - set(shared)):
        update = updates[index]
        assert update is not None
        with model.applied(update):
            (texts[index],) = _generate(model, [prompts[index]], tokens)
    return texts


def _generate(model: EditableModel, prompts: Sequence[str], tokens: int) -> list[str]:
    return [found.text for found in decode(model, [model.encode(prompt) for prompt in prompts], tokens)]
