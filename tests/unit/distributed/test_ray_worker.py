"""The gate of one process of a cluster, with one that measures nothing in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.cache import CACHE_VARIABLE
from collapse_tests.case_records import blank_record
from collapse_tests.cases import Case
from collapse_tests.distributed.ray_brief import FACTORY_VARIABLE, brief_of
from collapse_tests.distributed.ray_files import send_model
from collapse_tests.distributed.ray_worker import RayWorker
from collapse_tests.edit_request import EditRequest
from collapse_tests.engine.outcome import Outcome
from collapse_tests.errors import ErrorKind, InfrastructureError, RestorationError, UsageError
from collapse_tests.models.specs import KNOWN_MODELS, resolve_spec
from collapse_tests.records import Record
from collapse_tests.settings import Settings

CASES = [Case("m", "rome", f"f:{index}", EditRequest("The prompt", "prompt", "new")) for index in range(3)]


class StandIn:
    """A gate that measures nothing."""

    made = 0

    def __init__(self, settings: Settings, cases: Sequence[Case], *, worker: str, say: Callable[[str], None]) -> None:
        StandIn.made += 1
        self.settings = settings
        self.worker = worker
        say(f"measuring on {settings.ppl_texts}")

    def expect(self, cases: Sequence[Case]) -> None:
        self.expected = list(cases)

    def outcome(self, case: Case) -> Outcome[Record]:
        assert case in self.expected
        return Outcome(blank_record(case, self.settings, self.worker))

    def requests_at_once(self, model: str, editor: str) -> int:
        return {"rome": 8}[editor]

    def digest(self, model: str) -> str:
        if model == "changed":
            raise RestorationError("rome", ["weight"])
        return f"digest of {model}"

    def device_facts(self, worker: str) -> dict[str, str]:
        return {"device": "none"}


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FACTORY_VARIABLE, f"{__name__}:StandIn")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def make_worker(**options: Any) -> RayWorker:
    return RayWorker(brief_of(Settings(editors=("rome",), **options), 1), "host-1")


def test_it_runs_cases_together_and_says_where() -> None:
    reply = make_worker().run(CASES)
    assert [outcome.record.case_id for outcome in reply.value] == [case.id for case in CASES]
    assert {outcome.record.worker for outcome in reply.value} == {"host-1"}
    assert reply.device == {"device": "none"}


def test_sentences_are_read_from_a_copy_and_keep_their_name(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("A sentence.\n")
    worker = make_worker(ppl_texts=str(tmp_path / "own.txt"))
    (tmp_path / "own.txt").unlink()
    reply = worker.set_up("m", "rome")
    assert (reply.value, reply.error) == (8, None)
    assert reply.lines == (f"measuring on {tmp_path / 'own.txt'}",)
    assert worker.set_up("m", "rome").lines == ()


def test_a_failure_is_told_by_kind_even_where_its_exception_cannot_be_sent() -> None:
    reply = make_worker().digest("changed")
    assert reply.error == (ErrorKind.RESTORATION, "editor 'rome' left the model changed: weight")
    with pytest.raises(InfrastructureError, match="left the model changed"):
        reply.result()


def test_a_gate_that_raises_is_told_and_made_anew() -> None:
    worker = make_worker()
    before = StandIn.made
    reply = worker.set_up("m", "unheard-of")
    assert reply.error == (ErrorKind.INFRASTRUCTURE, "the gate raised KeyError: 'unheard-of'")
    assert worker.set_up("m", "rome").value == 8
    assert StandIn.made == before + 2


def test_a_model_that_was_sent_has_the_name_that_the_user_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    worker = make_worker(models=(str(model),))
    sent = send_model(model, lambda data: data)
    assert worker.missing_models() == []
    (model / "config.json").unlink()
    model.rmdir()
    assert worker.missing_models() == [str(model)]

    monkeypatch.setattr("ray.get", lambda data: data)
    monkeypatch.delitem(KNOWN_MODELS, str(model), raising=False)
    assert worker.place_model(str(model), sent).error is None

    spec = resolve_spec(str(model))
    monkeypatch.delitem(KNOWN_MODELS, str(model))
    assert (spec.name, spec.local) == (str(model), True)
    assert (Path(str(spec.source)) / "config.json").read_text() == "{}"


def test_sentences_that_are_gone_are_the_users_to_mend() -> None:
    with pytest.raises(UsageError, match="give a readable file"):
        brief_of(Settings(editors=("rome",), ppl_texts="nowhere.txt"), 1)
