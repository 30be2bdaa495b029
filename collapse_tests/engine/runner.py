"""Runs a batch of cases of one (model, editor): edit, measure, check restoration, judge, record."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from collapse_tests.case_detail import CaseDetail
from collapse_tests.case_records import blank_record, error_record
from collapse_tests.cases import Case
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.protocol import Editor, Progress
from collapse_tests.engine.bench import Bench
from collapse_tests.engine.continuation import continuations
from collapse_tests.engine.details import DetailMaker
from collapse_tests.engine.editor_calls import explained, one_update_each
from collapse_tests.errors import CollapseError, EditorError, InfrastructureError, RestorationError
from collapse_tests.metrics.downstream.catalogue import when_measured
from collapse_tests.metrics.edit_quality import edit_quality, quality_rows
from collapse_tests.metrics.perplexity import perplexity
from collapse_tests.models.memory import in_halves
from collapse_tests.records import EditQuality, Perplexity, Record, TaskResult, Verdict
from collapse_tests.settings import Downstream, Settings
from collapse_tests.verdict import is_suspect, judge
from collapse_tests.weight_update import WeightUpdate

__all__ = ["BatchRunner"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one request: an update, or the reason why there is none."""

    update: WeightUpdate | None = None
    error: CollapseError | None = None


class BatchRunner:
    """Runs cases of one editor on one model copy.

    Args:
        bench: the model copy.
        editor: prepared for that model.
        settings: of the run.
        worker: name of this process in records.
        progress: tells the user how far a batch is.

    Attributes:
        spoiled: why the model copy must not be used any more, or None.
        details: case id → more about it, of some of the cases run; whoever takes one removes it.
    """

    def __init__(self, bench: Bench, editor: Editor, settings: Settings, worker: str, progress: Progress) -> None:
        self.bench = bench
        self.editor = editor
        self.settings = settings
        self.worker = worker
        self.progress = progress
        self.spoiled: RestorationError | None = None
        self.details: dict[str, CaseDetail] = {}
        self._detail_maker = DetailMaker(bench.model, bench.texts, bench.unedited_scores)

    def run(self, cases: Sequence[Case]) -> list[Record]:
        """One record per case, in order; whatever an editor does, no exception but an interrupt gets out."""
        clock = time.perf_counter()
        outcomes = self._edit(cases)
        seconds = {"edit": (time.perf_counter() - clock) / len(cases)}
        measured = [
            (case, outcome.update) for case, outcome in zip(cases, outcomes, strict=True) if outcome.update is not None
        ]
        try:
            records = in_halves(self._measure, measured) if measured else []
            self.bench.check_restored(self.editor.name)
        except Exception as error:
            self._spoil(error)
            return [self._error(case, error) for case in cases]
        done = iter(records)
        return [
            self._error(case, outcome.error) if outcome.error is not None else _with_seconds(next(done), seconds)
            for case, outcome in zip(cases, outcomes, strict=True)
        ]

    # Editing ----------------------------------------------------------------------------------------------

    def _edit(self, cases: Sequence[Case]) -> list[_Outcome]:
        """An outcome per case; a batch that fails is tried again in halves, to blame the right case."""
        try:
            return in_halves(self._edit_batch, [case.request for case in cases])
        except RestorationError as error:
            return [_Outcome(error=error) for _ in cases]
        except Exception as error:
            _log.debug("editor %s raised", self.editor.name, exc_info=True)
            if len(cases) == 1:
                return [_Outcome(error=explained(self.editor.name, error))]
        half = len(cases) // 2
        return [*self._edit(cases[:half]), *self._edit(cases[half:])]

    def _edit_batch(self, requests: Sequence[EditRequest]) -> list[_Outcome]:
        if self.spoiled is not None:
            raise self.spoiled
        try:
            updates = list(self.editor.compute_updates(self.bench.model, requests))
        except Exception:
            self._check_restored()
            raise
        self._check_restored()
        return [self._checked(update) for update in one_update_each(updates, len(requests))]

    def _checked(self, update: WeightUpdate) -> _Outcome:
        """One update that does not fit must not spoil the measurement of the others."""
        try:
            self.bench.model.check_fits(update)
        except EditorError as error:
            return _Outcome(error=error)
        return _Outcome(update)

    def _check_restored(self) -> None:
        try:
            self.bench.check_restored(self.editor.name)
        except RestorationError as error:
            self.spoiled = error
            raise

    def _spoil(self, error: Exception) -> None:
        """After a failure while measuring, trust the copy only if its weights prove it."""
        _log.debug("measuring failed", exc_info=error)
        try:
            self._check_restored()
        except RestorationError:
            return

    # Measuring --------------------------------------------------------------------------------------------

    def _measure(self, edited: Sequence[tuple[Case, WeightUpdate]]) -> list[Record]:
        cases = [case for case, _ in edited]
        updates = [update for _, update in edited]
        clock = time.perf_counter()
        self.progress(f"measuring perplexity of {len(cases)} edits", 0, 1)
        scores = self.bench.scores(updates)
        perplexities = [perplexity(one) for one in scores]
        seconds = {"perplexity": (time.perf_counter() - clock) / len(cases)}
        clock = time.perf_counter()
        qualities = self._qualities(cases, updates)
        seconds["quality"] = (time.perf_counter() - clock) / len(cases)
        results, downstream_seconds = self._downstream(updates, perplexities)
        records = [
            _with_seconds(self._judged(case, update, *measured), seconds | own_seconds)
            for case, update, *measured, own_seconds in zip(
                cases, updates, perplexities, qualities, results, downstream_seconds, strict=True
            )
        ]
        for case, update, record, after in zip(cases, updates, records, scores, strict=True):
            detail = self._detail_maker.make(case.id, record.verdict is Verdict.STABLE, update, after)
            if detail is not None:
                self.details[case.id] = detail
        return self._explained(cases, updates, records)

    def _downstream(
        self, updates: Sequence[WeightUpdate], perplexities: Sequence[Perplexity]
    ) -> tuple[list[tuple[TaskResult, ...]], list[dict[str, float]]]:
        """Task results and the time they took, per update; nothing where tasks are not measured."""
        results: list[tuple[TaskResult, ...]] = [()] * len(updates)
        seconds: list[dict[str, float]] = [{}] * len(updates)
        chosen = [index for index, edited in enumerate(perplexities) if self._asks_for_tasks(edited)]
        if not chosen or self.bench.downstream is None:
            return results, seconds
        self.progress(f"measuring tasks of {len(chosen)} edits", 0, 1)
        clock = time.perf_counter()
        for index, found in zip(chosen, self.bench.downstream.measure([updates[i] for i in chosen]), strict=True):
            results[index] = found
        each = (time.perf_counter() - clock) / len(chosen)
        return results, [{"downstream": each} if index in chosen else {} for index in range(len(updates))]

    def _asks_for_tasks(self, edited: Perplexity) -> bool:
        mode = when_measured(self.settings.downstream, self.settings.tasks)
        if mode is Downstream.SUSPECT:
            return is_suspect(self.bench.unedited, edited, self.settings.suspect_growth)
        return mode is Downstream.EACH

    def _qualities(self, cases: Sequence[Case], updates: Sequence[WeightUpdate]) -> list[EditQuality]:
        rows = [quality_rows(self.bench.model, case.request) for case in cases]
        tokens = [case_rows.rows for case_rows in rows]
        scores = self.bench.scorer.each([*tokens, *tokens], [*updates, *[None] * len(updates)])
        after, before = scores[: len(cases)], scores[len(cases) :]
        return [edit_quality(*parts) for parts in zip(rows, before, after, strict=True)]

    def _judged(
        self,
        case: Case,
        update: WeightUpdate,
        edited: Perplexity,
        quality: EditQuality,
        tasks: tuple[TaskResult, ...],
    ) -> Record:
        judgement = judge(edited, quality, self.settings.ppl_limit, tasks)
        return replace(
            self._blank(case),
            verdict=judgement.verdict,
            reasons=judgement.reasons,
            edited=edited,
            quality=quality,
            tasks=tasks,
            diagnostics=dict(update.diagnostics),
            notes=update.notes,
            printed=update.printed,
        )

    def _explained(self, cases: Sequence[Case], updates: Sequence[WeightUpdate], records: list[Record]) -> list[Record]:
        """The records with continuations before and after for every case that did not come out stable."""
        failed = [index for index, record in enumerate(records) if record.verdict is not Verdict.STABLE]
        if not failed:
            return records
        clock = time.perf_counter()
        prompts = [cases[index].request.prompt for index in failed]
        before = continuations(self.bench.model, prompts, [None] * len(failed))
        after = continuations(self.bench.model, prompts, [updates[index] for index in failed])
        seconds = {"continuation": (time.perf_counter() - clock) / len(failed)}
        for index, old, new in zip(failed, before, after, strict=True):
            told = replace(records[index], continuation_before=old, continuation_after=new)
            records[index] = _with_seconds(told, seconds)
        return records

    # Records ----------------------------------------------------------------------------------------------

    def _blank(self, case: Case) -> Record:
        return replace(
            blank_record(case, self.settings, self.worker),
            unedited=self.bench.unedited,
            model_digest=self.bench.model.digest,
        )

    def _error(self, case: Case, error: Exception) -> Record:
        told = explained("the gate", error, InfrastructureError)
        return replace(error_record(case, self.settings, self.worker, told), model_digest=self.bench.model.digest)


def _with_seconds(record: Record, seconds: dict[str, float]) -> Record:
    kept = {name: value for name, value in seconds.items() if math.isfinite(value)}
    return replace(record, seconds={**record.seconds, **kept})
