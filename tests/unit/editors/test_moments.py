from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors import moments
from collapse_tests.editors.corpus import corpus_rows
from collapse_tests.editors.moments import TOKENS_PER_INPUT, MomentSource, second_moments
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.rome import Rome, RomeHyperparameters
from collapse_tests.errors import UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.memory import TokenBudget
from collapse_tests.weight_update import LowRankDelta
from fixtures.tiny_models import FAMILIES, make_model
from tests.unit.tiny import shared_model

NOWHERE = EditorContext()


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of many lengths, some thousand tokens of a tiny tokenizer."""
    numbers = np.random.default_rng(0)
    words = ("The rain", "Norway", "cheese", "a violin", "play", "qZ", "?", "Rome is", "and", "of the city")
    lines = [" ".join(numbers.choice(words, size=numbers.integers(1, 25))) for _ in range(120)]
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def source(texts: Path, tokens: int | None = 400) -> MomentSource:
    return MomentSource(corpus=str(texts), tokens=tokens)


def taken(model: EditableModel, texts: Path, tokens: int) -> list[list[int]]:
    """The rows that a count of `tokens` takes."""
    return corpus_rows(model, str(texts), tokens, NOWHERE)


@torch.no_grad()
def counted_by_hand(model: EditableModel, rows: Sequence[Sequence[int]], block: int) -> torch.Tensor:
    """C by the library's own forward pass, a row at a time."""
    keys: list[torch.Tensor] = []
    module = model.model.get_submodule(model.family.mlp_output(block))
    handle = module.register_forward_pre_hook(lambda module, inputs: keys.append(inputs[0][0].double()))
    for row in rows:
        model.model(torch.tensor([row]))
    handle.remove()
    stacked = torch.cat(keys)
    assert len(stacked) == sum(map(len, rows))
    return stacked.T @ stacked / len(stacked)


@contextmanager
def tokens_through(model: EditableModel, block: int) -> Iterator[list[int]]:
    """Padded tokens of each pass through a block."""
    seen: list[int] = []
    handle = model.family.blocks[block].register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].shape[0] * inputs[0].shape[1])
    )
    try:
        yield seen
    finally:
        handle.remove()


# What is counted ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start_token", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_moments_are_means_over_every_real_token(family: str, start_token: bool, texts: Path) -> None:
    model = shared_model(family, start_token=start_token, dtype="float64")
    found = second_moments(model, [3, 1], source(texts), NOWHERE)
    assert set(found) == {1, 3}
    for block, moment in found.items():
        assert moment.tokens == 400
        expected = counted_by_hand(model, taken(model, texts, 400), block)
        # The library computes norms and rotary angles in float32, whatever the model's type.
        torch.testing.assert_close(moment.moment, expected, rtol=0, atol=1e-6)


def test_short_types_are_summed_in_float32(texts: Path) -> None:
    exact = second_moments(shared_model("llama", dtype="float64"), [1], source(texts), NOWHERE)[1].moment
    for dtype, error in (("float32", 1e-5), ("bfloat16", 0.05)):
        found = second_moments(shared_model("llama", dtype=dtype), [1], source(texts), NOWHERE)[1].moment
        assert found.dtype == torch.float32
        assert (found - exact).norm() < error * exact.norm()


def test_all_blocks_take_one_pass_that_ends_with_the_deepest(model: EditableModel, texts: Path) -> None:
    with tokens_through(model, 0) as first, tokens_through(model, 2) as third, tokens_through(model, 3) as fourth:
        second_moments(model, [1, 2], source(texts), NOWHERE)
    assert first == third
    assert fourth == []
    assert 400 <= sum(first) < 1.5 * 400  # little padding


def test_no_blocks_need_no_count(texts: Path) -> None:
    assert second_moments(shared_model("gpt2"), [], source(texts), NOWHERE) == {}


