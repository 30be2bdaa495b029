"""Searches: what Hypothesis finds, how small it gets, and what it costs."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest
import torch
from hypothesis import settings as hypothesis_settings
from hypothesis.database import InMemoryExampleDatabase

from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import EditorError, ErrorKind
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import TaskResult, TaskVerdict, Verdict
from collapse_tests.sequence.lab import SequenceLab
from collapse_tests.sequence.machine import EditingMachine, run_machine
from collapse_tests.sequence.node import Node
from collapse_tests.sequence.runs import SequenceRuns
from collapse_tests.sequence.search import Collapse, Fault, Finding, Forgotten, Search
from collapse_tests.sequence.search_runner import SearchRunner, search_key
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.settings import Downstream, Settings
from collapse_tests.weight_update import DenseDelta, LowRankDelta, WeightUpdate
from fixtures.tiny_models import make_model
from tests.unit.sequence.fakes import (
    LIMA,
    NORWAY,
    PARIS,
    POOL,
    ROME,
    SETTINGS,
    TEXTS,
    Fake,
    Rule,
    case_of,
    dense,
    harmless,
    is_edited,
    lab_of,
    nothing,
    ruin,
    ruin_where,
    to_nan,
    weight_of,
)
from tests.unit.tiny import shared_model

LONG = replace(SETTINGS, machine_examples=60, machine_steps=12)


@pytest.fixture(autouse=True)
def _repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")  # then searches are the same every time


def search_for(lab: SequenceLab, settings: Settings = SETTINGS, *pool: NamedRequest) -> SequenceRecord:
    return SearchRunner(lab, settings, "main").run(case_of(*pool, kind=SequenceKind.MACHINE))


def edit_ids(record: SequenceRecord) -> list[str]:
    return [step.edit_id for step in record.steps]


class Clock:
    """Goes on by a second whenever it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


# What is found ------------------------------------------------------------------------------------------------


def test_nothing_is_found_where_nothing_breaks() -> None:
    lab = lab_of(Fake(harmless))
    record = search_for(lab)
    assert record.verdict is Verdict.STABLE
    assert (record.reasons, record.steps, record.requests) == ((), (), ())
    assert record.planned == SETTINGS.machine_steps
    search = record.search
    assert search is not None
    assert 2 <= search.longest <= SETTINGS.machine_steps
    assert search.sequences >= SETTINGS.machine_examples
    assert search.edits == lab.computed > 10
    assert search.remembered == lab.remembered
    assert search.worst_me_ppl is not None
    assert search.worst_me_ppl < SETTINGS.ppl_limit
    assert not search.out_of_time


@pytest.mark.parametrize("rule", [ruin, to_nan])
def test_an_editor_that_breaks_the_model_at_once_needs_one_edit(rule: object) -> None:
    record = search_for(lab_of(Fake(rule)))  # type: ignore[arg-type]
    assert record.verdict is Verdict.COLLAPSED
    assert edit_ids(record) == ["facts:0000"]
    assert record.collapsed_after == 1
    assert record.requests == ({**record.requests[0], "prompt": NORWAY.request.prompt},)
    assert record.search is not None
    assert record.search.edits <= len(POOL)


@pytest.mark.parametrize("victim", [ROME, PARIS, LIMA])
def test_one_request_of_the_pool_that_breaks_the_model_is_found_alone(victim: NamedRequest) -> None:
    lab = lab_of(Fake(ruin_where(lambda model, request: request.subject == victim.request.subject)))
    assert edit_ids(search_for(lab)) == [victim.edit_id]


