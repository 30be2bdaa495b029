"""Context templates: short texts of the model's own put before a prompt, so that a key is averaged over contexts.

ROME, section 3.1 and appendix E.5: the subject's key is the mean over prompts with generated prefixes. The
lengths and the five starting words follow EasyEdit, whose template lists are drawn by top-k sampling.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import torch

from collapse_tests.cache import atomic_write_text
from collapse_tests.models.editable import EditableModel

__all__ = ["BARE_TEMPLATE", "context_templates", "generate_templates"]

BARE_TEMPLATE = "{}"
STARTS = ("The", "Therefore", "Because", "I", "You")
TOP_K = 5


def context_templates(
    model: EditableModel, lengths: Sequence[tuple[int, int]], seed: int, cache: Path | None
) -> tuple[str, ...]:
    """The bare template followed by generated ones, from the cache where it has them.

    Args:
        model: unedited; its digest keys the cache.
        lengths: pairs (tokens per text including its start, number of texts); texts are shared equally among
            the five starting words.
        seed: of the sampling.
        cache: directory, or None to generate anew.
    """
    if cache is None:
        return generate_templates(model, lengths, seed)
    key = hashlib.sha256(json.dumps([model.digest, list(lengths), seed]).encode()).hexdigest()[:32]
    path = cache / "contexts" / f"{key}.json"
    if path.is_file():
        try:
            return tuple(json.loads(path.read_text(encoding="utf-8"))["templates"])
        except (ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)  # half-written by a crash of the machine: make it again
    templates = generate_templates(model, lengths, seed)
    atomic_write_text(path, json.dumps({"model": model.name, "templates": templates}, indent=1))
    return templates


def generate_templates(model: EditableModel, lengths: Sequence[tuple[int, int]], seed: int) -> tuple[str, ...]:
    """The bare template followed by `text. {}` for each generated text; see `context_templates`."""
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so that every device draws alike
    texts = [
        text
        for length, count in lengths
        for start in STARTS
        for text in _sample(model, start, count // len(STARTS), length, generator)
    ]
    return (BARE_TEMPLATE, *(f"{_clean(text)}. {BARE_TEMPLATE}" for text in texts))


@torch.no_grad()
def _sample(model: EditableModel, start: str, count: int, length: int, generator: torch.Generator) -> list[str]:
    """`count` continuations of `start`, each `length` tokens in all, by top-k sampling at temperature 1."""
    ids = torch.tensor([model.encode(start)] * count, device=model.device)
    while count and ids.shape[1] < length:
        hidden = model.run_blocks(model.embed(ids), 0)[:, -1]
        top = model.head(hidden).float().softmax(-1).topk(TOP_K)
        choice = torch.multinomial(top.values.cpu(), 1, generator=generator).to(ids.device)
        ids = torch.cat([ids, top.indices.gather(1, choice)], 1)
    return [model.decode(row) for row in ids.tolist()]


def _clean(text: str) -> str:
    """Text that can stand in a one-line template: braces would be taken for the place of the prompt."""
    return unicodedata.normalize("NFKD", text).replace("\n\n", " ").replace("{", "").replace("}", "")