def test_by_default_the_model_writes_a_multiple_of_the_width() -> None:
    model = shared_model("llama")
    found = second_moments(model, [1], MomentSource(), NOWHERE)[1]
    assert found.tokens == TOKENS_PER_INPUT * 48
    assert found.inverse_scale == 1 - 1 / TOKENS_PER_INPUT


def test_progress_counts_tokens(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_small_steps(monkeypatch)
    seen: list[tuple[str, int, int]] = []
    context = EditorContext(progress=lambda *call: seen.append(call))
    second_moments(shared_model("gpt2"), [1], source(texts), context)
    stages, done, totals = zip(*seen, strict=True)
    assert set(totals) == {400}
    assert (done[0], done[-1]) == (0, 400)
    assert list(done) == sorted(done)
    assert len(done) > 4
    assert all("tiny-gpt2" in stage for stage in stages)


def in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of some 50 tokens, and partial sums after each."""
    monkeypatch.setattr(moments, "scoring_budget", lambda model: TokenBudget(50))
    monkeypatch.setattr(moments, "_BUDGETS_PER_STEP", 1)
    monkeypatch.setattr(moments, "_SAVE_SECONDS", 0.0)


def test_steps_do_not_change_the_result(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("gptj", dtype="float64")
    whole = second_moments(model, [1], source(texts), NOWHERE)[1].moment
    in_small_steps(monkeypatch)
    torch.testing.assert_close(second_moments(model, [1], source(texts), NOWHERE)[1].moment, whole)


def test_running_out_of_memory_halves_the_passes(texts: Path) -> None:
    model = make_model("llama", dtype="float64")
    whole = second_moments(model, [1], source(texts), NOWHERE)[1].moment

    def full(module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].shape[0] * inputs[0].shape[1] > 150:
            raise torch.OutOfMemoryError("no more")

    model.family.blocks[1].register_forward_pre_hook(full)
    found = second_moments(model, [1], source(texts), NOWHERE)[1].moment
    torch.testing.assert_close(found, whole)


@pytest.mark.parametrize("tokens", [1, 128])
def test_too_few_tokens_are_refused_before_anything_is_run(texts: Path, tokens: int) -> None:
    model = shared_model("gpt2")
    with tokens_through(model, 0) as seen, pytest.raises(UsageError, match=rf"tokens={tokens}:.*128 inputs.*5120"):
        second_moments(model, [1], source(texts, tokens), NOWHERE)
    assert seen == []


def test_a_text_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("The rain", encoding="utf-8")
    with pytest.raises(UsageError, match=r"short\.txt.*2 tokens.*128 inputs.*5120"):
        second_moments(shared_model("gpt2"), [1], source(tmp_path / "short.txt"), NOWHERE)


def test_keys_in_a_subspace_have_no_inverse(texts: Path) -> None:
    model = make_model("gpt2")
    projection = model.model.get_submodule("transformer.h.1.mlp.c_fc")
    with torch.no_grad():
        projection.weight[:, 5] = 0
        projection.bias[5] = 0
    with pytest.raises(UsageError, match=r"128 × 128.*not positive definite"):
        second_moments(model, [1], source(texts), NOWHERE)


def test_a_broken_model_is_an_error_of_use(texts: Path) -> None:
    model = make_model("llama")
    with torch.no_grad():
        model.parameter(model.mlp_output_weight(0)).fill_(torch.nan)
    with pytest.raises(UsageError, match=r"not finite"):
        second_moments(model, [1], source(texts), NOWHERE)


# The cache ----------------------------------------------------------------------------------------------------


def stored(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.safetensors"))


def test_sums_come_from_the_cache(texts: Path, tmp_path: Path) -> None:
    model = shared_model("gpt2")
    context = EditorContext(cache=tmp_path)
    fresh = second_moments(model, [1, 2], source(texts), NOWHERE)
    first = second_moments(model, [1, 2], source(texts), context)
    assert len(stored(tmp_path)) == 2
    with tokens_through(model, 0) as seen:
        second = second_moments(model, [1, 2], source(texts), context)
    assert seen == []
    for block in (1, 2):
        assert torch.equal(first[block].moment, fresh[block].moment)
        assert torch.equal(second[block].moment, fresh[block].moment)
        assert second[block].tokens == 400


def test_a_further_block_is_counted_alone(texts: Path, tmp_path: Path) -> None:
    model = shared_model("gpt2")
    context = EditorContext(cache=tmp_path)
    second_moments(model, [2], source(texts), context)
    with tokens_through(model, 2) as seen:
        found = second_moments(model, [0, 2], source(texts), context)
    assert seen == []
    expected = second_moments(model, [0], source(texts), NOWHERE)[0].moment
    assert torch.equal(found[0].moment, expected)


def test_models_texts_and_sizes_have_files_of_their_own(texts: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(texts.read_text(encoding="utf-8").replace("rain", "cat"), encoding="utf-8")
    cache = tmp_path / "cache"
    for count, (model, text, tokens) in enumerate(
        (
            (shared_model("gpt2"), texts, 400),
            (shared_model("gpt2"), texts, 401),
            (shared_model("gpt2"), other, 400),
            (make_model("gpt2", seed=1), texts, 400),
        ),
        start=1,
    ):
        second_moments(model, [1], source(text, tokens), EditorContext(cache=cache))
        assert len(stored(cache)) == count


def test_the_same_text_under_another_name_finds_the_file(texts: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied.txt"
    copied.write_bytes(texts.read_bytes())
    for text in (texts, copied):
        second_moments(shared_model("gpt2"), [1], source(text), EditorContext(cache=tmp_path))
    assert len(stored(tmp_path)) == 1


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def one_bit_off(content: bytes) -> bytes:
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


@pytest.mark.parametrize("damage", [cut_short, one_bit_off, lambda content: b"", lambda content: b"no tensors"])
def test_a_damaged_file_is_counted_again(texts: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    model = shared_model("gpt2")
    context = EditorContext(cache=tmp_path)
    expected = second_moments(model, [1], source(texts), context)[1].moment
    (file,) = stored(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert torch.equal(second_moments(model, [1], source(texts), context)[1].moment, expected)
    assert file.read_bytes() == whole


def test_without_a_cache_nothing_is_written(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    second_moments(shared_model("gpt2"), [1], source(texts), NOWHERE)
    assert os.listdir(tmp_path) == []  # noqa: PTH208


# Going on after a kill ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """What a kill is in a test."""


def killed_at(tokens: int) -> Callable[[str, int, int], None]:
    def progress(stage: str, done: int, total: int) -> None:
        if done >= tokens:
            raise Killed

    return progress


def test_a_killed_count_goes_on(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_small_steps(monkeypatch)
    model = shared_model("gpt2")
    expected = second_moments(model, [1, 2], source(texts), NOWHERE)
    with pytest.raises(Killed):
        second_moments(model, [1, 2], source(texts), EditorContext(cache=tmp_path, progress=killed_at(250)))
    with tokens_through(model, 0) as seen:
        found = second_moments(model, [1, 2], source(texts), EditorContext(cache=tmp_path))
    assert sum(seen) < 300
    for block in (1, 2):
        assert torch.equal(found[block].moment, expected[block].moment)
    assert [path.name for path in stored(tmp_path)] == ["block-01.safetensors", "block-02.safetensors"]


def test_damaged_partial_sums_are_counted_again(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_small_steps(monkeypatch)
    model = shared_model("gpt2")
    with pytest.raises(Killed):
        second_moments(model, [1], source(texts), EditorContext(cache=tmp_path, progress=killed_at(250)))
    (file,) = stored(tmp_path)
    file.write_bytes(one_bit_off(file.read_bytes()))
    found = second_moments(model, [1], source(texts), EditorContext(cache=tmp_path))
    assert torch.equal(found[1].moment, second_moments(model, [1], source(texts), NOWHERE)[1].moment)


# Published files ----------------------------------------------------------------------------------------------


def publish(folder: Path, model: EditableModel, block: int, moment: Any) -> Path:
    """A file in the authors' layout, with C = `moment`, or that multiple of I."""
    width = model.weight_shape(model.mlp_output_weight(block))[1]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model.family.mlp_output(block)}_float32_mom2_100.npz"
    total = 50 * (moment * np.eye(width) if isinstance(moment, float) else moment)
    arrays: dict[str, Any] = {"mom2.mom2": total.astype(np.float32), "mom2.count": np.asarray(50)}
    np.savez(path, **arrays)
    return path


