"""The process that controls xdist's workers: how many there are, on which GPUs, and what follows when one dies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from collapse_tests.ci.exit_codes import INFRASTRUCTURE_EXIT
from collapse_tests.distributed import gpus
from collapse_tests.distributed.xdist_deaths import WorkerDeaths, how_it_ended
from collapse_tests.errors import UsageError
from collapse_tests.options import early_values
from collapse_tests.scheduling import make_scheduler, makes_batches
from collapse_tests.settings import Settings

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

    from collapse_tests.distributed.xdist_scheduler import BatchScheduling

__all__ = ["XdistHooks", "auto_workers", "controls_workers"]

#: Deaths of workers that had no test yet, one after the other, per worker, after which no more are started.
_STARTS = 4

#: More deaths than any run has, where xdist's own default would end it although the ledger bounds them.
_UNLIMITED = "1000000000"


def controls_workers(config: pytest.Config) -> bool:
    """Whether this process runs the tests in workers of xdist."""
    given = config.option
    distributed = getattr(given, "dist", "no") != "no" and bool(getattr(given, "tx", None))
    return distributed and not given.collectonly and not hasattr(config, "workerinput")


def auto_workers(config: pytest.Config) -> int | None:
    """How many workers `-n auto` means: as many as there are GPUs for; None if xdist is to say.

    Raises:
        UsageError: there are fewer GPUs than each worker is to have.
    """
    given = config.option
    values = early_values(config, "device", "gpus-per-worker", "device-map")
    if values is None or given.numprocesses != "auto" or "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    device, asked, device_map = values
    if given.help or given.version or given.collectonly or not gpus.can_share_gpus(device or "auto"):
        return 1
    count = gpus.count_gpus()
    return gpus.worker_count(count, gpus.gpus_of_each(asked, count, spread=device_map == "auto"))


class XdistHooks:
    """The hooks for a run in xdist's workers, where it is controlled.

    Args:
        config: of the run, before xdist reads how many workers may die.
        settings: of the run.

    Raises:
        UsageError: there are fewer GPUs than each worker is to have, or xdist's limit of deaths is no number.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._slots = _gpu_slots(settings)
        limit = _max_restarts(config)
        self._deaths = WorkerDeaths(settings.retries, limit)
        self._scheduler: BatchScheduling | None = None
        if limit is None and makes_batches(config):
            config.option.maxworkerrestart = _UNLIMITED

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Hand whole batches to the workers."""
        scheduler: Any = make_scheduler(config, log, self._deaths)
        self._scheduler = scheduler
        return scheduler

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: WorkerController) -> None:
        """Give a worker its GPUs, and the name of the file that tells what others died of."""
        self._deaths.tell(node.workerinput)
        if node.gateway.spec.popen:  # the GPUs of another machine are not known here
            tokens = self._slots.take(node.gateway.id)
            node.workerinput[gpus.GPUS] = None if tokens is None else list(tokens)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what came to an outcome."""
        self._deaths.note_report(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: WorkerController, error: object | None) -> None:
        """Free a worker's GPUs, and end the run if workers do nothing but die."""
        self._slots.release(node.gateway.id)
        if error is None or self._scheduler is None:
            return
        self._deaths.note_death(idle=self._scheduler.is_idle(node))
        limit = _STARTS * self._scheduler.numnodes
        if self._deaths.in_vain > limit and not self._deaths.ends_the_run:
            told = f"{limit + 1} workers died one after the other before they had a test; the last: "
            pytest.exit(told + how_it_ended(node), returncode=INFRASTRUCTURE_EXIT)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Call a run that left tests no success."""
        if self._scheduler is not None and self._scheduler.workqueue and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = INFRASTRUCTURE_EXIT

    def pytest_unconfigure(self) -> None:
        """Remove the file."""
        self._deaths.close()


def _max_restarts(config: pytest.Config) -> int | None:
    """The user's limit of deaths, which xdist takes as it is typed."""
    text: str | None = config.option.maxworkerrestart
    try:
        return None if text is None else int(text)
    except ValueError:
        raise UsageError(f"--max-worker-restart: {text!r} is no whole number; give 0 or more") from None


def _gpu_slots(settings: Settings) -> gpus.GpuSlots:
    """What there is to share between workers."""
    if not gpus.can_share_gpus(settings.device):
        return gpus.GpuSlots((), 1)
    count = gpus.count_gpus()
    each = gpus.gpus_of_each(settings.gpus_per_worker, count, spread=settings.device_map == "auto")
    return gpus.GpuSlots(gpus.visible_gpus(os.environ.get(gpus.VISIBLE), count), each)
