from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.protocol import Editor
from collapse_tests.engine.bench import Bench
from collapse_tests.engine.downstream import Downstream
from collapse_tests.engine.scoring import Scorer
from collapse_tests.errors import EditorError, InfrastructureError, RestorationError, UsageError
from collapse_tests.metrics.downstream.loading import LoadedTask, quiet
from collapse_tests.metrics.downstream.plan import plan_task
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import TaskResult
from collapse_tests.study import levels as levels_module
from collapse_tests.study.level_rows import LevelStudy
from collapse_tests.study.levels import LevelSearch
from collapse_tests.study.scaling import scaled
from collapse_tests.weight_update import LowRankDelta, WeightUpdate
from fixtures.tiny_models import make_model
from fixtures.tiny_tasks import items, write_tasks
from tests.unit.study.editors import FAILING, TEXTS, DenseOneToken, OneToken, RaisesOnce, Untidy, named
from tests.unit.tiny import bits

LEVELS = (520.0, 600.0, 700.0)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedTask:
    from lm_eval.tasks import TaskManager

    folder = write_tasks(tmp_path_factory.mktemp("tasks"), items(40))
    with quiet():
        manager = TaskManager(include_path=folder, include_defaults=False)
        return LoadedTask("tiny_choice", (manager.load(["tiny_choice"])["tasks"]["tiny_choice"],))


@pytest.fixture
def bench(loaded: LoadedTask) -> Bench:
    def make(scorer: Scorer) -> Downstream:
        return Downstream(scorer, [plan_task(loaded, scorer.model, None)])

    return Bench(make_model("gpt2"), TEXTS, math.inf, make)


def search(
    bench: Bench, editor: Editor, *tokens: int, levels: Sequence[float] = LEVELS, per_level: int = 8
) -> LevelStudy:
    return LevelSearch(bench, editor, levels, per_level, lambda line: None).run(named(*tokens))


@pytest.mark.parametrize("editor", [OneToken(), DenseOneToken()])
def test_models_have_the_perplexity_asked_for(bench: Bench, editor: OneToken) -> None:
    before = bits(bench.model)
    study = search(bench, editor, 30, 70, 9)

    assert study.levels == LEVELS
    assert [(model.level, model.edit_id) for model in study.models] == [
        (520.0, "set:0030"),
        (520.0, "set:0070"),
        (520.0, "set:0009"),
        (600.0, "set:0030"),
        (600.0, "set:0070"),
        (700.0, "set:0030"),
    ]
    assert study.unreachable == (0, 1, 2)
    assert (study.requests, study.failed, study.too_low) == (3, (), ())
    assert study.unedited_me_ppl == bench.unedited.me_ppl
    assert bits(bench.model) == before

    updates = dict(zip(("set:0030", "set:0070", "set:0009"), _updates(editor, bench.model, 30, 70, 9), strict=True))
    for made in study.models:
        assert made.me_ppl == pytest.approx(made.level, rel=0.05)
        with bench.model.applied(scaled(updates[made.edit_id], made.factor)):
            alone = Bench(bench.model, TEXTS, math.inf)
        assert alone.unedited.me_ppl == pytest.approx(made.me_ppl, rel=1e-4)


def _updates(editor: OneToken, model: EditableModel, *tokens: int) -> list[WeightUpdate]:
    return editor.compute_updates(model, [one.request for one in named(*tokens)])


