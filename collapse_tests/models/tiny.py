"""Random models of every family, small enough that an edit takes milliseconds, and a tokenizer of their own.

For checks of editors, which need a model's structure and not its knowledge. Frameworks are imported late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collapse_tests.models.editable import EditableModel

__all__ = ["FAMILIES", "make_config", "make_model", "make_tokenizer"]

FAMILIES = ("gpt2", "gptj", "llama")

#: Words that become one token each; every other text falls back to bytes.
_WORDS = (
    *("The", " capital", " of", " is", " Norway", "Norway", " Oslo", " Lima", " Vienna", " a", " in", "Rome", "Paris"),
    *(" city", " cheese", " cat", " You", "You", " play", " the", " violin", " and", " rain", " river", " bread"),
)


def make_tokenizer(start_token: bool = False) -> Any:
    """A byte-level BPE tokenizer whose merges are written down, so that no training can vary.

    Args:
        start_token: whether `encode` puts a start token first, as Llama's does.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {
        token: index for index, token in enumerate(("<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())))
    }
    merges: list[tuple[str, str]] = []
    for word in _WORDS:
        letters = word.replace(" ", "\u0120")  # the byte-level alphabet's letter for a space
        for end in range(1, len(letters)):
            if letters[: end + 1] not in vocabulary:
                vocabulary[letters[: end + 1]] = len(vocabulary)
                merges.append((letters[:end], letters[end]))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if start_token:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def make_config(family: str, vocabulary: int) -> Any:
    """Configuration of a tiny model: 4 blocks, hidden size 32."""
    from transformers import GPT2Config, GPTJConfig, LlamaConfig, MistralConfig, Qwen2Config

    ends: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    gpt: dict[str, Any] = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 128, "vocab_size": vocabulary}
    llama: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "vocab_size": vocabulary,
    }
    match family:
        case "gpt2":
            return GPT2Config(**gpt, **ends)
        case "gptj":
            return GPTJConfig(**gpt, **ends, rotary_dim=4)
        case "mistral":
            return MistralConfig(**llama, **ends)
        case "qwen2":
            return Qwen2Config(**llama, **ends)
    return LlamaConfig(**llama, **ends, tie_word_embeddings=False)


def make_model(
    family: str, seed: int = 0, *, start_token: bool = False, dtype: str = "float32", device: str = "cpu"
) -> EditableModel:
    """A random model; weights large enough that edits and differences are well above rounding.

    Args:
        family: a `model_type`: gpt2, gptj, llama, mistral or qwen2.
        seed: of the weights.
        start_token: see `make_tokenizer`.
        dtype: of the weights.
        device: where they are.
    """
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    from collapse_tests.models.editable import EditableModel

    tokenizer = make_tokenizer(start_token)
    with torch.random.fork_rng(devices=[]):  # its first weights are random, and replaced below
        model = AutoModelForCausalLM.from_config(make_config(family, len(tokenizer)))
    numbers = np.random.default_rng(seed)  # unlike torch's, the same on every version and processor
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.from_numpy(numbers.normal(0, 0.15, tuple(parameter.shape))))
    return EditableModel(model.to(device, getattr(torch, dtype)), tokenizer, f"tiny-{family}")