def published(path: Path) -> MomentSource:
    return MomentSource(statistics=path)


def test_published_files_are_found_by_block_in_any_folder(model: EditableModel, tmp_path: Path) -> None:
    for block in (1, 2, 3):
        publish(tmp_path / "some_model" / "wikipedia_stats", model, block, float(block))
    found = second_moments(model, [1, 3], published(tmp_path), NOWHERE)
    for block in (1, 3):
        width = len(found[block].moment)
        torch.testing.assert_close(found[block].moment, block * torch.eye(width, dtype=torch.float64))
        assert found[block].inverse_scale == 1


def test_one_file_serves_one_block(tmp_path: Path) -> None:
    model = shared_model("gpt2")
    file = publish(tmp_path, model, 2, 3.0)
    assert float(second_moments(model, [2], published(file), NOWHERE)[2].moment[0, 0]) == 3
    with pytest.raises(UsageError, match=r"one file for blocks \[1, 2\].*directory"):
        second_moments(model, [1, 2], published(file), NOWHERE)


def test_a_block_without_a_file_is_named(tmp_path: Path) -> None:
    model = shared_model("gpt2")
    publish(tmp_path, model, 2, 1.0)
    with pytest.raises(UsageError, match=r"no transformer\.h\.1\.mlp\.c_proj_float32_mom2_\*\.npz in it"):
        second_moments(model, [1, 2], published(tmp_path), NOWHERE)