def test_the_second_edit_of_a_kind_breaks_the_model() -> None:
    """Whatever is edited after an edit of Rome's, and nothing else."""

    def second(model: EditableModel, request: EditRequest) -> bool:
        return request.subject == "Rome" and is_edited(model)

    record = search_for(lab_of(Fake(ruin_where(second))))
    assert record.verdict is Verdict.COLLAPSED
    assert len(record.steps) == 2
    assert record.requests[-1]["subject"] == "Rome"


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_smallest_number_of_edits_is_found(depth: int) -> None:
    """A model that breaks at a distance from the unedited weights that so many edits cover and fewer do not."""

    def step(model: EditableModel, request: EditRequest) -> WeightUpdate:
        here = float(model.parameter(weight_of(model, 2))[0, 0])
        if here - start >= depth - 1.5:
            return ruin(model, request)
        left = torch.zeros(model.weight_shape(weight_of(model, 2))[0], 1)
        right = torch.zeros(1, model.weight_shape(weight_of(model, 2))[1])
        left[0], right[0, 0] = 1.0, 1.0
        return WeightUpdate({weight_of(model, 2): LowRankDelta(left, right)})

    lab = lab_of(Fake(step))
    start = float(lab.model.parameter(weight_of(lab.model, 2))[0, 0])
    record = search_for(lab, LONG)
    assert record.verdict is Verdict.COLLAPSED
    assert edit_ids(record) == ["facts:0000"] * depth


def test_an_overwritten_edit_can_be_what_breaks_the_model() -> None:
    """Only an answer that no request of the pool has for this subject breaks it: the old one, written back."""
    lab = lab_of(Fake(ruin_where(lambda model, request: request.target_new == "Paris")))
    record = search_for(lab, LONG)
    assert record.verdict is Verdict.COLLAPSED
    assert edit_ids(record) == ["facts:0001", "facts:0001~Paris"]
    assert record.requests[-1]["ground_truth"] == "Norway"


def test_a_record_of_a_finding_replays_as_a_scenario() -> None:
    from collapse_tests.sequence.scenario import ScenarioRunner

    rule = ruin_where(lambda model, request: request.subject == "Rome" and is_edited(model))
    found = search_for(lab_of(Fake(rule)))
    requests = [NamedRequest(f"x:{index}", EditRequest(**dict(fields))) for index, fields in enumerate(found.requests)]  # type: ignore[arg-type]
    again = ScenarioRunner(lab_of(Fake(rule)), SETTINGS, "main").run(case_of(*requests))
    assert again.collapsed_after == found.collapsed_after == 2
    assert [step.perplexity for step in again.steps] == [step.perplexity for step in found.steps]


def test_the_model_is_not_kept_by_hypothesis() -> None:
    import gc
    import weakref

    lab = lab_of(Fake(harmless), model=make_model("gpt2"))
    search_for(lab, replace(SETTINGS, machine_examples=2))
    model = weakref.ref(lab.model.model)
    del lab
    gc.collect()
    assert model() is None


# Errors -------------------------------------------------------------------------------------------------------


def test_an_editor_that_raises_is_an_error_shrunk_to_its_request() -> None:
    def fail(model: EditableModel, request: EditRequest) -> WeightUpdate:
        if request.subject == "Paris":
            raise ValueError("no Paris today")
        return harmless(model, request)

    record = search_for(lab_of(Fake(fail)))
    assert record.verdict is Verdict.ERROR
    assert record.error == "edit 1 (facts:0002): fake raised ValueError: no Paris today"
    assert record.error_kind is ErrorKind.EDITOR
    assert record.steps == ()
    assert [request["subject"] for request in record.requests] == ["Paris"]
    assert record.search is not None


def test_an_editor_that_raises_on_an_edited_model_keeps_what_led_there() -> None:
    def fail(model: EditableModel, request: EditRequest) -> WeightUpdate:
        if is_edited(model):
            raise ValueError("only one edit, please")
        return harmless(model, request)

    record = search_for(lab_of(Fake(fail)))
    assert record.verdict is Verdict.ERROR
    assert len(record.steps) == 1
    assert len(record.requests) == 2
    assert "edit 2" in (record.error or "")


def test_an_editor_that_leaves_a_copy_that_cannot_be_restored() -> None:
    def careless(model: EditableModel, request: EditRequest) -> WeightUpdate:
        if request.subject == "Rome":
            with torch.no_grad():
                model.parameter(weight_of(model, 3))[0, 0] += 1
        return harmless(model, request)

    lab = lab_of(Fake(careless), model=make_model("gpt2"))
    record = search_for(lab)
    assert record.verdict is Verdict.ERROR
    assert "left the model changed" in (record.error or "")
    assert record.error_kind is ErrorKind.RESTORATION
    assert lab.spoiled is not None


