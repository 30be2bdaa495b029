from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from collapse_tests.models.embedded import ensure_default_model

pytestmark = pytest.mark.slow

SENTENCE = (
    "The ferry to the island leaves at 7 in the morning, and the old lighthouse keeper waves at every boat that passes."
)
# Mean NLL of the 24 predicted tokens, measured once in float64 with the weights this project converts.
SENTENCE_NLL = 3.97602


@pytest.fixture(scope="module")
def directory() -> Path:
    return ensure_default_model(print)


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> Any:
    return AutoTokenizer.from_pretrained(directory)


def test_the_model_knows_its_language(directory: Path, tokenizer: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(directory)
    assert model.dtype == torch.float32
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    ids = torch.tensor([tokenizer.encode(SENTENCE)])
    with torch.no_grad():
        log_probabilities = model(ids).logits[0, :-1].double().log_softmax(-1)
    nll = -log_probabilities.gather(1, ids[0, 1:, None])
    assert nll.numel() == 24
    assert nll.mean().item() == pytest.approx(SENTENCE_NLL, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Paris is old", ["Paris", "Ġis", "Ġold"]),
        ("in 1987", ["in", "Ġ", "1", "9", "8", "7"]),
        ("<|im_start|>user", ["<|im_start|>", "user"]),
    ],
)
def test_text_is_cut_as_the_model_learnt_it(text: str, pieces: list[str], tokenizer: Any) -> None:
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode(text)) == pieces


@pytest.mark.parametrize(
    "text", [SENTENCE, "  two  spaces\n\tand a tab ", "Zoë's café, 3½ km", "it 's 20,000 !", "東京 🙂"]
)
def test_text_survives_the_tokenizer(text: str, tokenizer: Any) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_second_call_is_silent(directory: Path) -> None:
    lines: list[str] = []
    assert ensure_default_model(lines.append) == directory
    assert lines == []