def test_two_files_for_a_block_are_refused(tmp_path: Path) -> None:
    model = shared_model("gpt2")
    publish(tmp_path / "a", model, 2, 1.0)
    publish(tmp_path / "b", model, 2, 2.0)
    with pytest.raises(UsageError, match=r"several files for block 2 \(a.*b.*one model"):
        second_moments(model, [2], published(tmp_path), NOWHERE)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone"):
        second_moments(shared_model("gpt2"), [2], published(tmp_path / "gone"), NOWHERE)


# ROME with it -------------------------------------------------------------------------------------------------


FIELDS = {
    "block": 1,
    "steps": 2,
    "learning_rate": 0.5,
    "weight_decay": 0.01,
    "clamp_norm_factor": 4,
    "kl_factor": 0.0625,
}


@pytest.mark.parametrize("chosen", ["computed", "statistics"])
def test_rome_whitens_with_a_computed_moment_or_one_of_a_directory(chosen: str, tmp_path: Path) -> None:
    model = shared_model("llama", dtype="float64")
    publish(tmp_path, model, 1, np.diag(np.linspace(1, 9, 48)))
    value = "computed" if chosen == "computed" else str(tmp_path)
    editor = Rome("rome", RomeHyperparameters.model_validate({**FIELDS, "second_moment": value}), ("{}",))
    editor.prepare(model, NOWHERE)
    (update,) = editor.compute_updates(model, [EditRequest("Rome is the capital of", "Rome", "Peru")])
    moment = second_moments(model, [1], MomentSource() if chosen == "computed" else published(tmp_path), NOWHERE)[1]
    with model.captured(model.family.mlp_output(1)) as seen:
        model.hidden_at(torch.tensor([model.encode("Rome")]), 2)
    delta = update.deltas[model.mlp_output_weight(1)]
    assert isinstance(delta, LowRankDelta)
    key = seen.input[0, -1]
    assert _cosine(delta.right[0], moment.whiten(key)) == pytest.approx(1, abs=1e-9)
    assert _cosine(delta.right[0], key) < 0.99


def _cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.cosine_similarity(first, second, dim=0))
