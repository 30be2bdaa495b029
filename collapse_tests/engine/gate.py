"""The gate of one process: tests ask for their record, whole batches are run.

One model copy is kept at a time, with its editor. Cases are grouped by (model, editor) and cut into the same chunks
that the scheduler hands to workers; a chunk is run in batches that suit the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collapse_tests.cache import cache_dir
from collapse_tests.cases import Case
from collapse_tests.datasets.texts import load_texts
from collapse_tests.editors.protocol import BoundedEditor, Editor, EditorContext, PreparedEditor, Progress, no_progress
from collapse_tests.editors.registry import create_editor
from collapse_tests.engine.bench import Bench
from collapse_tests.engine.runner import BatchRunner, error_record
from collapse_tests.errors import CollapseError, EditorError, RestorationError
from collapse_tests.models.loading import load_model
from collapse_tests.models.workload import requests_per_batch
from collapse_tests.records import Record
from collapse_tests.scheduling import chunk_cases
from collapse_tests.settings import Settings

__all__ = ["Gate", "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a test gets.

    Attributes:
        record: of its case.
        repeated: whether it fails for a reason an earlier case of this process has already shown in full, such as
            a model that does not load.
    """

    record: Record
    repeated: bool = False


class Gate:
    """Runs cases of all models and editors of a run.

    Args:
        settings: of the run.
        cases: every selected case, in the order the tests run.
        chunk: cases that are dispatched together, or None for no bound but the group.
        worker: name of this process in records.
        say: takes one line of progress at a time.
        progress: tells the user how far a batch is.
    """

    def __init__(
        self,
        settings: Settings,
        cases: Sequence[Case],
        *,
        chunk: int | None = None,
        worker: str = "main",
        say: Callable[[str], None] = lambda line: None,
        progress: Progress = no_progress,
    ) -> None:
        self.settings = settings
        self.worker = worker
        self._say = say
        self._progress = progress
        self._chunks = self._cut(cases, chunk or max(1, len(cases)))
        self._done: dict[str, Outcome] = {}
        self._bench: Bench | None = None
        self._runner: BatchRunner | None = None
        self._key: tuple[str, str] | None = None
        self._failures: dict[tuple[str, str], CollapseError] = {}
        self._shown: set[str] = set()

    @property
    def device(self) -> str | None:
        """Device of the model copy in hand, or None."""
        return None if self._bench is None else str(self._bench.model.device)

    @property
    def precision(self) -> str | None:
        """What float32 products of the model copy in hand are rounded to, or None."""
        return None if self._bench is None else str(self._bench.model.precision)

    @staticmethod
    def _cut(cases: Sequence[Case], size: int) -> dict[str, list[Case]]:
        """Case id → the chunk it belongs to."""
        numbers = chunk_cases([case.id for case in cases], size)
        chunks: dict[int, list[Case]] = {}
        for case in cases:
            chunks.setdefault(numbers[case.id], []).append(case)
        return {case.id: chunks[numbers[case.id]] for case in cases}

    def outcome(self, case: Case) -> Outcome:
        """The outcome of a case, running its batch if it has not been run.

        It is handed out once; asking again runs the case again.
        """
        if case.id not in self._done:
            self._run(self._batch_of(case))
        return self._done.pop(case.id)

    def _batch_of(self, case: Case) -> list[Case]:
        """The case and those after it in its chunk that have no outcome yet, as many as suit the device."""
        chunk = self._chunks.get(case.id, [case])
        start = chunk.index(case)
        size = self._batch_size(case)
        return [other for other in chunk[start : start + size] if other.id not in self._done]

    def _batch_size(self, case: Case) -> int:
        if self.settings.batch_size is not None:
            return self.settings.batch_size
        try:
            runner = self._runner_for(case)
        except CollapseError:
            return 1 << 30  # the whole chunk shares the failure
        fitting = requests_per_batch(runner.bench.model)
        if isinstance(runner.editor, BoundedEditor):
            return min(fitting, runner.editor.requests_at_once(runner.bench.model))
        return fitting

    def _run(self, batch: Sequence[Case]) -> None:
        try:
            runner = self._runner_for(batch[0])
        except CollapseError as error:
            for case in batch:
                self._done[case.id] = self._unusable(case, error)
            return
        for record in runner.run(batch):
            self._done[record.case_id] = Outcome(record)
        if runner.spoiled is not None:
            self._say(f"{runner.spoiled}; the model is loaded again")
            self._drop()

    def _unusable(self, case: Case, error: CollapseError) -> Outcome:
        shown = str(error) in self._shown
        self._shown.add(str(error))
        return Outcome(error_record(case, self.settings, self.worker, error), repeated=shown)

    # The model copy in hand -------------------------------------------------------------------------------

    def _runner_for(self, case: Case) -> BatchRunner:
        key = (case.model, case.editor)
        if key in self._failures:
            raise self._failures[key]
        if self._runner is None or self._key != key:
            try:
                editor = self._create(case)  # before the model is loaded: wrong options need not wait for that
                bench = self._bench_for(case.model)
                self._prepare(editor, case, bench)
            except CollapseError as error:
                self._failures[key] = error
                raise
            self._runner = BatchRunner(bench, editor, self.settings, self.worker, self._progress)
            self._key = key
        return self._runner

    def _bench_for(self, model: str) -> Bench:
        if self._bench is None or self._bench.model.name != model:
            self._drop()  # two models do not always fit
            texts = load_texts(self.settings.ppl_texts)
            loaded = load_model(model, self.settings, self._say)
            self._bench = Bench(loaded, texts, self.settings.ppl_limit)
            self._say(f"unedited {model}: ME-PPL {self._bench.unedited.me_ppl:,.2f}")
        return self._bench

    def _create(self, case: Case) -> Editor:
        """The editor; whatever it raises becomes an `EditorError`."""
        try:
            return create_editor(case.editor, case.model, self.settings)
        except CollapseError:
            raise
        except Exception as error:
            raise EditorError(f"{case.editor} raised {type(error).__name__}: {error}") from error

    def _prepare(self, editor: Editor, case: Case, bench: Bench) -> None:
        """Its one-off work; whatever it raises becomes an `EditorError`."""
        try:
            if isinstance(editor, PreparedEditor):
                editor.prepare(bench.model, EditorContext(self.settings.seed, cache_dir(), self._progress))
        except Exception as error:
            self._check_restored(case, bench)
            if isinstance(error, CollapseError):
                raise
            raise EditorError(f"{case.editor} raised {type(error).__name__}: {error}") from error
        self._check_restored(case, bench)

    def _check_restored(self, case: Case, bench: Bench) -> None:
        try:
            bench.check_restored(case.editor)
        except RestorationError:
            self._drop()  # the next editor gets a fresh copy
            raise

    def _drop(self) -> None:
        self._bench = self._runner = self._key = None
