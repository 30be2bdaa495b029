"""Sweeps on a tiny model: what is run, what is kept, and that a stopped one goes on where it was."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from collapse_tests.cache import CACHE_VARIABLE
from collapse_tests.cases import Case, expand_cases
from collapse_tests.engine.gate import Gate
from collapse_tests.errors import CollapseError, UsageError
from collapse_tests.kept_records import KeptRecords, run_directories
from collapse_tests.mining.ranking import rank, riskiest
from collapse_tests.mining.subset import hard_requests
from collapse_tests.mining.sweep import Sweep, SweepResult, collect
from collapse_tests.records import Record, Verdict
from collapse_tests.report.store import read_records
from collapse_tests.settings import Downstream, Settings
from collapse_tests.shards import Shard
from tests.unit.mining.editors import LIMIT, TEXTS, Counting, Knowing, write_facts

Save = Callable[[str], Path]
KINDS = ("mild", "large", "endless", "nothing", "mild", "raises", "large", "mild")


@pytest.fixture(autouse=True)
def _forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    Counting.reset()
    yield
    Counting.reset()


def own(cls: type) -> str:
    return f"{cls.__module__}:{cls.__name__}"


@pytest.fixture
def settings(saved_tiny_model: Save, tmp_path: Path) -> Settings:
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps(TEXTS), "ascii")
    return Settings(
        (own(Counting),),
        (str(saved_tiny_model("gpt2")),),
        (str(write_facts(tmp_path / "facts.jsonl", KINDS)),),
        ppl_limit=float(LIMIT),
        ppl_texts=str(texts),
        device="cpu",
        matmul_precision="float32",
        batch_size=1,
        downstream=Downstream.NEVER,
    )


@dataclasses.dataclass
class Swept:
    """One run of a sweep."""

    result: SweepResult
    said: list[str]


def sweep(settings: Settings, directory: Path, shard: Shard | None = None) -> Swept:
    said: list[str] = []
    cases = expand_cases(settings)
    chosen = cases if shard is None else shard.of(cases)
    return Swept(Sweep(Gate(settings, (), say=said.append), directory, said.append).run(chosen), said)


def comparable(record: Record) -> str:
    return repr(replace(record, seconds={}))  # as text, in which NaN equals itself


def test_every_case_gets_its_record_and_its_verdict(settings: Settings, tmp_path: Path) -> None:
    swept = sweep(settings, tmp_path / "sweep")
    cases = expand_cases(settings)
    assert [record.case_id for record in swept.result.records] == [case.id for case in cases]
    assert [str(record.verdict) for record in swept.result.records] == [
        *("ineffective", "collapsed", "collapsed", "collapsed", "ineffective", "error", "collapsed", "ineffective")
    ]
    assert swept.result.missing == ()
    assert swept.result.kept == 0
    assert Counting.asked == list(range(8))
    assert "8 edits to make, 0 there already" in swept.said
    assert "8 of 8 edits made, 4 collapsed the model" in swept.said


def test_the_directory_is_that_of_a_run(settings: Settings, tmp_path: Path) -> None:
    swept = sweep(settings, tmp_path / "sweep")
    (run,) = run_directories(tmp_path / "sweep")
    records, problems = read_records(run)
    assert [comparable(record) for record in records] == [comparable(record) for record in swept.result.records]
    assert problems == []
    environment = json.loads((run / "environment.json").read_text())
    assert environment["models"] == {settings.models[0]: records[0].model_digest}
    assert environment["devices"]["main"]["device"] == "cpu"
    assert environment["settings"]["ppl_limit"] == 600


def test_a_second_time_only_errors_are_tried_again(settings: Settings, tmp_path: Path) -> None:
    first = sweep(settings, tmp_path / "sweep")
    Counting.asked, Counting.raises = [], False
    second = sweep(settings, tmp_path / "sweep")
    assert Counting.asked == [5]
    assert second.result.kept == 7
    assert second.result.records[5].verdict is Verdict.COLLAPSED
    others = [0, 1, 2, 3, 4, 6, 7]
    for index in others:
        assert comparable(second.result.records[index]) == comparable(first.result.records[index])
    Counting.asked = []
    third = sweep(settings, tmp_path / "sweep")
    assert Counting.asked == []
    assert third.result.kept == 8
    assert len(run_directories(tmp_path / "sweep")) == 2  # what has nothing to run writes nothing
    assert list(map(comparable, third.result.records)) == list(map(comparable, second.result.records))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_stopped_sweep_goes_on_with_what_is_missing(settings: Settings, tmp_path: Path, batch_size: int) -> None:
    settings = replace(settings, batch_size=batch_size)
    whole = sweep(settings, tmp_path / "whole")
    Counting.reset()
    Counting.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        sweep(settings, tmp_path / "sweep")
    kept = 4 // batch_size * batch_size
    (run,) = run_directories(tmp_path / "sweep")
    assert len(read_records(run)[0]) == kept
    Counting.reset()

    resumed = sweep(settings, tmp_path / "sweep")

    assert sorted(set(Counting.asked)) == list(range(kept, 8))
    assert resumed.result.kept == kept
    assert list(map(comparable, resumed.result.records)) == list(map(comparable, whole.result.records))


def test_shards_make_what_the_whole_makes(settings: Settings, tmp_path: Path) -> None:
    whole = sweep(settings, tmp_path / "whole")
    Counting.reset()
    second = sweep(settings, tmp_path / "sweep", Shard(2, 2))
    assert Counting.asked == [1, 3, 5, 7]
    cases = expand_cases(settings)
    half = collect(cases, KeptRecords(tmp_path / "sweep", settings))
    assert half.missing == tuple(cases[number] for number in (0, 2, 4, 5, 6))
    sweep(settings, tmp_path / "sweep", Shard(1, 2))

    collected = collect(cases, KeptRecords(tmp_path / "sweep", settings))

    assert [record.edit_id for record in second.result.records] == [case.edit_id for case in cases[1::2]]
    learnt = [record for record in whole.result.records if record.verdict is not Verdict.ERROR]
    assert list(map(comparable, collected.records)) == list(map(comparable, learnt))
    assert collected.missing == (cases[5],)
    assert [hard.edit_id for hard in hard_requests(collected.records)] == [
        f"facts:000{number}" for number in (1, 2, 3, 6)
    ]


def test_numbers_that_are_none_are_outcomes(settings: Settings, tmp_path: Path) -> None:
    for swept in (sweep(settings, tmp_path / "sweep"), sweep(settings, tmp_path / "sweep")):
        endless, nothing = swept.result.records[2:4]
        assert endless.edited is not None
        assert nothing.edited is not None
        assert endless.edited.me_ppl == math.inf
        assert math.isnan(nothing.edited.me_ppl)
        assert {endless.verdict, nothing.verdict} == {Verdict.COLLAPSED}


def test_two_models_and_editors_keep_their_records_apart(
    settings: Settings, tmp_path: Path, saved_tiny_model: Save
) -> None:
    facts = write_facts(tmp_path / "few.jsonl", ["mild", "large"])
    settings = replace(settings, edits=(str(facts),), editors=(own(Counting), "null"))
    llama = str(saved_tiny_model("llama"))
    settings = replace(settings, models=(*settings.models, llama), ppl_limit=1e9)
    swept = sweep(replace(settings, editors=("null",)), tmp_path / "sweep")
    assert len({record.model_digest for record in swept.result.records}) == 2
    assert sum(line.startswith("loading") for line in swept.said) == 2
    again = sweep(replace(settings, models=settings.models[:1]), tmp_path / "sweep")
    assert Counting.asked == [0, 1]
    assert again.result.kept == 2
    assert [(record.editor, record.edit_id) for record in again.result.records] == [
        (editor, f"few:000{number}") for editor in (own(Counting), "null") for number in (0, 1)
    ]


def test_records_of_other_weights_are_made_anew(settings: Settings, tmp_path: Path) -> None:
    sweep(settings, tmp_path / "sweep")
    (run,) = run_directories(tmp_path / "sweep")
    file = run / "records.jsonl"
    digest = read_records(run)[0][0].model_digest
    file.write_text(file.read_text().replace(digest, "0" * len(digest)))
    Counting.reset()
    swept = sweep(settings, tmp_path / "sweep")
    assert sorted(set(Counting.asked)) == list(range(8))
    assert swept.result.kept == 0
    assert {record.model_digest for record in swept.result.records} == {digest}


def test_a_model_that_does_not_load_ends_the_sweep(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(CollapseError, match=r"no config\.json"):
        sweep(replace(settings, models=(str(tmp_path),)), tmp_path / "sweep")
    assert run_directories(tmp_path / "sweep") == []


def test_an_unedited_model_over_the_limit_ends_the_sweep(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(CollapseError, match="--ppl-limit 100"):
        sweep(replace(settings, ppl_limit=100.0), tmp_path / "sweep")
    assert Counting.asked == []


def test_damaged_records_end_the_sweep_before_a_model_is_loaded(settings: Settings, tmp_path: Path) -> None:
    sweep(settings, tmp_path / "sweep")
    (run,) = run_directories(tmp_path / "sweep")
    (run / "records.jsonl").write_text("{}\n")
    said: list[str] = []
    with pytest.raises(UsageError, match=r"records\.jsonl:1"):
        Sweep(Gate(settings, (), say=said.append), tmp_path / "sweep").run(expand_cases(settings))
    assert said == []


def test_no_cases_are_no_work(settings: Settings, tmp_path: Path) -> None:
    swept = sweep(settings, tmp_path / "sweep", Shard(9, 9))
    assert swept.result == SweepResult((), (), 0)
    assert swept.said == []


# The riskiest -------------------------------------------------------------------------------------------------


def ranked_gate(settings: Settings) -> tuple[Gate, tuple[Case, ...]]:
    settings = replace(settings, editors=(own(Knowing), "rome"))
    return Gate(settings, ()), expand_cases(settings)


def test_cases_are_ranked_within_their_model_and_editor(settings: Settings) -> None:
    gate, cases = ranked_gate(settings)
    ranked = rank(gate, cases)
    assert [case.editor for case, _ in ranked] == [own(Knowing)] * 8 + ["rome"] * 8
    assert [int(case.edit_id[-1]) for case, _ in ranked[:8]] == [3, 2, 1, 6, 0, 4, 7, 5]
    assert str(ranked[7][1].error) == f"{Knowing.name} raised KeyError: 'raises'"
    risks = [seen.risk for _, seen in ranked[8:]]
    assert risks == sorted(risks, reverse=True)
    assert len(set(risks)) > 1
    assert Counting.asked == []  # nothing was edited
    assert riskiest(gate, cases, 3) == [case for case, _ in (*ranked[:3], *ranked[8:11])]
    assert riskiest(gate, cases, 100) == [case for case, _ in ranked]
