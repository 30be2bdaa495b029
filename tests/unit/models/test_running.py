"""Running a model block by block equals running it whole."""

from __future__ import annotations

import pytest
import torch

from collapse_tests.errors import EditorError, UsageError
from collapse_tests.models.attention import PrefixKeyValues, RecordingKeyValues, causal_mask, prefix_mask
from collapse_tests.models.batching import pad_right
from collapse_tests.models.editable import EditableModel
from fixtures.tiny_models import make_model
from tests.unit.tiny import shared_model

ROWS = ([5, 9, 40, 33, 17, 260, 3], [8, 2], [77, 21, 4, 4, 90], [12])


def logits_alone(model: EditableModel, ids: list[int]) -> torch.Tensor:
    """The library's own logits of one unpadded row, (length, vocabulary)."""
    logits: torch.Tensor = model.model(torch.tensor([ids])).logits[0]
    return logits


@torch.no_grad()
def test_running_from_any_block_gives_the_librarys_logits(any_model: EditableModel) -> None:
    ids = pad_right(ROWS, any_model.device)
    for block in range(any_model.n_blocks + 1):
        logits = any_model.head(any_model.run_blocks(any_model.hidden_at(ids, block), block))
        for row, tokens in zip(logits, ROWS, strict=True):
            torch.testing.assert_close(row[: len(tokens)], logits_alone(any_model, tokens), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_an_explicit_causal_mask_changes_nothing(any_model: EditableModel) -> None:
    hidden = any_model.hidden_at(pad_right(ROWS, any_model.device), 1)
    mask = causal_mask(hidden.shape[1], hidden.dtype, hidden.device)
    torch.testing.assert_close(any_model.run_blocks(hidden, 1, mask=mask), any_model.run_blocks(hidden, 1))


@torch.no_grad()
def test_eager_attention_gives_the_same_logits() -> None:
    model = make_model("llama")
    expected = model.run_blocks(model.hidden_at(pad_right(ROWS, model.device), 0), 0)
    model.model.set_attn_implementation("eager")
    torch.testing.assert_close(model.run_blocks(model.hidden_at(pad_right(ROWS, model.device), 0), 0), expected)


@torch.no_grad()
def test_stopping_at_a_block_and_going_on_is_running_through(any_model: EditableModel) -> None:
    hidden = any_model.embed(pad_right(ROWS, any_model.device))
    through = any_model.run_blocks(hidden, 0)
    torch.testing.assert_close(any_model.run_blocks(any_model.run_blocks(hidden, 0, 3), 3), through)
    assert torch.equal(any_model.run_blocks(hidden, 2, 2), hidden)


@torch.no_grad()
@pytest.mark.parametrize("start", [0, 2])
def test_suffixes_after_cached_prefixes_equal_whole_rows(any_model: EditableModel, start: int) -> None:
    rows = [[3, 44, 9, 60], [5, 9, 40, 33, 17, 260, 3], [8, 2, 71, 6, 90, 14, 31, 9, 22]]
    lengths = torch.tensor([0, 3, 5])  # every suffix has four tokens
    hidden = any_model.hidden_at(pad_right(rows, any_model.device), start)
    recorded = RecordingKeyValues()
    any_model.run_blocks(hidden[:, :5], start, keys=recorded)

    positions = lengths[:, None] + torch.arange(4)
    suffix = hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))
    prefixes = PrefixKeyValues(recorded.layers)

    def run(which: list[int]) -> torch.Tensor:
        mask = prefix_mask(lengths[which], 5, 4, hidden.dtype)
        keys = prefixes.select(torch.tensor(which))
        states = any_model.run_blocks(suffix[which], start, positions=positions[which], mask=mask, keys=keys)
        return any_model.head(states)

    for which in ([0, 1, 2], [2, 0]):
        for index, logits in zip(which, run(which), strict=True):
            expected = logits_alone(any_model, rows[index])[-4:]
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_captured_holds_input_and_output_of_a_module(model: EditableModel) -> None:
    ids = torch.tensor([[4, 8, 15, 16]])
    path = model.family.mlp_output(1)
    with model.captured(path) as captured:
        model.run_blocks(model.hidden_at(ids, 1), 1, 2)
    assert captured.input.shape == (1, 4, model.weight_shape(f"{path}.weight")[1])
    torch.testing.assert_close(model.linear(f"{path}.weight")(captured.input), captured.output)
    kept = captured.output.clone()
    model.run_blocks(model.hidden_at(torch.tensor([[1, 2, 3, 4]]), 1), 1, 2)
    assert torch.equal(captured.output, kept)  # nothing is recorded after the block


