from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from collapse_tests.errors import InfrastructureError
from collapse_tests.models.gguf_conversion import convert_gguf

SPECIAL = ["<|end|>", "<|im_start|>", "<|im_end|>", "<file_sep>"]
MERGED = ["th", "the", "Ġthe", "12", "Ġ1"]
TOKENS = [*SPECIAL, *sorted(ByteLevel.alphabet()), *MERGED]
MERGES = ["t h", "th e", "Ġ the", "1 2", "Ġ 1"]
HEADS = {"q_proj": 4, "k_proj": 2}
PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
F32 = gguf.GGMLQuantizationType.F32
Q8_0 = gguf.GGMLQuantizationType.Q8_0
Q4_1 = gguf.GGMLQuantizationType.Q4_1

Weights = dict[str, torch.Tensor]
Kind = Callable[[str], gguf.GGMLQuantizationType]


@pytest.fixture
def model() -> LlamaForCausalLM:
    """Two blocks, grouped-query attention, tied embeddings and weights large enough that rotary positions matter."""
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=True,
    )
    model: Any = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
    return cast("LlamaForCausalLM", model.eval())


def _gguf_name(name: str) -> str:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, block, *part, _ = name.split(".")
    return f"blk.{block}.{PARTS['.'.join(part)]}.weight"