def test_a_replay_with_other_bits_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = lab_of(Fake(harmless))
    original, drift = lab.model.add, iter(range(1, 100_000))

    def inexact(update: WeightUpdate) -> None:
        original(update)
        with torch.no_grad():
            lab.model.parameter(weight_of(lab.model))[0, 0] += 1e-3 * next(drift)

    monkeypatch.setattr(lab.model, "add", inexact)
    record = search_for(lab, LONG)
    assert record.verdict is Verdict.ERROR
    assert "replayed" in (record.error or "")


def test_an_editor_that_is_not_repeatable_does_no_harm_as_it_is_asked_once() -> None:
    numbers = random.Random(1)
    asked: Counter[tuple[bytes, EditRequest]] = Counter()

    def whimsical(model: EditableModel, request: EditRequest) -> WeightUpdate:
        asked[model.parameter(weight_of(model)).numpy().tobytes(), request] += 1
        return (ruin if numbers.random() < 0.2 else harmless)(model, request)

    record = search_for(lab_of(Fake(whimsical)))
    assert record.verdict is Verdict.COLLAPSED
    assert max(asked.values()) == 1


# Edits that do not hold ---------------------------------------------------------------------------------------


def test_edits_need_not_take_unless_that_is_asked_for() -> None:
    record = search_for(lab_of(Fake(nothing)))
    assert record.verdict is Verdict.STABLE
    assert record.search is not None
    assert record.search.ineffective > 0

    record = search_for(lab_of(Fake(nothing)), replace(SETTINGS, fail_ineffective=True))
    assert record.verdict is Verdict.INEFFECTIVE
    assert len(record.steps) == 1
    assert not record.steps[0].success
    assert record.reasons == (f"{record.steps[0].edit_id} did not take",)


@pytest.mark.parametrize("promises", [False, True])
def test_edits_need_to_last_only_with_an_editor_that_promises_it(promises: bool) -> None:
    def fickle(model: EditableModel, request: EditRequest) -> WeightUpdate:
        """Prefers the new answer by the weights of one token of the head, and only for as long as it is the last."""
        (word,) = model.answer_ids(request.prompt, request.target_new)[:1]

        head = model.parameter("lm_head.weight")
        hidden = last_hidden(model, request.prompt)
        wanted = torch.zeros_like(head)
        wanted[word] = 5 * hidden / hidden.norm()
        return WeightUpdate({"lm_head.weight": DenseDelta(unedited + wanted - head)})

    lab = lab_of(Fake(fickle, keeps_edits=promises), "llama")
    unedited = lab.model.parameter("lm_head.weight").clone()
    # The unedited model prefers the other answers.
    pool = [
        replace(named, request=replace(request, target_new=request.ground_truth, ground_truth=request.target_new))
        for named in (NORWAY, ROME)
        if (request := named.request).ground_truth is not None
    ]
    record = search_for(lab, replace(SETTINGS, fail_ineffective=True, ppl_limit=1e300), *pool)
    if not promises:
        assert record.verdict is Verdict.STABLE
        assert record.search is not None
        assert record.search.forgetful > 0
        return
    assert record.verdict is Verdict.INEFFECTIVE
    assert len(record.steps) == 2
    assert record.steps[-1].retained == 0
    assert "promises to keep edits and lost facts:000" in record.reasons[0]


@torch.no_grad()
def last_hidden(model: EditableModel, prompt: str) -> torch.Tensor:
    """What the head gets at the end of a prompt."""
    found = model.model.model(torch.tensor([model.encode(prompt)])).last_hidden_state[0, -1]
    assert isinstance(found, torch.Tensor)
    return found


# Tasks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "growth", "measured"),
    [
        (Downstream.NEVER, 1.0, False),
        (Downstream.AUTO, 1e6, True),
        (Downstream.SUSPECT, 1e6, False),
        (Downstream.SUSPECT, 1e-6, True),
        (Downstream.EACH, 1e6, True),
        (Downstream.FINAL, 1e6, True),
    ],
)
def test_tasks_at_the_end_of_sequences(mode: Downstream, growth: float, measured: bool, result: TaskResult) -> None:
    calls = []

    def measure(block: int) -> tuple[TaskResult, ...]:
        calls.append(block)
        return (result,)

    settings = replace(SETTINGS, downstream=mode, suspect_growth=growth, machine_examples=5)
    record = search_for(lab_of(Fake(harmless), measure_tasks=measure), settings)
    assert record.verdict is Verdict.STABLE
    assert bool(calls) is measured
    assert len(calls) <= 5


