"""Greedy decoding of many prompts, and whether it was decoded from numbers at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from collapse_tests.models.editable import EditableModel
from collapse_tests.models.workload import decoding_budget

__all__ = ["Generated", "decode", "generate"]


@dataclass(frozen=True, slots=True)
class Generated:
    """What was decoded after one prompt.

    Attributes:
        text: the text, up to the first stop string and without special tokens.
        finite: False where a token was chosen among logits of which one was NaN or infinite.
    """

    text: str
    finite: bool


@torch.no_grad()
def generate(
    model: EditableModel, prompts: Sequence[Sequence[int]], max_tokens: int, until: Sequence[str] = ()
) -> list[Generated]:
    """Greedy continuations of any number of prompts, all on the model as it is.

    Args:
        model: the model, edited or not.
        prompts: token ids of each; the beginning of a longer one than the model takes is left out.
        max_tokens: how many tokens to decode at most.
        until: strings after which a text ends.
    """
    room = max(1, model.max_length - max_tokens)
    rows = [list(prompt)[-room:] for prompt in prompts]
    found: dict[int, Generated] = {}
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    budget = decoding_budget(model)
    while order:
        widest = len(rows[order[-1]]) + max_tokens

        def longest(rest: list[int] = order, widest: int = widest) -> dict[int, Generated]:
            batch = rest[-max(1, budget.tokens // widest) :]
            texts = decode(model, [rows[index] for index in batch], max_tokens, until)
            return dict(zip(batch, texts, strict=True))

        decoded = budget.run(longest, least=widest)
        found |= decoded
        order = order[: -len(decoded)]
    return [found[index] for index in range(len(rows))]


@torch.no_grad()
def decode(
    model: EditableModel, rows: Sequence[Sequence[int]], max_tokens: int, until: Sequence[str] = ()
) -> list[Generated]:
    """Greedy continuations of prompts that pass together, in this order, so that each can have its own update.

    Args:
        model: the model, edited or not.
        rows: token ids of each prompt.
        max_tokens: how many tokens to decode at most.
        until: strings after which a text ends.
    """
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    width = max(map(len, rows))
    # The library decodes from the last column, so prompts end there: padded on the left.
    ids = torch.tensor([[*[0] * (width - len(row)), *row] for row in rows], device=model.device)
    real = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
    # A chat model may have several, which only its own configuration names.
    ends: Any = getattr(model.model.generation_config, "eos_token_id", None) or model.tokenizer.eos_token_id
    filler = ends[0] if isinstance(ends, list) else ends
    config: Any = GenerationConfig(
        do_sample=False, max_new_tokens=max_tokens, eos_token_id=ends, pad_token_id=filler or 0
    )
    finite = torch.ones(len(rows), dtype=torch.bool, device=model.device)

    def watch(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        finite.logical_and_(scores.isfinite().all(-1))
        return scores

    stop = _stop_class()(model.tokenizer, until, width)
    decoded = model.model.generate(
        ids,
        attention_mask=real,
        generation_config=config,
        logits_processor=LogitsProcessorList([watch]),
        stopping_criteria=StoppingCriteriaList([stop] if until else []),
    )
    texts = [model.decode(row) for row in decoded[:, width:].tolist()]
    return [Generated(_cut(text, until), good) for text, good in zip(texts, finite.tolist(), strict=True)]


def _cut(text: str, until: Sequence[str]) -> str:
    for end in filter(None, until):
        text = text.split(end, maxsplit=1)[0]
    return text


@cache
def _stop_class() -> Any:
    """Defined late, as transformers takes seconds to import."""
    from transformers import StoppingCriteria

    class StopAt(StoppingCriteria):  # type: ignore[misc, no-any-unimported, unused-ignore]
        """Ends a row whose new text holds one of some strings.

        Args:
            tokenizer: decodes.
            until: the strings.
            width: columns of the prompts.
        """

        def __init__(self, tokenizer: Any, until: Sequence[str], width: int) -> None:
            self.tokenizer = tokenizer
            self.until = tuple(filter(None, until))
            self.width = width

        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            texts = self.tokenizer.batch_decode(input_ids[:, self.width :], skip_special_tokens=True)
            ended = [any(end in text for end in self.until) for text in texts]
            return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)

    return StopAt
