"""Samples from a causal language model on this machine, decoded greedily."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collapse_tests.engine.generation import generate
from collapse_tests.hard_edits.answers import Unfit
from collapse_tests.hard_edits.asking import Ask, instruction, opening
from collapse_tests.hard_edits.writers import Answer
from collapse_tests.models.editable import EditableModel

__all__ = ["LocalWriter"]

_MAX_TOKENS = 64


class LocalWriter:
    """Gives a model the beginning of the JSON object, so that even a small one keeps to the form.

    Args:
        model: any that can be edited; it is not.
    """

    batch = 32

    def __init__(self, model: EditableModel) -> None:
        self._model = model

    def write(self, asks: Sequence[Ask]) -> list[Answer]:
        """One answer for each ask, up to the brace that closes the object."""
        rows = [self._ids(instruction(ask), opening(ask)) for ask in asks]
        found = generate(self._model, rows, _MAX_TOKENS, until=("}", "\n"))
        return [
            Answer(f"{opening(ask)}{one.text}}}", None if one.finite else Unfit.NOT_FINITE)
            for ask, one in zip(asks, found, strict=True)
        ]

    def _ids(self, text: str, start: str) -> list[int]:
        """Token ids of the instruction, as a turn of a chat where the model has chats, and of the answer's start."""
        tokenizer: Any = self._model.tokenizer
        chats = getattr(tokenizer, "chat_template", None) is not None
        if chats:
            turn = [{"role": "user", "content": text}]
            text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        # Not `encode` of the model: what is too long for it loses its beginning and is not refused.
        ids: list[int] = tokenizer(text + start, add_special_tokens=not chats)["input_ids"]
        return ids
