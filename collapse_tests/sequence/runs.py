"""All sequences of one model copy."""

from __future__ import annotations

from collections.abc import Callable

from collapse_tests.datasets.texts import load_texts
from collapse_tests.editors.protocol import Editor, Progress, no_progress
from collapse_tests.errors import RestorationError
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.workload import update_bytes_in_memory
from collapse_tests.sequence.cases import SequenceCase
from collapse_tests.sequence.lab import MeasureTasks, SequenceLab
from collapse_tests.sequence.readings import Readings
from collapse_tests.sequence.records import ppl_texts_of
from collapse_tests.sequence.scenario import ScenarioRunner
from collapse_tests.sequence.search_runner import SearchRunner
from collapse_tests.sequence.weight_state import WeightState
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.settings import Settings

__all__ = ["SequenceRuns"]


class SequenceRuns:
    """Runs sequences of one model copy, those of one editor after another.

    Searches with one editor on the same sentences share their lab, so that what one has computed none computes again,
    until its updates fill half of the memory meant for them. A scenario comes back to no state and keeps no updates.

    Args:
        model: unedited now and whenever a method is called.
        settings: of the run.
        worker: name of this process in records.
        progress: tells the user how far a test is.
        measure_tasks: measures downstream tasks on the weights as they are; None where a run has none.
        say: takes one line of progress at a time.

    Attributes:
        spoiled: why the model copy must not be used any more, or None.
    """

    def __init__(
        self,
        model: EditableModel,
        settings: Settings,
        worker: str,
        progress: Progress = no_progress,
        measure_tasks: MeasureTasks | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.spoiled: RestorationError | None = None
        self._settings = settings
        self._worker = worker
        self._progress = progress
        self._measure_tasks = measure_tasks
        self._say = say
        self._state = WeightState(model)
        self._readings: dict[str, Readings] = {}
        self._editor: Editor | None = None
        self._labs: dict[str, SequenceLab] = {}

    def run(self, case: SequenceCase, editor: Editor) -> SequenceRecord:
        """The record of one test.

        Args:
            case: the test.
            editor: prepared for the model.

        Raises:
            CollapseError: the sentences cannot be scored, or the unedited model does not pass on them.
        """
        lab = self._lab(case.kind, editor)
        kind = ScenarioRunner if case.kind is SequenceKind.SCENARIO else SearchRunner
        record = kind(lab, self._settings, self._worker, self._progress).run(case)
        self.spoiled = lab.spoiled
        return record

    def _lab(self, kind: SequenceKind, editor: Editor) -> SequenceLab:
        if editor is not self._editor:
            self._editor, self._labs = editor, {}
        texts = ppl_texts_of(kind, self._settings)
        if texts not in self._readings:
            self._progress(f"measuring perplexity on {texts}", 0, 1)
            readings = Readings(self._state.model, load_texts(texts), self._settings.ppl_limit)
            self._readings[texts] = readings
            self._say(f"unedited {self._state.model.name}: ME-PPL {readings.unedited.me_ppl:,.2f} on {texts}")
        keeps = kind is not SequenceKind.SCENARIO
        lab = self._labs.pop(texts, None) if keeps else None
        if lab is None or lab.held_bytes > update_bytes_in_memory() // 2:
            readings = self._readings[texts]
            lab = SequenceLab(editor, readings, self._state, self._measure_tasks, keeps_updates=keeps)
        if keeps:
            self._labs[texts] = lab
        return lab