@pytest.mark.parametrize(("growth", "measured"), [(1e6, False), (1e-6, True)])
def test_tasks_of_others_are_measured_where_a_sequence_ends_suspect(
    growth: float, measured: bool, result: TaskResult
) -> None:
    calls = []

    def measure(block: int) -> tuple[TaskResult, ...]:
        calls.append(block)
        return (result,)

    settings = replace(SETTINGS, tasks=("piqa",), suspect_growth=growth, machine_examples=3)
    search_for(lab_of(Fake(harmless), measure_tasks=measure), settings)
    assert bool(calls) is measured


def test_tasks_at_random_are_a_collapse_shrunk_to_one_edit(result: TaskResult) -> None:
    def measure(block: int) -> tuple[TaskResult, ...]:
        return (replace(result, verdict=TaskVerdict.RANDOM, edited=0.5, p_value=0.5),)

    lab = lab_of(Fake(harmless), measure_tasks=measure)
    record = search_for(lab, replace(SETTINGS, downstream=Downstream.EACH))
    assert record.verdict is Verdict.COLLAPSED
    assert edit_ids(record) == ["facts:0000"]
    assert [task.task for task in record.tasks] == ["words"]
    assert "not above chance" in record.reasons[0]


def test_tasks_are_not_measured_after_a_collapse(result: TaskResult) -> None:
    def measure(block: int) -> tuple[TaskResult, ...]:
        raise AssertionError("the sequence has ended otherwise")

    lab = lab_of(Fake(ruin), measure_tasks=measure)
    record = search_for(lab, replace(SETTINGS, downstream=Downstream.EACH))
    assert record.verdict is Verdict.COLLAPSED
    assert record.tasks == ()


# The budget ---------------------------------------------------------------------------------------------------


