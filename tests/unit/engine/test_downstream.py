"""Downstream results equal lm-eval's own on the edited model, for requests of every type."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from collapse_tests.engine.downstream import Downstream
from collapse_tests.engine.generation import generate
from collapse_tests.engine.scoring import RowCache, Scorer
from collapse_tests.errors import UsageError
from collapse_tests.metrics.downstream.loading import LoadedTask, quiet
from collapse_tests.metrics.downstream.plan import PlannedPart, PlannedTask, plan_task
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import TaskVerdict
from collapse_tests.weight_update import LowRankDelta, WeightUpdate
from fixtures.tiny_models import FAMILIES
from fixtures.tiny_tasks import KINDS, items, write_tasks
from tests.unit.tiny import dense, low_rank, shared_model


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


def load(folder: Path, *names: str) -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    with quiet():
        loaded: dict[str, Any] = TaskManager(include_path=folder, include_defaults=False).load(list(names))["tasks"]
    return loaded


def plan(folder: Path, name: str, model: EditableModel) -> PlannedTask:
    return plan_task(LoadedTask(name, (load(folder, name)[name],)), model, None)


def evaluated(folder: Path, model: EditableModel, name: str) -> dict[str, float]:
    """What lm-eval itself makes of the model as it is."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    with quiet():
        wrapped = HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=4, max_length=model.max_length)
        manager = TaskManager(include_path=folder, include_defaults=False)
        found = simple_evaluate(wrapped, tasks=[name], task_manager=manager, bootstrap_iters=0, verbosity="ERROR")
    return {key.split(",")[0]: value for key, value in found["results"][name].items() if isinstance(value, float)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("family", "start_token"), [("gpt2", False), ("gptj", False), ("llama", True)])
def test_results_equal_lm_evals(tasks: Path, family: str, start_token: bool, kind: str) -> None:
    model = shared_model(family, start_token=start_token)
    part = PlannedPart(load(tasks, kind)[kind], model, None)
    updates = [
        WeightUpdate({}),
        low_rank(model, model.mlp_output_weight(1), seed=1, scale=1.0),
        dense(model, model.mlp_output_weight(2), seed=2, scale=0.5),
    ]
    cache = RowCache(part.rows, predict=True)
    for update in updates:
        scores = Scorer(model).shared(cache, [update])[0]
        with model.applied(update):
            texts = [
                one.text
                for request in part.generations
                for one in generate(model, [model.encode(request.context)], 8, request.settings["until"])
            ]
            expected = evaluated(tasks, model, kind)
        found = part.results(part.responses(scores, texts))
        ours = {metric: part.aggregated(metric, values) for metric, values in found.items()}
        assert ours.keys() <= expected.keys()
        assert ours
        for metric, value in ours.items():
            # Rounding may reach a perplexity, but never a count.
            tolerance = 1e-4 if "per" in metric else 0
            assert value == pytest.approx(expected[metric], rel=tolerance, abs=tolerance), metric
    assert model.changed_tensors() == []


def test_an_earlier_models_answers_are_never_given_again(tasks: Path) -> None:
    model = shared_model("llama")
    part = PlannedPart(load(tasks, "tiny_choice")["tiny_choice"], model, None)
    right = [(0.0 if instance.idx == gold else -9.0, True) for instance, gold in _with_gold(part)]
    wrong = [(-9.0 if instance.idx == gold else 0.0, True) for instance, gold in _with_gold(part)]
    assert [sum(part.results(answers)["acc"]) for answers in (right, wrong, right)] == [12, 0, 12]


def _with_gold(part: PlannedPart) -> list[tuple[Any, int]]:
    return [(instance, instance.doc["gold"]) for instance in part.instances]


def test_options_of_one_question_share_a_row(tasks: Path) -> None:
    part = PlannedPart(load(tasks, "tiny_choice")["tiny_choice"], shared_model("llama"), None)
    assert len(part.rows) == len(part.documents) == 12
    assert [len(row.continuations) for row in part.rows] == [len(row["choices"]) for row in items()]


def test_updates_are_measured_side_by_side_as_one_by_one_and_as_written(tasks: Path) -> None:
    model = shared_model("llama")
    scorer = Scorer(model)
    downstream = Downstream(scorer, [plan(tasks, name, model) for name in ("tiny_choice", "tiny_word", "tiny_text")])
    name = model.mlp_output_weight(1)
    updates = [low_rank(model, name, seed=seed, scale=1.0) for seed in range(4)]
    together = downstream.measure(updates)
    assert together == [downstream.measure([update])[0] for update in updates]
    for update, results in zip(updates, together, strict=True):
        with model.applied(update):
            assert downstream.as_is(1) == results
    assert len({result.edited for results in together for result in results}) > 1
    assert [result.task for result in together[0]] == ["tiny_choice", "tiny_word", "tiny_text"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_never_pass(tasks: Path, value: float) -> None:
    model = shared_model("gpt2")
    rows = [{**row, "gold": 0} for row in items(40)]
    folder = write_tasks(tasks / "all_first", rows)  # the first option is what an arg max of NaN would pick
    downstream = Downstream(Scorer(model), [plan(folder, name, model) for name in ("tiny_choice", "tiny_text")])
    name = model.mlp_output_weight(1)
    out, into = model.weight_shape(name)
    broken = WeightUpdate({name: LowRankDelta(torch.full((out, 1), value), torch.ones(1, into))})
    for result in downstream.measure([broken])[0]:
        assert math.isnan(result.edited)
        assert result.verdict is not TaskVerdict.ABOVE


def test_parts_of_a_point_cannot_be_tested(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama")
    planned = plan(tasks, "tiny_choice", model)
    (part,) = planned.parts
    monkeypatch.setattr(part.task.config, "process_results", lambda doc, results: {"acc": 0.25})
    with pytest.raises(
        UsageError, match="--tasks 'tiny_choice': its acc gives parts of a point, which cannot be tested"
    ):
        Downstream(Scorer(model), [planned])


def test_several_right_options_are_all_chances(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan(tasks, "tiny_choice", shared_model("llama"))
    (part,) = planned.parts
    monkeypatch.setattr(part.task, "doc_to_target", lambda doc: [1, 0])
    monkeypatch.setattr(part.task, "multiple_target", 2)
    assert {right for _, right in part.options()} == {(0, 1)}
    (result,) = Downstream(Scorer(shared_model("llama")), [planned]).unedited()
    assert result.chance == 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_long_contexts_are_cut_as_lm_eval_cuts_them(tmp_path: Path, family: str) -> None:
    model = shared_model(family)
    rows = [{**row, "query": " ".join([row["query"]] * 40)} for row in items(3)]
    part = PlannedPart(load(write_tasks(tmp_path, rows), "tiny_choice")["tiny_choice"], model, None)
    for row in part.rows:
        for continuation in row.continuations:
            assert len(row.context) + len(continuation) <= model.max_length + 1
    assert max(len(row.context) for row in part.rows) > model.max_length - 30
