from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from collapse_tests.editors.corpus import GENERATED, corpus_rows, digest_of_rows
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.errors import UsageError
from collapse_tests.models import workload
from collapse_tests.models.editable import EditableModel
from collapse_tests.network import OFFLINE_VARIABLE
from fixtures.tiny_models import FAMILIES, make_model
from tests.unit.hub_library import HubLibrary
from tests.unit.tiny import shared_model

#: Of a tiny model's rows, which are as long as it allows.
LENGTH = 128
NOWHERE = EditorContext()


def kept(cache: Path, **fields: Any) -> EditorContext:
    return EditorContext(cache=cache, **fields)


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*.json") if path.is_file())


# Written by the model -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, LENGTH, LENGTH + 1, 300])
def test_there_are_exactly_as_many_tokens_as_asked_for(tokens: int) -> None:
    rows = corpus_rows(shared_model("gpt2"), GENERATED, tokens, NOWHERE)
    assert sum(map(len, rows)) == tokens
    assert all(len(row) == LENGTH for row in rows[:-1])


def test_rows_begin_with_the_start_token_and_hold_tokens(model: EditableModel) -> None:
    rows = corpus_rows(model, GENERATED, 300, NOWHERE)
    assert {row[0] for row in rows} == {model.tokenizer.bos_token_id}
    assert all(0 <= token < model.vocabulary_size for row in rows for token in row)
    assert rows[0] != rows[1]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_tokens_are_drawn_from_the_models_own_distribution(family: str) -> None:
    """The mean negative log-likelihood of what a model draws is the mean entropy of what it draws from."""
    sharp = make_model(family).model
    # Far from uniform; GPT-2's head is its embedding, where a factor makes a token predict itself alone.
    sharp.get_output_embeddings().weight.mul_(1 if family == "gpt2" else 8)
    model = EditableModel(sharp, shared_model(family).tokenizer, "sharp")
    ids = torch.tensor(corpus_rows(model, GENERATED, 20 * LENGTH, NOWHERE))
    log_p = sharp(ids).logits[:, :-1].double().log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    surprise = _surprise(log_p, ids[:, 1:]) - entropy
    error = surprise.std() / surprise.numel() ** 0.5
    assert abs(surprise.mean()) < 4 * error
    # The last token alone says less than all before it, so a sampler that forgets them would not pass.
    alone = sharp(ids[:, 1:-1].reshape(-1, 1)).logits[:, 0].double().log_softmax(-1)
    assert _surprise(alone, ids[:, 2:].flatten()).mean() - entropy.mean() > 8 * error


def _surprise(log_p: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """-log p of tokens (...), given log p (..., vocabulary)."""
    return -log_p.gather(-1, ids[..., None]).squeeze(-1)


def test_the_corpus_is_a_function_of_model_and_seed() -> None:
    model = shared_model("llama")
    rows = corpus_rows(model, GENERATED, 300, EditorContext(seed=3))
    assert corpus_rows(make_model("llama"), GENERATED, 300, EditorContext(seed=3)) == rows
    assert corpus_rows(model, GENERATED, 300, EditorContext(seed=4)) != rows
    assert corpus_rows(make_model("llama", seed=1), GENERATED, 300, EditorContext(seed=3)) != rows


def test_rows_do_not_depend_on_those_written_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama", dtype="float64")
    rows = corpus_rows(model, GENERATED, 5 * LENGTH, NOWHERE)
    monkeypatch.setattr(workload, "_CPU_ROWS", 2)
    assert corpus_rows(model, GENERATED, 5 * LENGTH, NOWHERE) == rows


def without_tokens(*names: str) -> EditableModel:
    """A model whose tokenizer lacks some special tokens."""
    model = make_model("gpt2")
    for name in names:
        setattr(model.tokenizer, name, None)
    return model


def test_rows_begin_with_the_end_token_where_there_is_no_start_token() -> None:
    model = without_tokens("bos_token")
    rows = corpus_rows(model, GENERATED, 300, NOWHERE)
    assert {row[0] for row in rows} == {model.tokenizer.eos_token_id}


def test_rows_begin_with_drawn_tokens_where_there_is_neither() -> None:
    model = without_tokens("bos_token", "eos_token")
    starts = [row[0] for row in corpus_rows(model, GENERATED, 8 * LENGTH, NOWHERE)]
    assert len(set(starts)) > 4
    assert all(0 <= start < model.vocabulary_size for start in starts)


def test_writing_survives_running_out_of_memory() -> None:
    model = make_model("gpt2", dtype="float64")
    rows = corpus_rows(model, GENERATED, 5 * LENGTH, NOWHERE)

    def full(module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].shape[0] > 2:
            raise torch.OutOfMemoryError("no more")

    model.family.blocks[1].register_forward_pre_hook(full)
    assert corpus_rows(model, GENERATED, 5 * LENGTH, NOWHERE) == rows


# Its cache ----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What a kill is in a test."""


def killed_after(calls: int) -> Callable[[str, int, int], None]:
    left = iter(range(calls))

    def progress(stage: str, done: int, total: int) -> None:
        if next(left, None) is None:
            raise Killed

    return progress


def never(stage: str, done: int, total: int) -> None:
    raise AssertionError(f"{stage} is done again")


def test_rows_come_from_the_cache_and_a_longer_corpus_begins_with_the_shorter(tmp_path: Path) -> None:
    model = shared_model("gpt2")
    short = corpus_rows(model, GENERATED, 3 * LENGTH, kept(tmp_path))
    assert short == corpus_rows(model, GENERATED, 3 * LENGTH, NOWHERE)
    assert corpus_rows(model, GENERATED, 3 * LENGTH, kept(tmp_path, progress=never)) == short
    assert corpus_rows(model, GENERATED, LENGTH, kept(tmp_path, progress=never)) == short[:1]
    longer = corpus_rows(model, GENERATED, 5 * LENGTH, kept(tmp_path))
    assert longer[:3] == short
    assert longer == corpus_rows(model, GENERATED, 5 * LENGTH, NOWHERE)
    assert len(files(tmp_path)) == 1


def test_a_killed_run_goes_on_after_its_last_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "_CPU_ROWS", 2)
    model = make_model("gpt2")
    steps = LENGTH - 1
    with pytest.raises(Killed):
        corpus_rows(model, GENERATED, 6 * LENGTH, kept(tmp_path, progress=killed_after(2 * steps + 5)))
    runs: list[int] = []
    model.family.blocks[0].register_forward_pre_hook(lambda module, inputs: runs.append(len(inputs[0])))
    assert corpus_rows(model, GENERATED, 6 * LENGTH, kept(tmp_path)) == corpus_rows(
        shared_model("gpt2"), GENERATED, 6 * LENGTH, NOWHERE
    )
    assert sum(runs) == 2 * steps  # of six rows, four were there


