"""The downstream tasks of a run: loaded once, with requests built for every model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from collapse_tests.engine.downstream import Downstream
from collapse_tests.engine.scoring import Scorer
from collapse_tests.errors import CollapseError, InfrastructureError
from collapse_tests.metrics.downstream.catalogue import expand_tasks
from collapse_tests.metrics.downstream.loading import LoadedTask, load_task
from collapse_tests.metrics.downstream.plan import plan_task
from collapse_tests.records import TaskResult, TaskVerdict
from collapse_tests.settings import Downstream as When
from collapse_tests.settings import Settings

__all__ = ["TaskSet"]


class TaskSet:
    """The tasks that a run measures.

    Args:
        settings: of the run.
        say: takes one line of progress at a time.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self._say = say
        self._failure: CollapseError | None = None

    @cached_property
    def _loaded(self) -> list[LoadedTask]:
        # Every batch asks again, and would wait again for what was not there.
        if self._failure is not None:
            raise self._failure
        tasks = expand_tasks(self.settings.tasks)
        try:
            return [load_task(task, self.settings.tasks_data, self._say) for task in tasks]
        except CollapseError as error:
            self._failure = error
            raise

    def downstream(self) -> Callable[[Scorer], Downstream] | None:
        """What makes the tasks of a model, or None where none are measured; loads their data.

        Raises:
            UsageError: there is no such task, or no data of it in the directory given.
            InfrastructureError: lm-eval could not load the data.
        """
        if self.settings.downstream is When.NEVER:
            return None
        loaded = self._loaded

        def make(scorer: Scorer) -> Downstream:
            try:
                planned = [plan_task(task, scorer.model, self.settings.tasks_limit) for task in loaded]
                made = Downstream(scorer, planned, gate_on_drop=self.settings.gate_on_drop)
            except CollapseError:
                raise
            except Exception as error:
                names = ", ".join(task.name for task in loaded)
                raise InfrastructureError(
                    f"the tasks {names} could not be measured on the unedited model "
                    f"({type(error).__name__}: {error}); choose others with --tasks, or --downstream never"
                ) from error
            self._say(f"unedited {scorer.model.name}: {', '.join(map(_told, made.unedited()))}")
            return made

        return make


def _told(result: TaskResult) -> str:
    uninformative = result.verdict is TaskVerdict.UNINFORMATIVE
    margin = ", too close to tell anything" if uninformative else ""
    return f"{result.task} {result.unedited:.2f} (chance {result.chance:.2f}{margin})"
