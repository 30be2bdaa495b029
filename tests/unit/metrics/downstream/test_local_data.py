"""Items from a user's directory, in the layouts in which the data sets are published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collapse_tests.errors import UsageError
from collapse_tests.metrics.downstream.local_data import read_splits


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def test_one_file_stands_for_what_is_evaluated_and_not_for_examples(tmp_path: Path) -> None:
    write(tmp_path, "hellaswag.jsonl", '{"a": 1}\n\n{"a": 2}\n')
    splits = read_splits("hellaswag", tmp_path)
    assert splits["validation"] == splits["test"] == [{"a": 1}, {"a": 2}]
    assert splits.keys() == {"validation", "test"}


def test_a_split_has_its_own_file(tmp_path: Path) -> None:
    write(tmp_path, "task_test.jsonl", '{"a": 1}\n')
    write(tmp_path, "task_dev.json", '[{"a": 2}]')
    splits = read_splits("task", tmp_path)
    assert (splits["test"], splits["dev"]) == ([{"a": 1}], [{"a": 2}])


def test_labels_beside_the_items_as_piqa_has_them(tmp_path: Path) -> None:
    write(tmp_path, "piqa_validation.jsonl", '{"goal": "x"}\n{"goal": "y"}\n')
    write(tmp_path, "piqa_validation_labels.lst", "1\n0\n")
    assert [row["label"] for row in read_splits("piqa", tmp_path)["validation"]] == [1, 0]


def test_columns_of_mmlu_become_choices(tmp_path: Path) -> None:
    write(tmp_path, "mmlu/global_facts_test.csv", 'question,choice0,choice1,answer\n"How, many?",one,two,1\n')
    rows = read_splits("mmlu_global_facts", tmp_path)["test"]
    assert rows == [{"question": "How, many?", "answer": 1, "choices": ["one", "two"]}]


def test_squads_nesting_is_undone(tmp_path: Path) -> None:
    question = {"question": "Who?", "id": "7", "answers": [{"text": "Ada", "answer_start": 0}]}
    paragraphs = [{"context": "Ada wrote.", "qas": [question]}]
    write(tmp_path, "squad_v2.json", json.dumps({"data": [{"title": "T", "paragraphs": paragraphs}]}))
    (row,) = read_splits("squadv2", tmp_path)["validation"]
    assert (row["title"], row["context"], row["answers"]) == ("T", "Ada wrote.", {"text": ["Ada"]})


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no file of the task 'piqa'; put piqa.jsonl there"),
        ({"piqa.jsonl": "{broken"}, "piqa.jsonl cannot be read"),
        ({"piqa.jsonl": ""}, "holds no item"),
        ({"piqa.jsonl": '{"a": 1}\n', "piqa_labels.lst": "0 1"}, "2 labels for the 1 items"),
        ({"piqa.json": '{"other": 1}'}, "piqa.json cannot be read"),
    ],
)
def test_what_is_wrong_is_named_with_the_remedy(tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        write(tmp_path, name, text)
    with pytest.raises(UsageError, match=said):
        read_splits("piqa", tmp_path)


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no directory"):
        read_splits("piqa", tmp_path / "nowhere")
