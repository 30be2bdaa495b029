"""The gate of one process of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from collapse_tests.cases import Case
from collapse_tests.distributed.ray_brief import GATE, Brief, Reply
from collapse_tests.distributed.ray_files import SentModel, keep_model, keep_texts
from collapse_tests.edit_request import EditRequest
from collapse_tests.engine.outcome import Outcome, OutcomeSource
from collapse_tests.errors import CollapseError, InfrastructureError
from collapse_tests.models.specs import KNOWN_MODELS, ModelSpec
from collapse_tests.network import go_offline, use_mirrors
from collapse_tests.quietly import ignoring_warnings
from collapse_tests.records import Record
from collapse_tests.sequence.cases import SequenceCase
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["RayWorker"]


class WorkersGate(OutcomeSource, Protocol):
    """What a worker needs of the gate."""

    def requests_at_once(self, model: str, editor: str) -> int:
        """How many cases it runs together."""


class RayWorker:
    """Does what it is told, one thing at a time; whatever fails is told in the reply.

    Args:
        brief: what the run is about.
        name: of this worker, in records.
    """

    def __init__(self, brief: Brief, name: str) -> None:
        self._brief = brief
        self._name = name
        self._lines: list[str] = []
        self._texts = brief.settings.ppl_texts  # a copy's path, once there is one
        self._gate: WorkersGate | None = None
        if brief.settings.offline:
            go_offline()  # before a framework is imported
        if brief.settings.mirrors:
            use_mirrors(brief.settings.mirrors)

    def missing_models(self) -> list[str]:
        """Models that are directories of the driver's machine and not of this one."""
        return [name for name in self._brief.models if not Path(name).expanduser().is_dir()]

    def place_model(self, name: str, sent: SentModel) -> Reply:
        """Take the files of a model from the object store; its name stands for them from now on."""
        import ray

        def place() -> None:
            directory = keep_model(sent, ray.get, self._lines.append)
            KNOWN_MODELS[name] = ModelSpec(name, str(directory), local=True)

        return self._reply(place)

    def set_up(self, model: str, editor: str) -> Reply:
        """Load a model and make an editor ready; answers how many cases run together."""
        return self._reply(lambda: self._made().requests_at_once(model, editor))

    def run(self, cases: Sequence[Case]) -> Reply:
        """The outcomes of some cases of one model and editor, in order."""

        def outcomes() -> list[Outcome[Record]]:
            gate = self._made()
            gate.expect(cases)
            return [gate.outcome(case) for case in cases]

        return self._reply(outcomes)

    def run_sequence(self, case: SequenceCase) -> Reply:
        """The outcome of edits in sequence, in a list."""

        def outcomes() -> list[Outcome[SequenceRecord]]:
            outcome = self._made().sequence(case)
            texts = self._as_given(outcome.record.ppl_texts)
            return [replace(outcome, record=replace(outcome.record, ppl_texts=texts))]

        return self._reply(outcomes)

    def digest(self, model: str) -> Reply:
        """Digest of the unedited weights of a model."""
        return self._reply(lambda: self._made().digest(model))

    def preflight(self, model: str, editor: str, requests: Sequence[EditRequest]) -> Reply:
        """What can be told of edits before they are made."""
        return self._reply(lambda: self._made().preflight(model, editor, requests))

    def _reply(self, action: Callable[[], Any]) -> Reply:
        value, error = None, None
        try:
            with ignoring_warnings():
                value = action()
        except CollapseError as problem:
            error = Reply.failure(problem)
        except Exception as problem:
            self._gate = None  # nothing of it is to be trusted, and its memory may be what is lacking
            error = Reply.failure(InfrastructureError(f"the gate raised {type(problem).__name__}: {problem}"))
        lines = tuple(self._as_given(line) for line in self._lines)
        self._lines.clear()
        device = None if self._gate is None else self._gate.device_facts(self._name)
        return Reply(value, lines, device, error)

    def _as_given(self, text: str) -> str:
        """A text in which the sentences have the name that the user gave them."""
        given = self._brief.settings.ppl_texts
        return text if given is None or self._texts is None else text.replace(self._texts, given)

    def _made(self) -> WorkersGate:
        """The gate, made when it is first needed: that is when frameworks are imported."""
        if self._gate is None:
            if self._brief.factory == GATE:
                import torch

                torch.set_num_threads(self._brief.cpus)
            settings = self._brief.settings
            if self._brief.texts is not None:
                self._texts = str(keep_texts(self._brief.texts))
                settings = replace(settings, ppl_texts=self._texts)
            module, _, attribute = self._brief.factory.partition(":")
            gate: WorkersGate = getattr(import_module(module), attribute)(
                settings, (), worker=self._name, say=self._lines.append
            )
            self._gate = gate
        return self._gate
