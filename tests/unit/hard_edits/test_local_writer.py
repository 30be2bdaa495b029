"""A causal language model on this machine as a writer."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
import torch

from collapse_tests.engine.generation import Generated
from collapse_tests.hard_edits import local_writer
from collapse_tests.hard_edits.answers import Sample, Unfit, parse_answer
from collapse_tests.hard_edits.asking import Ask
from collapse_tests.hard_edits.local_writer import LocalWriter
from collapse_tests.models.editable import EditableModel
from fixtures.tiny_models import make_model
from tests.unit.tiny import shared_model

ASKS = [Ask("Gold", "metals"), Ask("Iron", "metals")]


def test_answers_begin_with_the_subject_and_are_the_same_each_time(model: EditableModel) -> None:
    answers = LocalWriter(model).write(ASKS)
    assert [answer.flaw for answer in answers] == [None, None]
    assert answers[0].text.startswith('{"prompt": "Gold')
    assert answers[1].text.startswith('{"prompt": "Iron')
    assert all(answer.text.endswith("}") for answer in answers)
    assert LocalWriter(model).write(ASKS) == answers


def test_what_a_model_goes_on_with_completes_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama")
    prompts: list[str] = []

    def decoded(
        own: EditableModel, rows: Sequence[Sequence[int]], max_tokens: int, until: Sequence[str]
    ) -> list[Generated]:
        prompts.extend(own.tokenizer.decode(row) for row in rows)
        assert "}" in until
        return [Generated(' has the symbol", "target_new": "Cu", "ground_truth": "X"', True) for _ in rows]

    monkeypatch.setattr(local_writer, "generate", decoded)
    answers = LocalWriter(model).write(ASKS)
    assert parse_answer(answers[1].text, "Iron") == Sample(
        prompt="Iron has the symbol", target_new="Cu", ground_truth="X"
    )
    assert prompts[1].endswith('Subject: Iron\n{"prompt": "Iron')


def test_a_chat_model_is_asked_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("llama", start_token=True)
    model.tokenizer.chat_template = "<s>{% for one in messages %}[{{ one.role }}]{{ one.content }}{% endfor %}[answer]"
    prompts: list[str] = []

    def decoded(own: EditableModel, rows: Sequence[Sequence[int]], *more: object, **named: object) -> list[Generated]:
        prompts.extend(own.tokenizer.decode(row) for row in rows)
        return [Generated("", True) for _ in rows]

    monkeypatch.setattr(local_writer, "generate", decoded)
    LocalWriter(model).write(ASKS[:1])
    assert prompts[0].startswith("<s>[user]Write one")
    assert prompts[0].endswith('Subject: Gold\n[answer]{"prompt": "Gold')
    assert prompts[0].count("<s>") == 1


def test_numbers_that_are_not_finite_are_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("llama")
    with torch.no_grad():
        model.parameter(model.mlp_output_weight(0)).fill_(torch.nan)
    (answer,) = LocalWriter(model).write(ASKS[:1])
    assert answer.flaw is Unfit.NOT_FINITE
    assert json.dumps(answer.text)