@pytest.mark.parametrize("damage", [b"", b'{"digest": "', b"\xff", b"[]", b'{"rows": [[0]], "digest": null}'])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: bytes) -> None:
    model = shared_model("gpt2")
    rows = corpus_rows(model, GENERATED, 200, kept(tmp_path))
    (file,) = files(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage)
    assert corpus_rows(model, GENERATED, 200, kept(tmp_path)) == rows
    assert file.read_bytes() == whole


def test_a_changed_token_counts_as_damage(tmp_path: Path) -> None:
    model = shared_model("gpt2")
    rows = corpus_rows(model, GENERATED, 200, kept(tmp_path))
    (file,) = files(tmp_path)
    stored = json.loads(file.read_text(encoding="utf-8"))
    stored["rows"][0][5] += 1
    file.write_text(json.dumps(stored), encoding="utf-8")
    assert corpus_rows(model, GENERATED, 200, kept(tmp_path)) == rows


def test_models_and_seeds_have_files_of_their_own(tmp_path: Path) -> None:
    for count, (model, seed) in enumerate(
        ((shared_model("gpt2"), 0), (shared_model("gpt2"), 1), (shared_model("gptj"), 0)), start=1
    ):
        corpus_rows(model, GENERATED, 10, kept(tmp_path, seed=seed))
        assert len(files(tmp_path)) == count


def test_digests_tell_rows_apart() -> None:
    digests = {digest_of_rows(rows) for rows in ([[1, 2], [3]], [[1], [2, 3]], [[1, 2, 3]], [[1, 2], [4]], [])}
    assert len(digests) == 5


# Files --------------------------------------------------------------------------------------------------------

DOCUMENTS = ("The cat of Norway", "You play in the rain", "Rome is a city")


def write(path: Path, name: str, text: str) -> str:
    (path / name).write_text(text, encoding="utf-8")
    return str(path / name)


def written_as(path: Path, form: str) -> str:
    match form:
        case "txt":
            return write(path, "texts.txt", "\n".join((*DOCUMENTS, "", "  ", "")))
        case "crlf":
            return write(path, "texts.txt", "\r\n".join(DOCUMENTS))
        case "list":
            return write(path, "texts.json", json.dumps(DOCUMENTS))
        case "objects":
            return write(path, "texts.json", json.dumps([{"text": text, "title": "x"} for text in DOCUMENTS]))
    return write(path, "texts.jsonl", "\n".join(json.dumps({"text": text}) for text in DOCUMENTS) + "\n\n")