def test_tasks_are_measured_on_the_scaled_models(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    downstream = bench.downstream
    assert downstream is not None
    measured: list[WeightUpdate] = []

    def watched(updates: Sequence[WeightUpdate]) -> list[tuple[TaskResult, ...]]:
        measured.extend(updates)
        return measure(updates)

    measure = downstream.measure
    monkeypatch.setattr(downstream, "measure", watched)
    study = search(bench, OneToken(), 30)
    assert study.unedited_tasks == downstream.unedited()
    (update,) = _updates(OneToken(), bench.model, 30)
    for made, one in zip(study.models, measured, strict=True):
        assert one.norm() == pytest.approx(made.factor * update.norm())
        with bench.model.applied(one):
            assert downstream.as_is(3) == made.tasks


def test_dense_and_low_rank_updates_give_the_same_models(bench: Bench) -> None:
    low_rank, dense = (search(bench, editor, 30, 70) for editor in (OneToken(), DenseOneToken()))
    assert [(one.level, one.edit_id) for one in dense.models] == [(one.level, one.edit_id) for one in low_rank.models]
    for one, other in zip(dense.models, low_rank.models, strict=True):
        assert one.factor == pytest.approx(other.factor, rel=1e-3)
        assert one.tasks == other.tasks


def test_large_updates_are_scaled_a_few_at_a_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = search(bench, DenseOneToken(), 30, 70)
    most = 0

    def watched(updates: Sequence[WeightUpdate]) -> list[object]:
        nonlocal most
        most = max(most, len(updates))
        return list(measure(updates))

    measure = bench.perplexities
    monkeypatch.setattr(levels_module, "updates_in_memory", lambda size: 2 if size > 10_000 else 1_000)
    monkeypatch.setattr(bench, "perplexities", watched)
    assert search(bench, DenseOneToken(), 30, 70).models == expected.models
    assert most == 2


def test_a_level_takes_the_first_edits_that_reach_it_and_no_more(bench: Bench) -> None:
    study = search(bench, OneToken(), 9, 30, 70, 100, 5, per_level=1)
    assert [(model.level, model.edit_id) for model in study.models] == [
        (520.0, "set:0009"),
        (600.0, "set:0030"),
        (700.0, "set:0030"),
    ]
    assert study.unreachable == (0, 1, 1)
    assert study.requests == 2  # no level lacks a model then


def test_a_batch_gives_a_level_no_more_than_it_lacks(bench: Bench) -> None:
    study = search(bench, OneToken(), 9, 30, 70, 100, levels=(600.0, 700.0), per_level=2)
    assert [(model.level, model.edit_id) for model in study.models] == [
        (600.0, "set:0030"),
        (600.0, "set:0070"),
        (700.0, "set:0030"),
    ]
    assert study.unreachable == (1, 3)
    assert study.requests == 4


class Bounded(OneToken):
    name = "bounded"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def requests_at_once(self, model: EditableModel) -> int:
        return 2

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        self.batches.append(len(requests))
        return super().compute_updates(model, requests)


def test_an_editor_is_given_no_more_than_it_takes(bench: Bench) -> None:
    editor = Bounded()
    search(bench, editor, 30, 70, 9, 100, 5, levels=(700.0,))
    assert editor.batches == [2, 2, 1]


def test_levels_below_the_unedited_model_are_left_out(bench: Bench) -> None:
    study = search(bench, OneToken(), 30, levels=(100.0, bench.unedited.me_ppl, 600.0))
    assert study.too_low == (100.0, bench.unedited.me_ppl)
    assert study.levels == (600.0,)
    assert [model.level for model in study.models] == [600.0]


def test_levels_that_are_all_too_low_are_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match=r"ME-PPL 475\.47 already; give a level above"):
        search(bench, OneToken(), 30, levels=(100.0, 200.0))


def test_an_edit_that_raises_is_counted_and_the_others_go_on(bench: Bench) -> None:
    study = search(bench, RaisesOnce(), 30, FAILING, 70, levels=(520.0,))
    assert study.failed == ((f"set:{FAILING:04d}", "EditorError: not this one"),)
    assert [model.edit_id for model in study.models] == ["set:0030", "set:0070"]
    assert (study.requests, study.unreachable) == (3, (0,))


def test_nothing_but_edits_that_raise_is_an_error(bench: Bench) -> None:
    with pytest.raises(EditorError, match=f"every edit failed; the first, set:{FAILING:04d}: EditorError: not this"):
        search(bench, RaisesOnce(), FAILING)


def test_a_model_left_changed_ends_the_study(bench: Bench) -> None:
    with pytest.raises(RestorationError, match="left the model changed"):
        search(bench, Untidy(), 30, FAILING)


class NoNumbers(OneToken):
    name = "no-numbers"

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        updates = super().compute_updates(model, requests)
        return [
            scaled(update, math.nan) if one.subject == "9" else update
            for update, one in zip(updates, requests, strict=True)
        ]


def test_an_update_without_numbers_reaches_nothing(bench: Bench) -> None:
    study = search(bench, NoNumbers(), 9, 30, levels=(600.0,))
    assert [model.edit_id for model in study.models] == ["set:0030"]
    assert study.unreachable == (1,)


class Misfit(OneToken):
    name = "misfit"

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        updates = super().compute_updates(model, requests)
        name = model.mlp_output_weight(3)
        delta = updates[0].deltas[name]
        assert isinstance(delta, LowRankDelta)
        return [WeightUpdate({name: LowRankDelta(delta.left[1:], delta.right)}) for _ in requests]


class TooFew(OneToken):
    name = "too-few"

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        return super().compute_updates(model, requests)[1:]


@pytest.mark.parametrize(("editor", "message"), [(Misfit(), "has shape"), (TooFew(), "returned 1 updates for 2")])
def test_updates_that_cannot_be_are_refused(bench: Bench, editor: OneToken, message: str) -> None:
    with pytest.raises(EditorError, match=message):
        search(bench, editor, 30, 70)


def test_levels_need_tasks() -> None:
    bench = Bench(make_model("gpt2"), TEXTS, math.inf)
    with pytest.raises(InfrastructureError, match="tasks"):
        LevelSearch(bench, OneToken(), LEVELS, 8, lambda line: None)
