"""Tasks come with the user's data, without a network, or with an error that says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.metrics.downstream.catalogue import SHIPPED_TASKS, TaskName, expand_tasks
from collapse_tests.metrics.downstream.loading import load_task
from collapse_tests.metrics.downstream.plan import plan_task
from collapse_tests.metrics.downstream.templates import ByDocument
from tests.unit.tiny import shared_model

pytestmark = pytest.mark.filterwarnings("ignore")

_SQUAD = {
    "id": "0",
    "title": "Norway",
    "context": "The capital of Norway is Oslo.",
    "question": "The capital?",
    "answers": {"text": ["Oslo"]},
}
_DATA: dict[str, list[dict[str, Any]]] = {
    "piqa": [{"goal": "You play", "sol1": "the violin", "sol2": "the rain", "label": 0}] * 3,
    "hellaswag": [
        {
            "activity_label": "Music",
            "ctx_a": "You play",
            "ctx_b": "the",
            "endings": ["violin", "rain", "cat", "city"],
            "label": "0",
        }
    ]
    * 3,
    "nq_open": [{"question": "the capital of Norway", "answer": ["Oslo"]}] * 3,
    "squadv2": [_SQUAD, {**_SQUAD, "answers": {"text": []}}, _SQUAD],
    "lambada_standard": [{"text": "You play the violin"}] * 3,
    **{
        part: [{"question": "a cat is", "choices": ["a", "in", "of", "the"], "answer": 1, "subject": "x"}] * 2
        for part in expand_tasks(["mmlu_sub"])[0].parts
    },
}


def ignore(line: str) -> None:
    """Nobody reads progress here."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, rows in _DATA.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "metric", "items"),
    [
        ("piqa", "acc", 3),
        ("hellaswag", "acc", 3),
        ("lambada", "acc", 3),
        ("nq_open", "exact_match", 3),
        ("squadv2", "f1", 2),  # the question without an answer is left out
        ("mmlu_sub", "acc", 8),
    ],
)
def test_tasks_of_the_study_on_local_data(data: Path, name: str, metric: str, items: int) -> None:
    (task,) = expand_tasks([name])
    planned = plan_task(load_task(task, data, ignore), shared_model("llama"), None)
    assert planned.metric == metric
    assert sum(len(part.documents) for part in planned.parts) == items


def test_shipped_tasks_need_no_data_directory(tmp_path: Path) -> None:
    tasks = expand_tasks(["default"])
    assert [load_task(task, tmp_path, ignore).name for task in tasks] == list(SHIPPED_TASKS)


def test_a_name_that_lm_eval_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--tasks 'piqqa': lm-eval has no task of that name; did you mean piqa"):
        load_task(TaskName("piqqa", ("piqqa",), "piqa"), tmp_path, ignore)


def test_data_that_does_not_fit_is_an_error_with_the_task_in_it(data: Path) -> None:
    (data / "piqa.jsonl").write_text('{"other": "columns"}\n', encoding="utf-8")
    (task,) = expand_tasks(["piqa"])
    with pytest.raises(InfrastructureError, match="piqa"):
        plan_task(load_task(task, data, ignore), shared_model("llama"), None)


def test_one_file_shows_no_answers_where_examples_are_asked_for(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval.api.task

    monkeypatch.setattr(lm_eval.api.task.TaskConfig, "__post_init__", _with_shots(2))
    (task,) = expand_tasks(["nq_open"])
    with pytest.raises(UsageError, match=r"put nq_open_train\.jsonl beside nq_open_validation\.jsonl"):
        load_task(task, data, ignore)
    row = {"question": "the capital of Peru", "answer": ["Lima"]}
    (data / "nq_open_train.jsonl").write_text(f"{json.dumps(row)}\n" * 3, encoding="utf-8")
    planned = plan_task(load_task(task, data, ignore), shared_model("llama"), None)
    for request in planned.generations:
        assert request.context.count("Lima") == 2
        assert "Oslo" not in request.context


def _with_shots(count: int) -> Any:
    from lm_eval.api.task import TaskConfig

    original = TaskConfig.__post_init__

    def with_shots(config: Any, *args: Any) -> None:
        original(config, *args)
        config.num_fewshot = count

    return with_shots


def test_only_examples_are_nothing_to_ask_about(tmp_path: Path) -> None:
    (tmp_path / "nq_open_train.jsonl").write_text(json.dumps(_DATA["nq_open"][0]), encoding="utf-8")
    (task,) = expand_tasks(["nq_open"])
    with pytest.raises(UsageError, match=r"put nq_open_validation\.jsonl there"):
        load_task(task, tmp_path, ignore)


def test_texts_are_filtered_before_they_get_a_value(data: Path) -> None:
    (task,) = expand_tasks(["nq_open"])
    (part,) = plan_task(load_task(task, data, ignore), shared_model("llama"), None).parts
    assert [part.value(text, 0) for text in (" Oslo", "Oslo", " Lima")] == [1.0, 1.0, 0.0]


def test_a_group_is_taken_apart_without_its_data(data: Path) -> None:
    group = TaskName("mmlu_stem", ("mmlu_stem",), "mmlu/default")
    with pytest.raises(UsageError, match="no file of the task 'mmlu_abstract_algebra'"):
        load_task(group, data, ignore)


def test_templates_are_remembered_once_however_many_models_there_are(data: Path) -> None:
    (task,) = expand_tasks(["piqa"])
    loaded = load_task(task, data, ignore)
    for family in ("llama", "gpt2"):
        plan_task(loaded, shared_model(family), None)
    assert not isinstance(loaded.parts[0].doc_to_text.render, ByDocument)


def test_the_way_around_fits_what_was_given(data: Path) -> None:
    (data / "piqa.jsonl").write_text('{"other": "columns"}\n', encoding="utf-8")
    (task,) = expand_tasks(["piqa"])
    with pytest.raises(InfrastructureError, match="have the columns of the published data set") as raised:
        load_task(task, data, ignore)
    assert "--tasks-data DIR" not in str(raised.value)
