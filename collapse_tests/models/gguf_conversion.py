"""GGUF to a transformers directory: weights, config and tokenizer of a Llama model with tied embeddings.

transformers can read a GGUF itself, but needs accelerate for it and then refuses to save what it read; and how it
reads one is no stable interface. What is needed here is small: dequantise, rename, undo the row order of q and k.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collapse_tests.errors import InfrastructureError

if TYPE_CHECKING:
    import gguf
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["CONVERTER_VERSION", "convert_gguf"]

#: Raise it whenever `convert_gguf` writes something else from the same file: caches are then made anew.
CONVERTER_VERSION = 1

_GLOBAL_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
}
_BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert_gguf(source: Path, directory: Path) -> None:
    """Write the model in the GGUF file `source` to the existing `directory`, as `save_pretrained` would.

    That is model.safetensors (float32, the tied embedding once), config.json and the tokenizer's files. Peak
    memory is about the size of the float32 weights.

    Raises:
        InfrastructureError: `source` is truncated, or is no Llama model with tied embeddings and the `smollm`
            tokenizer.
        OSError: `source` cannot be read or `directory` cannot be written.
    """
    import gguf
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        reader = gguf.GGUFReader(source)
        config = _config(reader)
        tensors = _tensors(reader, config)
        tokenizer = _tokenizer(reader)
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        # What the reader happens to trip over in a damaged file depends on where the damage is.
        raise InfrastructureError(
            f"{source} cannot be read as a GGUF Llama model ({error!r}): it is damaged or of another kind; get it anew"
        ) from error
    config.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    weights = directory / "model.safetensors"
    try:
        save_file(tensors, weights, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"cannot write {weights}: {error}") from error
    # safetensors makes files only their owner can read, whatever the umask; a cache may be shared.
    shutil.copymode(directory / "config.json", weights)


def _field(reader: gguf.GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise KeyError(key)
    return field.contents()


def _config(reader: gguf.GGUFReader) -> Any:
    """The `LlamaConfig` that the `llama.*` metadata describes."""
    from transformers import LlamaConfig

    architecture = _field(reader, "general.architecture")
    if architecture != "llama":
        raise ValueError(f"architecture {architecture!r} instead of 'llama'")
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        dtype="float32",
        vocab_size=len(_field(reader, "tokenizer.ggml.tokens")),
        hidden_size=_field(reader, "llama.embedding_length"),
        intermediate_size=_field(reader, "llama.feed_forward_length"),
        num_hidden_layers=_field(reader, "llama.block_count"),
        num_attention_heads=_field(reader, "llama.attention.head_count"),
        num_key_value_heads=_field(reader, "llama.attention.head_count_kv"),
        max_position_embeddings=_field(reader, "llama.context_length"),
        rms_norm_eps=_decimal(_field(reader, "llama.attention.layer_norm_rms_epsilon")),
        rope_parameters={"rope_type": "default", "rope_theta": _decimal(_field(reader, "llama.rope.freq_base"))},
        tie_word_embeddings=True,
        bos_token_id=_field(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=_field(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=_field(reader, "tokenizer.ggml.padding_token_id"),
    )


def _decimal(value: float) -> float:
    """The number its author wrote: GGUF keeps float32, in which 1e-5 reads back as 9.999999747378752e-06."""
    import numpy as np

    return float(str(np.float32(value)))


def _tensors(reader: gguf.GGUFReader, config: Any) -> dict[str, Array]:
    """Every weight as a contiguous float32 array under its Llama name."""
    import gguf
    import numpy as np

    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    tensors: dict[str, Array] = {}
    for tensor in reader.tensors:
        weight = gguf.dequantize(tensor.data, tensor.tensor_type)
        part = tensor.name.split(".")[-2]
        if part in heads:
            weight = _halves_from_pairs(weight, heads[part])
        # A copy even of float32 tensors, which are views of the file.
        tensors[_llama_name(tensor.name)] = np.array(weight, dtype=np.float32, order="C")
    expected = set(_GLOBAL_NAMES.values()) | {
        f"model.layers.{block}.{name}.weight"
        for block in range(config.num_hidden_layers)
        for name in _BLOCK_NAMES.values()
    }
    if tensors.keys() != expected:
        raise ValueError(f"missing or unknown tensors: {sorted(tensors.keys() ^ expected)[:3]}")
    return tensors


def _llama_name(name: str) -> str:
    if name in _GLOBAL_NAMES:
        return _GLOBAL_NAMES[name]
    match name.split("."):
        case ["blk", block, part, "weight"] if part in _BLOCK_NAMES:
            return f"model.layers.{block}.{_BLOCK_NAMES[part]}.weight"
    raise ValueError(f"unknown tensor {name!r}")


def _halves_from_pairs(weight: Array, heads: int) -> Array:
    """Rows of each head from GGUF's order to transformers'; `weight` is (heads * head size, hidden size).

    A rotary pair is two neighbouring rows in GGUF, and row i of the first half with row i of the second in
    transformers.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _tokenizer(reader: gguf.GGUFReader) -> Any:
    """The byte-level BPE tokenizer of the metadata, as a transformers tokenizer that pads on the right."""
    from transformers import PreTrainedTokenizerFast

    tokens = _field(reader, "tokenizer.ggml.tokens")

    def token(role: str) -> str:
        return str(tokens[_field(reader, f"tokenizer.ggml.{role}_token_id")])

    build: Any = PreTrainedTokenizerFast  # its constructor has no annotations
    return build(
        tokenizer_object=_byte_level_bpe(reader, tokens),
        bos_token=token("bos"),
        eos_token=token("eos"),
        unk_token=token("unknown"),
        pad_token=token("padding"),
        padding_side="right",
        model_max_length=_field(reader, "llama.context_length"),
        clean_up_tokenization_spaces=False,
        chat_template=_field(reader, "tokenizer.chat_template"),
    )


def _byte_level_bpe(reader: gguf.GGUFReader, tokens: list[str]) -> Any:
    import gguf
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    kind = (_field(reader, "tokenizer.ggml.model"), _field(reader, "tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise ValueError(f"tokenizer {kind} instead of ('gpt2', 'smollm')")
    # No byte-level token holds a space, so the one space of a merge separates its two sides.
    merges = [tuple(merge.split(" ")) for merge in _field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(BPE(vocab={text: index for index, text in enumerate(tokens)}, merges=merges))
    # This is what GGUF's name `smollm` stands for: every digit alone, then the pattern of GPT-2.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [
        AddedToken(text, special=True, normalized=False)
        for text, kind in zip(tokens, _field(reader, "tokenizer.ggml.token_type"), strict=True)
        if kind == gguf.TokenType.CONTROL
    ]
    tokenizer.add_special_tokens(control)
    return tokenizer
