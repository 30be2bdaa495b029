"""ME-PPL against downstream accuracy: edited models made at given levels of ME-PPL, and measured.

After figure 3 of 'The Butterfly Effect of Model Editing'. Requests are edited a few at a time until every level has
its models, so no more updates are held than are being measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from collapse_tests.commands import plain_progress
from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.datasets.texts import load_texts
from collapse_tests.editors.protocol import BoundedEditor, Editor
from collapse_tests.engine.bench import Bench
from collapse_tests.engine.downstream import Downstream
from collapse_tests.engine.setting_up import make_editor, prepare_for
from collapse_tests.engine.task_set import TaskSet
from collapse_tests.errors import EditorError, InfrastructureError, UsageError
from collapse_tests.models.loading import load_model
from collapse_tests.models.memory import in_halves
from collapse_tests.models.workload import requests_per_batch, updates_in_memory
from collapse_tests.settings import DEFAULT_PPL_TEXTS, Settings
from collapse_tests.study.level_rows import LevelModel, LevelStudy
from collapse_tests.study.scaling import Found, Point, reach_levels, scaled
from collapse_tests.weight_update import LowRankDelta, WeightUpdate

__all__ = ["LevelSearch", "study_levels"]

Say = Callable[[str], None]


def study_levels(
    settings: Settings, requests: Sequence[NamedRequest], levels: Sequence[float], per_level: int, say: Say
) -> LevelStudy:
    """Load the model, edit, scale and measure.

    Args:
        settings: with one model, one editor and tasks that are measured.
        requests: to edit, in this order.
        levels: of ME-PPL, rising.
        per_level: models to make at each level.
        say: takes one line of progress at a time.

    Raises:
        UsageError: no such editor, model, task or text, or hyper-parameters the editor cannot have.
        CollapseError: loading failed, the editor left the model changed, or every edit raised.
    """
    (name,), (model_name,) = settings.editors, settings.models
    editor = make_editor(name, model_name, settings)
    texts = load_texts(settings.ppl_texts or DEFAULT_PPL_TEXTS)
    tasks = TaskSet(settings, say).downstream()  # their data, before the model
    bench = Bench(load_model(model_name, settings, say), texts, settings.ppl_limit, tasks)
    say(f"unedited {model_name}: ME-PPL {bench.unedited.me_ppl:,.2f}")
    prepare_for(bench.model, editor, name, settings, plain_progress(say))
    bench.check_restored(name)
    return LevelSearch(bench, editor, levels, per_level, say).run(requests)


class LevelSearch:
    """Makes edited models at levels of ME-PPL on one model copy.

    Args:
        bench: the model copy, with tasks to measure.
        editor: prepared for that model.
        levels: of ME-PPL, rising; those at or below the unedited model's are left out.
        per_level: models to make at each level.
        say: takes one line of progress at a time.

    Raises:
        InfrastructureError: the bench has no tasks.
        UsageError: no level is above the unedited model's ME-PPL.
    """

    def __init__(self, bench: Bench, editor: Editor, levels: Sequence[float], per_level: int, say: Say) -> None:
        if bench.downstream is None:
            raise InfrastructureError("levels of ME-PPL are set against tasks, and the bench has none")
        self._bench = bench
        self._downstream: Downstream = bench.downstream
        self._editor = editor
        self._per_level = per_level
        self._say = say
        self._levels = [level for level in levels if level > bench.unedited.me_ppl]
        self._too_low = [level for level in levels if level not in self._levels]
        if not self._levels:
            raise UsageError(
                f"--levels: the unedited model {bench.model.name!r} has ME-PPL {bench.unedited.me_ppl:,.2f} already; "
                "give a level above that"
            )
        self._models: list[LevelModel] = []
        self._unreachable = dict.fromkeys(self._levels, 0)
        self._failed: list[tuple[str, str]] = []

    def run(self, requests: Sequence[NamedRequest]) -> LevelStudy:
        """Edit requests in order until every level has its models.

        Raises:
            RestorationError: the editor left the model changed.
            EditorError: an update does not fit the model, or every edit raised.
        """
        tried = 0
        size = self._batch_size()
        while tried < len(requests) and (missing := self._open()):
            batch = requests[tried : tried + size]
            tried += len(batch)
            self._say(f"edits {tried - len(batch) + 1} to {tried} of {len(requests)}, for {len(missing)} levels")
            self._extend(self._updates(batch), missing)
        if tried and len(self._failed) == tried:
            edit_id, message = self._failed[0]
            raise EditorError(f"every edit failed; the first, {edit_id}: {message}")
        return LevelStudy(
            model=self._bench.model.name,
            editor=self._editor.name,
            unedited_me_ppl=self._bench.unedited.me_ppl,
            unedited_tasks=self._downstream.unedited(),
            levels=tuple(self._levels),
            too_low=tuple(self._too_low),
            unreachable=tuple(self._unreachable.values()),
            requests=tried,
            failed=tuple(self._failed),
            models=tuple(sorted(self._models, key=lambda model: model.level)),
        )

    def _open(self) -> list[float]:
        """Levels that lack models."""
        return [level for level in self._levels if self._made(level) < self._per_level]

    def _made(self, level: float) -> int:
        return sum(model.level == level for model in self._models)

    def _batch_size(self) -> int:
        model = self._bench.model
        fitting = min(self._per_level, requests_per_batch(model))
        if isinstance(self._editor, BoundedEditor):
            return min(fitting, self._editor.requests_at_once(model))
        return fitting

    # Editing ----------------------------------------------------------------------------------------------

    def _updates(self, batch: Sequence[NamedRequest]) -> list[tuple[str, WeightUpdate]]:
        """The update of each request whose edit does not raise, with its id; a batch that raises is taken apart."""
        model, name = self._bench.model, self._editor.name
        try:
            updates = in_halves(
                lambda requests: self._editor.compute_updates(model, requests), [named.request for named in batch]
            )
        except Exception as error:
            self._bench.check_restored(name)
            if len(batch) == 1:
                self._failed.append((batch[0].edit_id, f"{type(error).__name__}: {error}"))
                return []
            return [pair for named in batch for pair in self._updates([named])]
        self._bench.check_restored(name)
        if len(updates) != len(batch):
            raise EditorError(
                f"{name} returned {len(updates)} updates for {len(batch)} requests; it has to return one each"
            )
        for update in updates:
            model.check_fits(update)
        return [(named.edit_id, update) for named, update in zip(batch, updates, strict=True)]

    # Measuring --------------------------------------------------------------------------------------------

    def _extend(self, edits: Sequence[tuple[str, WeightUpdate]], levels: Sequence[float]) -> None:
        """Make and measure the models of these levels that these edits reach."""
        updates = [update for _, update in edits]
        reached = reach_levels(
            lambda points: self._me_ppl(updates, points), len(updates), levels, self._bench.unedited.me_ppl
        )
        chosen = [choice for level in levels for choice in self._chosen(level, reached)]
        results = [
            result
            for points in _pieces(updates, [(index, found.factor) for _, index, found in chosen])
            for result in self._downstream.measure([scaled(updates[index], factor) for index, factor in points])
        ]
        self._models += [
            LevelModel(level, edits[index][0], found.factor, found.me_ppl, tasks)
            for (level, index, found), tasks in zip(chosen, results, strict=True)
        ]
        self._bench.check_restored(self._editor.name)

    def _chosen(self, level: float, reached: Sequence[dict[float, Found]]) -> Iterator[tuple[float, int, Found]]:
        """The first edits that reach a level, as many as it lacks; those before them that do not are counted."""
        lacking = self._per_level - self._made(level)
        for index, found in enumerate(reached):
            if not lacking:
                return
            if level not in found:
                self._unreachable[level] += 1
                continue
            lacking -= 1
            yield level, index, found[level]

    def _me_ppl(self, updates: Sequence[WeightUpdate], points: Sequence[Point]) -> list[float]:
        return [
            perplexity.me_ppl
            for piece in _pieces(updates, points)
            for perplexity in self._bench.perplexities([scaled(updates[index], factor) for index, factor in piece])
        ]


def _pieces(updates: Sequence[WeightUpdate], points: Sequence[Point]) -> Iterator[Sequence[Point]]:
    """`points` in pieces whose scaled updates fit memory together."""
    size = updates_in_memory(max(map(_bytes, updates), default=1))
    for first in range(0, len(points), size):
        yield points[first : first + size]


def _bytes(update: WeightUpdate) -> int:
    """Of what a scaled copy has for itself."""
    return sum(
        (delta.left if isinstance(delta, LowRankDelta) else delta.delta).nbytes for delta in update.deltas.values()
    )