@pytest.mark.parametrize("form", ["txt", "crlf", "list", "objects", "jsonl"])
@pytest.mark.parametrize("start_token", [False, True])
def test_every_form_gives_the_rows_of_its_documents(tmp_path: Path, form: str, start_token: bool) -> None:
    model = shared_model("llama", start_token=start_token)
    rows = corpus_rows(model, written_as(tmp_path, form), 10_000, NOWHERE)
    assert sorted(rows) == sorted(model.encode(text) for text in DOCUMENTS)


def test_documents_are_taken_in_an_order_drawn_with_the_seed(tmp_path: Path) -> None:
    model = shared_model("gpt2")
    source = write(tmp_path, "texts.txt", "\n".join(f"The rain {number}" for number in range(50)))
    orders = [corpus_rows(model, source, 10_000, EditorContext(seed=seed)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
    assert corpus_rows(model, source, 20, NOWHERE) == cut(orders[0], 20)


def cut(rows: list[list[int]], tokens: int) -> list[list[int]]:
    """Rows up to a number of tokens, counted one by one."""
    found: list[list[int]] = []
    for row in rows:
        for index, token in enumerate(row):
            if tokens:
                tokens -= 1
                found = [*found[:-1], [*found[-1], token]] if index else [*found, [token]]
    return found


@pytest.mark.filterwarnings("error")
def test_a_long_document_makes_several_rows(tmp_path: Path) -> None:
    model = shared_model("gpt2")
    source = write(tmp_path, "texts.txt", "The cat " * 200)
    rows = corpus_rows(model, source, 10_000, NOWHERE)
    assert [len(row) for row in rows[:2]] == [LENGTH, LENGTH]
    whole = model.tokenizer("The cat " * 200)["input_ids"]
    assert [token for row in rows for token in row] == whole


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("texts.txt", "\n \n", r"holds no text"),
        ("texts.json", "[]", r"holds no text"),
        ("texts.json", "{}", r"no JSON list"),
        ("texts.json", '["a", 5]', r"document 1: 5 is not text"),
        ("texts.json", '[{"body": "a"}]', r"document 0: field 'text' is missing"),
        ("texts.json", r'["\ud800"]', r"surrogate"),
        ("texts.json", "[", r"not valid JSON"),
        ("texts.jsonl", '{"text": "a"}\n{"text"', r"line 2"),
        ("texts.csv", "a", r"suffix"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"texts\..*{message}"):
        corpus_rows(shared_model("gpt2"), write(tmp_path, name, content), 10, NOWHERE)


def test_a_misspelt_name_is_answered_with_the_right_one() -> None:
    with pytest.raises(UsageError, match=r"corpus 'generatd'.*'generated'"):
        corpus_rows(shared_model("gpt2"), "generatd", 10, NOWHERE)


# The hub ------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> HubLibrary:
    made = HubLibrary([[{"text": f"The rain {number}", "title": ""} for number in range(9)], [{"text": " "}]])
    monkeypatch.setitem(sys.modules, "datasets", made)
    monkeypatch.delenv(OFFLINE_VARIABLE, raising=False)
    return made


def test_a_data_set_of_the_hub_is_streamed_in_an_order_drawn_with_the_seed(library: HubLibrary) -> None:
    model = shared_model("gpt2")
    orders = [corpus_rows(model, "hub:some/encyclopaedia:2031.no", 10_000, EditorContext(seed=seed)) for seed in (7, 8)]
    assert orders[0] != orders[1]
    for rows in orders:
        assert sorted(rows) == sorted(model.encode(f"The rain {number}") for number in range(9))
    assert set(library.loaded) == {("some/encyclopaedia", "2031.no", "train", True, None)}


def test_rows_of_the_hub_are_needed_once(library: HubLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("gpt2")
    rows = corpus_rows(model, "hub:some/encyclopaedia", 12, kept(tmp_path))
    assert len(library.loaded) == 1
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert corpus_rows(model, "hub:some/encyclopaedia", 12, kept(tmp_path)) == rows


def test_without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"'hub:some/encyclopaedia'.*pip install datasets.*'generated'"):
        corpus_rows(shared_model("gpt2"), "hub:some/encyclopaedia", 10, NOWHERE)


@pytest.mark.usefixtures("library")
def test_a_data_set_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(UsageError, match=r"'hub:some/dictionary'.*no some/dictionary.*'generated'"):
        corpus_rows(shared_model("gpt2"), "hub:some/dictionary", 10, NOWHERE)


def test_a_data_set_without_text_is_refused(library: HubLibrary, tmp_path: Path) -> None:
    library.files = [[{"text": " "}]]
    with pytest.raises(UsageError, match=r"'hub:some/encyclopaedia' holds no text.*'generated'"):
        corpus_rows(shared_model("gpt2"), "hub:some/encyclopaedia", 10, kept(tmp_path))
    assert files(tmp_path) == []
