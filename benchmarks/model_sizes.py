"""Models of the study's sizes with random weights: they cost what the real ones do and need no download.

No request converges on them, so every optimisation takes all its steps: the worst case.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from collapse_tests.models.editable import EditableModel
from collapse_tests.models.precision import MatmulPrecision, resolve_precision

__all__ = ["SIZES", "random_model", "save_random_model"]

SIZES = ("gpt2-xl", "gpt-j-6b", "llama2-7b")


def random_model(size: str, tokenizer: Any, device: torch.device, dtype: torch.dtype, matmul: str) -> EditableModel:
    """A model of a known size on `device`.

    Args:
        size: one of `SIZES`; the name also selects hyper-parameters.
        tokenizer: whose vocabulary the model gets.
        device: where to make it.
        dtype: of the weights.
        matmul: matmul precision, as the option of that name.
    """
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(_config(size, len(tokenizer)), dtype=dtype)
    precision: MatmulPrecision = resolve_precision(matmul, device, dtype)
    return EditableModel(model.to(device), tokenizer, size, precision)


def save_random_model(size: str, directory: Path, dtype: str) -> Path:
    """A model of a known size, with the default model's tokenizer, as files that `--model` reads.

    Args:
        size: one of `SIZES`. By its path it is no known name, so that editors take their default hyper-parameters.
        directory: where to make a directory of that name.
        dtype: of the weights.
    """
    from transformers import AutoTokenizer

    from collapse_tests.models.embedded import ensure_default_model

    tokenizer = AutoTokenizer.from_pretrained(ensure_default_model(print))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = random_model(size, tokenizer, device, getattr(torch, dtype), "float32").model
    place = directory / size
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def _config(size: str, vocabulary: int) -> Any:
    from transformers import GPT2Config, GPTJConfig, LlamaConfig

    if size == "gpt2-xl":
        return GPT2Config(vocab_size=vocabulary, n_embd=1600, n_layer=48, n_head=25)
    if size == "gpt-j-6b":
        return GPTJConfig(vocab_size=vocabulary, n_embd=4096, n_layer=28, n_head=16, rotary_dim=64)
    return LlamaConfig(vocab_size=vocabulary)  # its defaults are those of Llama 2 7B