def _paired(name: str, weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rows of q and k in GGUF's order: row i of a head's first half, then row i of its second half."""
    heads = HEADS.get(name.split(".")[-2])
    if heads is None:
        return weight
    size = len(weight) // heads
    order = [head * size + half * (size // 2) + i for head in range(heads) for i in range(size // 2) for half in (0, 1)]
    return weight[order]


def _add_metadata(writer: gguf.GGUFWriter, pre: str) -> None:
    writer.add_block_count(2)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(5000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 4 + [gguf.TokenType.NORMAL] * (len(TOKENS) - 4))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ messages[0]['content'] }}")


def _write_gguf(
    path: Path,
    weights: Weights,
    *,
    kind: Kind = lambda _: F32,
    architecture: str = "llama",
    pre: str = "smollm",
) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    _add_metadata(writer, pre)
    for name, tensor in weights.items():
        data = _paired(name, tensor.numpy())
        quantised = gguf.quantize(data, kind(name))
        writer.add_tensor(_gguf_name(name), quantised, raw_dtype=kind(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _weights(model: LlamaForCausalLM) -> Weights:
    """Every parameter once: the tied embedding has one name here, as in a GGUF."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def _convert(source: Path) -> Path:
    directory = source.with_suffix(".converted")
    directory.mkdir()
    convert_gguf(source, directory)
    return directory


def _logits(model: Any) -> torch.Tensor:
    ids = torch.arange(60).reshape(2, 30) * 7 % len(TOKENS)
    with torch.no_grad():
        logits: torch.Tensor = model(ids).logits
    return logits


def test_the_converted_model_is_the_original(model: LlamaForCausalLM, tmp_path: Path) -> None:
    directory = _convert(_write_gguf(tmp_path / "model.gguf", _weights(model)))
    loaded = AutoModelForCausalLM.from_pretrained(directory)
    assert loaded.dtype == torch.float32
    assert torch.equal(_logits(loaded), _logits(model))


def test_quantised_tensors_become_what_they_stand_for(model: LlamaForCausalLM, tmp_path: Path) -> None:
    def kind(name: str) -> gguf.GGMLQuantizationType:
        return Q8_0 if "embed" in name else F32 if "norm" in name else Q4_1

    directory = _convert(_write_gguf(tmp_path / "model.gguf", _weights(model), kind=kind))
    exact = _logits(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            packed = gguf.quantize(parameter.numpy(), kind(name))
            parameter.copy_(torch.from_numpy(np.array(gguf.dequantize(packed, kind(name)))))
    logits = _logits(AutoModelForCausalLM.from_pretrained(directory))
    assert torch.equal(logits, _logits(model))
    assert not torch.equal(logits, exact)


def test_the_weights_file(model: LlamaForCausalLM, tmp_path: Path) -> None:
    directory = _convert(_write_gguf(tmp_path / "model.gguf", _weights(model)))
    with safe_open(directory / "model.safetensors", framework="pt") as weights:
        names = list(weights.keys())
        assert sorted(names) == sorted(_weights(model))
        assert {weights.get_slice(name).get_dtype() for name in names} == {"F32"}
        assert weights.metadata() == {"format": "pt"}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert len(modes) == 1, "a cache that others may read holds no file that they may not"


def test_the_config(model: LlamaForCausalLM, tmp_path: Path) -> None:
    directory = _convert(_write_gguf(tmp_path / "model.gguf", _weights(model)))
    config = json.loads((directory / "config.json").read_text())
    expected = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(TOKENS),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    assert {key: config[key] for key in expected} == expected
    assert config["rope_parameters"]["rope_theta"] == 5000.0


def test_the_tokenizer(model: LlamaForCausalLM, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(_convert(_write_gguf(tmp_path / "model.gguf", _weights(model))))
    text = "the 12 the\ttheé<file_sep><|im_end|>"
    pieces = ["the", "Ġ", "1", "2", "Ġthe", "ĉ", "the", "Ã", "©", "<file_sep>", "<|im_end|>"]
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode(text)) == pieces, "digits stand alone, merges apply"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert (tokenizer.unk_token, tokenizer.pad_token) == ("<|end|>", "<|im_end|>")
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == "the 12 the\ttheé"


def test_batches_are_padded_on_the_right(model: LlamaForCausalLM, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(_convert(_write_gguf(tmp_path / "model.gguf", _weights(model))))
    batch = tokenizer(["the", "the the"], padding=True)
    assert sorted(batch) == ["attention_mask", "input_ids"]
    assert batch["attention_mask"] == [[1, 0], [1, 1]]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(share: float, model: LlamaForCausalLM, tmp_path: Path) -> None:
    source = _write_gguf(tmp_path / "model.gguf", _weights(model))
    content = source.read_bytes()
    source.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InfrastructureError, match="cannot be read as a GGUF Llama model") as caught:
        _convert(source)
    assert str(source) in str(caught.value)


def test_another_file_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "model.gguf"
    source.write_bytes(b"PK\x03\x04" + bytes(4096))
    with pytest.raises(InfrastructureError, match="cannot be read as a GGUF Llama model"):
        _convert(source)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"architecture": "qwen2"}, "architecture 'qwen2'"), ({"pre": "llama-bpe"}, "llama-bpe")],
)
def test_another_kind_of_model_is_refused(
    change: dict[str, str], named: str, model: LlamaForCausalLM, tmp_path: Path
) -> None:
    source = _write_gguf(tmp_path / "model.gguf", _weights(model), kind=lambda _: F32, **change)
    with pytest.raises(InfrastructureError, match=named):
        _convert(source)


def test_a_missing_tensor_is_named(model: LlamaForCausalLM, tmp_path: Path) -> None:
    weights = _weights(model)
    del weights["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(InfrastructureError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        _convert(_write_gguf(tmp_path / "model.gguf", weights))


def test_an_unknown_tensor_is_named(model: LlamaForCausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = _weights(model)
    weights["model.layers.0.extra.weight"] = torch.zeros(32, 32)
    monkeypatch.setitem(PARTS, "extra", "attn_sinks")
    with pytest.raises(InfrastructureError, match=r"unknown tensor 'blk\.0\.attn_sinks\.weight'"):
        _convert(_write_gguf(tmp_path / "model.gguf", weights))


def test_weights_that_cannot_be_written_are_an_os_error(model: LlamaForCausalLM, tmp_path: Path) -> None:
    source = _write_gguf(tmp_path / "model.gguf", _weights(model))
    directory = tmp_path / "converted"
    (directory / "model.safetensors").mkdir(parents=True)
    with pytest.raises(OSError, match=r"model\.safetensors"):
        convert_gguf(source, directory)
