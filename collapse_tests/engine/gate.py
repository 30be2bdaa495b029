"""The gate of one process: tests ask for their record, whole batches are run.

One model copy is kept at a time, with its editor. Cases are grouped by (model, editor) and cut into the same chunks
that the scheduler hands to workers; a chunk is run in batches that suit the device.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from collapse_tests.case_records import error_record
from collapse_tests.cases import Case
from collapse_tests.datasets.texts import load_texts
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.protocol import BoundedEditor, Editor, PreflightEditor, Progress, no_progress
from collapse_tests.engine.bench import Bench
from collapse_tests.engine.outcome import Outcome
from collapse_tests.engine.preflight import STAND_IN, Foresight, foresee
from collapse_tests.engine.runner import BatchRunner
from collapse_tests.engine.setting_up import make_editor, prepare_for
from collapse_tests.engine.task_set import TaskSet
from collapse_tests.errors import CollapseError, InfrastructureError, RestorationError
from collapse_tests.models.loading import load_model
from collapse_tests.models.workload import requests_per_batch
from collapse_tests.records import Record
from collapse_tests.scheduling import chunk_cases
from collapse_tests.sequence.cases import SequenceCase
from collapse_tests.sequence.records import sequence_error_record
from collapse_tests.sequence.runs import SequenceRuns
from collapse_tests.sequence_record import SequenceRecord
from collapse_tests.settings import DEFAULT_PPL_TEXTS, Downstream, Settings

__all__ = ["Gate", "Outcome"]


class Gate:
    """Runs cases of all models and editors of a run.

    Args:
        settings: of the run.
        cases: every selected case, in the order the tests run.
        workers: processes that share the cases, by which they are cut, or None for no bound but the group.
        answered: ids of cases that earlier records answer for, which no batch takes along; looked at whenever a batch
            is made.
        alone: ids of cases that are never run together with others; looked at likewise.
        worker: name of this process in records.
        say: takes one line of progress at a time.
        progress: tells the user how far a batch is.
    """

    def __init__(
        self,
        settings: Settings,
        cases: Sequence[Case],
        *,
        workers: int | None = None,
        answered: Container[str] = (),
        alone: Container[str] = (),
        worker: str = "main",
        say: Callable[[str], None] = lambda line: None,
        progress: Progress = no_progress,
    ) -> None:
        self.settings = settings
        self.worker = worker
        self._say = say
        self._progress = progress
        self._tasks = TaskSet(settings, say)
        self._answered = answered
        self._alone = alone
        self.expect(cases, workers=workers)
        self._done: dict[str, Outcome[Record]] = {}
        self._bench: Bench | None = None
        self._runner: BatchRunner | None = None
        self._sequences: SequenceRuns | None = None
        self._key: tuple[str, str] | None = None
        self._failures: dict[tuple[str, str], CollapseError] = {}
        self._shown: set[str] = set()

    def device_facts(self, worker: str) -> dict[str, str] | None:
        """What the model copy in hand computes on; None where none was loaded, and of any worker but this one."""
        if self._bench is None or worker != self.worker:
            return None
        return self._bench.device_facts

    def expect(self, cases: Sequence[Case], *, workers: int | None = None) -> None:
        """Cut batches from these cases from now on; arguments as for the class."""
        numbers = chunk_cases([case.id for case in cases], workers)
        chunks: dict[int, list[Case]] = {}
        for case in cases:
            chunks.setdefault(numbers[case.id], []).append(case)
        self._chunks = {case.id: chunks[numbers[case.id]] for case in cases}

    def digest(self, model: str) -> str:
        """Digest of the unedited weights of a model, which is loaded for that.

        Raises:
            CollapseError: it could not be loaded, or not be measured.
        """
        return self._bench_for(model).model.digest

    def preflight(self, model: str, editor: str, requests: Sequence[EditRequest]) -> list[Foresight]:
        """What can be told of edits before they are made, by the editor itself or, if it cannot, by `STAND_IN`.

        Raises:
            CollapseError: the model could not be loaded, or an editor not be prepared.
        """
        runner = self._runner_for(model, editor)
        own = runner.editor
        if not isinstance(own, PreflightEditor):
            own = make_editor(STAND_IN, model, self.settings)
            assert isinstance(own, PreflightEditor)
            self._prepare(own, STAND_IN, runner.bench)
        found = foresee(runner.bench.model, own, requests, self._progress)
        self._check_restored(editor, runner.bench)
        return found

    def outcome(self, case: Case) -> Outcome[Record]:
        """The outcome of a case, running its batch if it has not been run.

        It is handed out once; asking again runs the case again.
        """
        if case.id not in self._done:
            self._run(self._batch_of(case))
        return self._done.pop(case.id)

    def sequence(self, case: SequenceCase) -> Outcome[SequenceRecord]:
        """The outcome of edits in sequence; asking again runs them again."""
        try:
            runner = self._runner_for(case.model, case.editor)
            record = self._sequences_on(runner.bench).run(case, runner.editor)
        except CollapseError as error:
            shown = self._has_shown(error)
            return Outcome(sequence_error_record(case, self.settings, self.worker, error), repeated=shown)
        except Exception as error:
            self._drop()  # wherever the sequence stood, these weights are not to be trusted
            told = InfrastructureError(f"the gate raised {type(error).__name__}: {error}")
            return Outcome(sequence_error_record(case, self.settings, self.worker, told))
        if self._sequences is not None and self._sequences.spoiled is not None:
            self._say(f"{self._sequences.spoiled}; the model is loaded again")
            self._drop()
        return Outcome(record)

    def _sequences_on(self, bench: Bench) -> SequenceRuns:
        if self._sequences is None:
            tasks = None if bench.downstream is None else bench.downstream.as_is
            self._sequences = SequenceRuns(bench.model, self.settings, self.worker, self._progress, tasks, self._say)
        return self._sequences

    def _batch_of(self, case: Case) -> list[Case]:
        """The case and those after it in its chunk that have no outcome yet, as many as suit the device."""
        if case.id in self._alone:
            return [case]
        chunk = self._chunks.get(case.id, [case])
        left_out = (self._done, self._answered, self._alone)
        after = chunk[chunk.index(case) + 1 :]
        waiting = [other for other in after if not any(other.id in ids for ids in left_out)]
        return [case, *waiting[: self.requests_at_once(case.model, case.editor) - 1]]

    def requests_at_once(self, model: str, editor: str) -> int:
        """How many cases are run together; loads the model and makes the editor ready."""
        try:
            runner = self._runner_for(model, editor)
        except CollapseError:
            return 1 << 30  # the whole chunk shares the failure
        if self.settings.batch_size is not None:
            return self.settings.batch_size
        fitting = requests_per_batch(runner.bench.model)
        if isinstance(runner.editor, BoundedEditor):
            return min(fitting, runner.editor.requests_at_once(runner.bench.model))
        return fitting

    def _run(self, batch: Sequence[Case]) -> None:
        try:
            runner = self._runner_for(batch[0].model, batch[0].editor)
        except CollapseError as error:
            for case in batch:
                self._done[case.id] = self._unusable(case, error)
            return
        for record in runner.run(batch):
            self._done[record.case_id] = Outcome(record, detail=runner.details.pop(record.case_id, None))
        if runner.spoiled is not None:
            self._say(f"{runner.spoiled}; the model is loaded again")
            self._drop()

    def _unusable(self, case: Case, error: CollapseError) -> Outcome[Record]:
        return Outcome(error_record(case, self.settings, self.worker, error), repeated=self._has_shown(error))

    def _has_shown(self, error: CollapseError) -> bool:
        """Whether this failure has been reported already; from now on it has."""
        shown = str(error) in self._shown
        self._shown.add(str(error))
        return shown

    # The model copy in hand -------------------------------------------------------------------------------

    def _runner_for(self, model: str, editor_name: str) -> BatchRunner:
        key = (model, editor_name)
        if key in self._failures:
            raise self._failures[key]
        if self._runner is None or self._key != key:
            try:
                # Before the model is loaded: wrong options need not wait for that.
                editor = make_editor(editor_name, model, self.settings)
                bench = self._bench_for(model)
                self._prepare(editor, editor_name, bench)
            except CollapseError as error:
                self._failures[key] = error
                raise
            self._runner = BatchRunner(bench, editor, self.settings, self.worker, self._progress)
            self._key = key
        return self._runner

    def _bench_for(self, model: str) -> Bench:
        if self._bench is None or self._bench.model.name != model:
            self._drop()  # two models do not always fit
            texts = load_texts(self.settings.ppl_texts or DEFAULT_PPL_TEXTS)
            downstream = self._tasks.downstream()  # their data is loaded before the model
            loaded = load_model(model, self.settings, self._say)
            bench = Bench(loaded, texts, self.settings.ppl_limit, downstream)
            self._say(f"unedited {model}: ME-PPL {bench.unedited.me_ppl:,.2f}")
            if self._measures_tasks:
                _ = bench.downstream  # what is wrong with them shows before anything is edited
            self._bench = bench
        return self._bench

    @property
    def _measures_tasks(self) -> bool:
        sequences = self.settings.scenarios or self.settings.machines
        return self.settings.downstream is not Downstream.FINAL or bool(sequences)

    def _prepare(self, editor: Editor, name: str, bench: Bench) -> None:
        """Its one-off work, after which the model has to be as before."""
        try:
            prepare_for(bench.model, editor, name, self.settings, self._progress)
        except Exception:
            self._check_restored(name, bench)
            raise
        self._check_restored(name, bench)

    def _check_restored(self, editor: str, bench: Bench) -> None:
        try:
            bench.check_restored(editor)
        except RestorationError:
            self._drop()  # the next editor gets a fresh copy
            raise

    def _drop(self) -> None:
        self._bench = self._runner = self._sequences = self._key = None
