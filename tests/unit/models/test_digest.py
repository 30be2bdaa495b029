from __future__ import annotations

import pytest
import torch

from collapse_tests.models.digest import digest_of, fingerprint, fingerprints
from fixtures.tiny_models import make_model

CHUNK = 1 << 18  # 64-bit words that are summed at once


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64])
@pytest.mark.parametrize("count", [1, 3, 4, 8, 13])
def test_every_single_bit_shows_and_so_does_every_pair(dtype: torch.dtype, count: int) -> None:
    tensor = torch.arange(1, count + 1).to(dtype)
    data = tensor.view(torch.uint8)
    seen = {fingerprint(tensor)}
    for place in range(data.numel()):
        for bit in range(8):
            data[place] ^= 1 << bit
            seen.add(fingerprint(tensor))
            data[place] ^= 1 << bit
    # No two single changes agree, or both at once would cancel.
    assert len(seen) == 8 * data.numel() + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_negated_tensors_show(dtype: torch.dtype) -> None:
    tensor = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    odd = tensor.clone()
    odd[:, 1::2] *= -1
    assert len({fingerprint(tensor), fingerprint(-tensor), fingerprint(odd), fingerprint(-odd)}) == 4


def test_changes_show_in_every_chunk_and_at_the_ragged_end() -> None:
    tensor = torch.randn(2 * (2 * CHUNK) + 3, generator=torch.Generator().manual_seed(0))
    original = fingerprint(tensor)
    seen = {original}
    places = [0, 1, 2 * CHUNK - 1, 2 * CHUNK, 4 * CHUNK - 1, 4 * CHUNK, tensor.numel() - 1]
    for place in places:
        kept = tensor[place].item()
        tensor[place] = torch.nextafter(tensor[place], torch.tensor(9e9))
        seen.add(fingerprint(tensor))
        tensor[place] = kept
    assert len(seen) == len(places) + 1
    assert fingerprint(tensor) == original


def test_swapped_elements_show() -> None:
    tensor = torch.randn(4 * CHUNK, generator=torch.Generator().manual_seed(0))
    original = fingerprint(tensor)
    for first, second in ((0, 1), (0, 2), (4, 2 * CHUNK + 4)):  # in one word, in two words, in two chunks
        swapped = tensor.clone()
        swapped[[first, second]] = tensor[[second, first]]
        assert fingerprint(swapped) != original


def test_a_zero_that_turns_negative_and_a_nan_that_turns_another_show() -> None:
    assert fingerprint(torch.tensor([0.0])) != fingerprint(torch.tensor([-0.0]))
    quiet, other = torch.tensor([0x7FC00000, 0x7FC00001], dtype=torch.int32).view(torch.float32).split(1)
    assert fingerprint(quiet) != fingerprint(other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_layout_does_not_matter(dtype: torch.dtype) -> None:
    tensor = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = fingerprint(tensor)
    assert fingerprint(tensor.clone()) == expected
    assert fingerprint(tensor.T.contiguous().T) == expected
    for offset in range(1, 9):
        storage = torch.zeros(offset + 35, dtype=dtype)
        view = storage[offset:].view(7, 5)
        view.copy_(tensor)
        assert fingerprint(view) == expected


def test_scalars_and_empty_tensors_have_fingerprints() -> None:
    assert fingerprint(torch.tensor(1.5)) != fingerprint(torch.tensor(2.5))
    assert isinstance(fingerprint(torch.zeros(0)), int)
    assert fingerprint(torch.tensor(True)) != fingerprint(torch.tensor(False))


def test_equal_models_have_equal_digests_and_others_do_not() -> None:
    first, second, other = make_model("llama"), make_model("llama"), make_model("llama", seed=1)
    assert first.digest == second.digest != other.digest
    assert len(first.digest) == 32
    assert int(first.digest, 16) >= 0


def test_tied_parameters_count_once() -> None:
    prints = fingerprints(make_model("gpt2").model)
    assert "transformer.wte.weight" in prints
    assert "lm_head.weight" not in prints


def test_the_digest_depends_on_names_values_and_description_but_not_on_order() -> None:
    digest = digest_of({"a": 1, "b": 2}, "gpt2")
    assert digest == digest_of({"b": 2, "a": 1}, "gpt2")
    others = [digest_of({"a": 2, "b": 1}, "gpt2"), digest_of({"a": 1, "c": 2}, "gpt2"), digest_of({"a": 1, "b": 2}, "")]
    assert len({digest, *others}) == 4


def test_changed_tensors_are_named() -> None:
    model = make_model("gpt2")
    assert model.changed_tensors() == []
    block = model.model.transformer.h[1]
    block.mlp.c_proj.weight[3, 4] += 1e-3
    block.ln_1.bias[0] = 1e-30
    names = ["transformer.h.1.ln_1.bias", "transformer.h.1.mlp.c_proj.weight"]
    assert model.changed_tensors() == names
    block.ln_1.bias[0] = 0
    assert model.changed_tensors() == names[1:]


def test_buffers_that_come_or_go_are_named() -> None:
    model = make_model("llama")
    model.model.register_buffer("stowaway", torch.zeros(1))
    assert model.changed_tensors() == ["stowaway"]
    del model.model.stowaway
    assert model.changed_tensors() == []
    del model.model.model.norm.weight
    assert model.changed_tensors() == ["model.norm.weight"]


def test_a_parameter_that_is_replaced_by_an_equal_one_has_not_changed() -> None:
    model = make_model("llama")
    norm = model.model.model.norm
    norm.weight = torch.nn.Parameter(norm.weight.detach().clone())
    assert model.changed_tensors() == []
