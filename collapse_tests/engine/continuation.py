"""Greedy continuations of prompts, each under its own update: what a collapsed model says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

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
    from transformers import GenerationConfig

    rows = [model.encode(prompt) for prompt in prompts]
    width = max(len(row) for row in rows)
    # The library decodes from the last column, so prompts end there: padded on the left.
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=model.device)
    real = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
    ends: Any = model.tokenizer.eos_token_id
    config: Any = GenerationConfig(do_sample=False, max_new_tokens=tokens, eos_token_id=ends, pad_token_id=ends or 0)
    decoded = model.model.generate(ids, attention_mask=real, generation_config=config)
    return [model.decode(row) for row in decoded[:, width:].tolist()]