def test_after_the_budget_nothing_is_computed_and_the_smallest_sequence_still_replays() -> None:
    rule = ruin_where(lambda model, request: request.subject == "Rome" and is_edited(model))
    free = lab_of(Fake(rule))
    finding = run_machine(Search(free, POOL, LONG), "free")
    free.leave()
    assert finding is not None

    tight = lab_of(Fake(rule))
    search = Search(tight, POOL, replace(LONG, machine_budget=float(free.computed // 2)), clock=Clock())
    found = run_machine(search, "tight")
    tight.leave()
    assert search.statistics().out_of_time
    assert search.statistics().edits <= free.computed // 2
    assert tight.computed == search.statistics().edits
    if found is not None:
        assert found.node.last.request.subject == "Rome"


def test_a_finding_says_that_there_was_no_time_to_make_it_smaller() -> None:
    second = ruin_where(lambda model, request: request.subject == "Rome" and is_edited(model))

    def record(budget: float) -> SequenceRecord:
        settings = replace(LONG, machine_budget=budget)
        runner = SearchRunner(lab_of(Fake(second)), settings, "main", clock=Clock())
        return runner.run(case_of(kind=SequenceKind.MACHINE))

    assert record(1e6).notes == ()
    # Some budget ends between the first sequence that broke the model and the end of shrinking.
    ended, budget = next(
        (found, budget) for budget in count(2) if (found := record(float(budget))).verdict is Verdict.COLLAPSED
    )
    assert ended.notes == (
        f"the time budget of {budget} s ended while smaller sequences were looked for; there may be one",
    )
    assert ended.search is not None
    assert ended.search.out_of_time


def test_a_search_ends_with_its_budget() -> None:
    lab = lab_of(Fake(harmless))
    search = Search(lab, POOL, replace(SETTINGS, machine_budget=7.0), clock=Clock())
    assert run_machine(search, "any") is None
    lab.leave()
    assert lab.computed == 6
    assert search.statistics().out_of_time


def test_a_search_without_time_for_an_edit_has_learnt_nothing() -> None:
    record = search_for(lab_of(Fake(harmless)), replace(SETTINGS, machine_budget=1e-9))
    assert record.verdict is Verdict.ERROR
    assert "no edit was made within --machine-budget" in (record.error or "")


def bytes_of(*nodes: Node) -> int:
    """Of the last update of each state, low-rank factors or whole tensors."""
    return sum(
        sum(factor.nbytes for factor in ((d.delta,) if isinstance(d, DenseDelta) else (d.left, d.right)))
        for node in nodes
        for d in node.edits[-1].update.deltas.values()
    )


@pytest.mark.parametrize("rule", [harmless, dense])
def test_a_search_ends_once_its_updates_fill_the_memory(
    rule: Rule, result: TaskResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_of(Fake(rule))
    nodes = [lab.extend(lab.root, named) for named in POOL[:3]]
    lab.leave()
    assert lab.held_bytes == bytes_of(*nodes)
    one = bytes_of(nodes[0])
    assert not lab.is_full

    for module in ("lab", "search_runner"):
        monkeypatch.setattr(f"collapse_tests.sequence.{module}.update_bytes_in_memory", lambda: 3 * one)
    assert lab.is_full
    calls = []

    def measure(block: int) -> tuple[TaskResult, ...]:
        calls.append(block)
        return (result,)

    lab = lab_of(Fake(rule), measure_tasks=measure)
    record = search_for(lab)
    assert record.verdict is Verdict.STABLE
    assert lab.computed == 3
    assert record.search is not None
    assert not record.search.out_of_time
    (note,) = record.notes
    assert note.startswith("the memory for updates (")
    assert note.endswith("ended the search after 3 edits")
    assert 0 < len(calls) <= 3  # which need no memory


def test_what_was_found_before_the_memory_was_full_still_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    second = ruin_where(lambda model, request: request.subject == "Rome" and is_edited(model))

    def record(bound: int) -> SequenceRecord:
        for module in ("lab", "search_runner"):
            monkeypatch.setattr(f"collapse_tests.sequence.{module}.update_bytes_in_memory", lambda: bound)
        return search_for(lab_of(Fake(second)), LONG)

    ended = next(found for bound in count(1, 200) if (found := record(bound)).verdict is Verdict.COLLAPSED)
    assert ended.requests[-1]["subject"] == "Rome"
    (note,) = ended.notes
    assert note.startswith("the memory for updates (")
    assert note.endswith("ended while smaller sequences were looked for; there may be one")


@pytest.mark.parametrize(("bound", "asked"), [(1 << 30, 4), (1, 2)])
def test_a_search_goes_on_from_another_ones_edits_unless_they_fill_the_memory(
    bound: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("lab", "search_runner", "runs"):
        monkeypatch.setattr(f"collapse_tests.sequence.{module}.update_bytes_in_memory", lambda: bound)
    monkeypatch.setattr("collapse_tests.sequence.runs.load_texts", lambda name: TEXTS)
    editor = Fake(harmless)
    runs = SequenceRuns(shared_model("gpt2"), replace(SETTINGS, machine_steps=1), "main")
    case = case_of(kind=SequenceKind.MACHINE)
    assert runs.run(case, editor).verdict is Verdict.STABLE
    assert runs.run(case, editor).verdict is Verdict.STABLE
    assert len(editor.asked) == asked


def test_a_scenario_and_a_search_on_the_same_sentences_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collapse_tests.sequence.runs.load_texts", lambda name: TEXTS)
    runs = SequenceRuns(shared_model("gpt2"), replace(SETTINGS, ppl_texts="same", machine_examples=5), "main")
    editor = Fake(harmless)
    for kind in (SequenceKind.SCENARIO, SequenceKind.MACHINE, SequenceKind.SCENARIO):
        assert runs.run(case_of(kind=kind), editor).error is None


def test_the_replay_of_what_was_found_computes_nothing() -> None:
    lab = lab_of(Fake(ruin_where(lambda model, request: is_edited(model))))
    search = Search(lab, POOL, SETTINGS)
    finding = run_machine(search, "any")
    assert isinstance(finding, Collapse)
    before = lab.computed
    node = lab.root
    for edit in finding.node.edits:
        node = lab.extend(node, edit.named)
    assert node is finding.node
    assert lab.computed == before
    lab.leave()


# The database of examples -------------------------------------------------------------------------------------


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryExampleDatabase]:
    """As outside of CI, where Hypothesis has settings of its own, chosen when it was imported."""
    monkeypatch.delenv("CI")
    profile = hypothesis_settings.get_current_profile_name()
    hypothesis_settings.load_profile("default")
    yield InMemoryExampleDatabase()
    hypothesis_settings.load_profile(profile)


BREAKS = ruin_where(lambda model, request: request.subject == "Paris" and is_edited(model))


def first_sequence_that_breaks(key: str, database: InMemoryExampleDatabase) -> tuple[Finding | None, int]:
    """What a new search finds, and how many sequences it tried until the first one that broke the model."""
    lab = lab_of(Fake(BREAKS))
    search = Search(lab, POOL, LONG)
    tried: list[int] = []
    check = search.check_model

    def watched(node: object) -> None:
        try:
            check(node)  # type: ignore[arg-type]
        except Finding:
            tried.append(search.statistics().sequences)
            raise

    search.check_model = watched  # type: ignore[method-assign]
    finding = run_machine(search, key, database)
    lab.leave()
    return finding, tried[0]


def test_a_second_search_tries_what_broke_the_model_first(database: InMemoryExampleDatabase) -> None:
    first, _ = first_sequence_that_breaks("one", database)
    assert isinstance(first, Collapse)
    second, tried = first_sequence_that_breaks("one", database)
    assert isinstance(second, Collapse)
    assert tried == 1
    assert [edit.named for edit in second.node.edits] == [edit.named for edit in first.node.edits]


def test_two_searches_share_no_examples(database: InMemoryExampleDatabase) -> None:
    first_sequence_that_breaks("one", database)
    kept = {key: set(values) for key, values in database.data.items() if values}
    assert kept

    lab = lab_of(Fake(harmless))  # would take the examples of the first search away, as they break nothing here
    assert run_machine(Search(lab, POOL, SETTINGS), "other", database) is None
    lab.leave()
    first_sequence_that_breaks("another", database)

    assert {key: set(database.data[key]) for key in kept} == kept
    assert {key for key, values in database.data.items() if values} > set(kept)


def test_keys_tell_models_editors_and_pools_apart() -> None:
    case = case_of(kind=SequenceKind.MACHINE)
    others = [
        replace(case, model="other"),
        replace(case, editor="other"),
        replace(case, requests=POOL[:2]),
        replace(case, requests=POOL[::-1]),
    ]
    assert len({search_key(other) for other in [case, *others]}) == 5
    assert search_key(replace(case, name="other", source="other.jsonl")) == search_key(case)


def test_ci_remembers_nothing_and_repeats_itself_by_seed() -> None:
    def asked(seed: int) -> list[EditRequest]:
        editor = Fake(harmless)
        lab = lab_of(editor)
        search_for(lab, replace(SETTINGS, seed=seed))
        return editor.asked

    assert asked(1) == asked(1)
    assert asked(1) != asked(2)


# The machine --------------------------------------------------------------------------------------------------


def test_steps_of_the_machine() -> None:
    lab = lab_of(Fake(harmless))
    machine = EditingMachine(Search(lab, POOL, SETTINGS))
    machine.apply(1)
    machine.apply(0)
    assert [named.edit_id for named in machine.overwrites] == [
        "facts:0001~Paris",
        "facts:0000~Oslo",
        "facts:0000~Vienna",
    ]
    machine.overwrite(2)
    machine.revert()
    machine.revert()
    machine.reapply(1)  # taken back, and still an earlier one
    assert [edit.named.edit_id for edit in machine.node.edits] == ["facts:0001", "facts:0000"]
    assert [named.edit_id for named in machine.made] == ["facts:0001", "facts:0000", "facts:0000~Vienna", "facts:0000"]
    lab.leave()


def test_kinds_of_findings_are_never_mixed_up() -> None:
    assert len({Collapse, Fault, Forgotten}) == 3
    node = lab_of(Fake(harmless)).root
    finding = Fault(node, "why", EditorError("raised"), refused=NORWAY)
    assert (str(finding), finding.edits, finding.kind) == ("why", 1, ErrorKind.EDITOR)
    assert not math.isnan(node.perplexity.me_ppl)