@torch.no_grad()
def test_what_precedes_the_block_of_a_parameter_does_not_depend_on_it(any_model: EditableModel) -> None:
    model = make_model(any_model.config.model_type)
    ids = torch.tensor([[4, 8, 15, 16]])
    for name, tensor in model.model.named_parameters():
        block, original = model.block_of(name), tensor.clone()
        before = model.hidden_at(ids, block) if block >= 0 else None
        tensor.add_(0.5)
        if before is not None:
            assert torch.equal(model.hidden_at(ids, block), before), name
        tensor.copy_(original)


def test_blocks_of_parameters() -> None:
    assert shared_model("gpt2").block_of("lm_head.weight") == -1  # tied to the embeddings
    assert shared_model("gpt2").block_of("transformer.wpe.weight") == -1
    assert shared_model("gpt2").block_of("transformer.ln_f.weight") == 4
    assert shared_model("gpt2").block_of("transformer.h.2.ln_1.weight") == 2
    assert shared_model("llama").block_of("lm_head.weight") == 4
    assert shared_model("llama").block_of("model.embed_tokens.weight") == -1
    assert shared_model("llama").block_of("model.norm.weight") == 4
    assert shared_model("llama").block_of("model.layers.3.input_layernorm.weight") == 3


def test_the_edited_weight_maps_the_mlps_inner_size_to_the_hidden_size(any_model: EditableModel) -> None:
    inner = {"gpt2": 128, "gptj": 128}.get(any_model.config.model_type, 48)
    assert any_model.weight_shape(any_model.mlp_output_weight(2)) == (32, inner)


@pytest.mark.parametrize("name", ["transformer.h.9.mlp.c_proj.weight", "nothing", "transformer.h", "no.such.weight"])
def test_unknown_parameters_are_named(name: str) -> None:
    with pytest.raises(EditorError, match=f"'tiny-gpt2' has no parameter '{name}'"):
        shared_model("gpt2").parameter(name)


def test_a_bias_that_a_layer_does_not_have_is_no_parameter() -> None:
    with pytest.raises(EditorError, match="no parameter"):
        shared_model("llama").parameter("model.layers.0.mlp.down_proj.bias")


def test_an_embedding_is_no_linear_layer() -> None:
    with pytest.raises(EditorError, match=r"transformer\.wpe\.weight.*not the weight of a linear layer"):
        shared_model("gpt2").linear("transformer.wpe.weight")


# Text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start_token", [False, True])
def test_the_answer_continues_the_prompt_after_one_space(start_token: bool) -> None:
    model = shared_model("llama", start_token=start_token)
    prompt, answer = "The capital of Norway is", "Oslo"
    assert model.encode(prompt) + model.answer_ids(prompt, answer) == model.encode(f"{prompt} {answer}")
    assert model.decode(model.answer_ids(prompt, answer)) == " Oslo"


def test_the_start_token_is_the_tokenizers_and_can_be_left_out() -> None:
    model = shared_model("llama", start_token=True)
    assert model.encode("The cat") == [0, *model.encode("The cat", special_tokens=False)]
    assert model.decode(model.encode("The cat")) == "The cat"


def test_an_answer_that_merges_with_the_prompt_is_encoded_by_itself() -> None:
    model = make_model("gpt2")
    encode = model.tokenizer.encode
    model.tokenizer.encode = lambda text, **options: [999] if "play" in text and "The" in text else encode(text)
    assert model.answer_ids("The", "play") == encode(" play")


def test_a_text_longer_than_the_model_takes_is_refused() -> None:
    model = shared_model("gpt2")
    assert len(model.encode("z" * 128)) == model.max_length == 128
    with pytest.raises(UsageError, match="129 tokens is longer than the 128"):
        model.encode("z" * 129)


def test_a_sliding_window_limits_the_length() -> None:
    model = make_model("mistral")
    model.config.sliding_window = 16
    assert model.max_length == 16
    model.config.sliding_window = None
    assert model.max_length == 128
