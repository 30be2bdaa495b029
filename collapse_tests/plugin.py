"""The pytest hooks: a table of contents, with the work elsewhere."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.ci.reporter import CIReporter
from collapse_tests.collector import RecordCollector
from collapse_tests.distributed.xdist_controller import XdistHooks, auto_workers, controls_workers
from collapse_tests.distributed.xdist_worker import take_gpus
from collapse_tests.errors import CollapseError
from collapse_tests.options import add_options, go_offline_early, settings_from
from collapse_tests.scheduling import SUITE_TESTS
from collapse_tests.selection import take_shard
from collapse_tests.session import CASE_FIXTURES, GateSession, case_of, is_left_out
from collapse_tests.settings import Settings
from collapse_tests.shards import Selection

_SESSION = pytest.StashKey[GateSession]()
_COLLECTOR = pytest.StashKey[RecordCollector]()
_SELECTION = pytest.StashKey[Selection]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the group `collapse`."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Forbid downloads, if they are to be, before a conftest imports what would read it too early."""
    go_offline_early(early_config)


def pytest_configure(config: pytest.Config) -> None:
    """Turn the gate on if an editor is given; wrong input ends the run here."""
    if config.option.help or config.option.version:
        return  # whoever gave a wrong value needs the help more than the error
    take_gpus(config)
    try:
        settings = settings_from(config)
        if settings is not None:
            _start(config, settings)
    except CollapseError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_sessionstart(session: pytest.Session) -> None:
    """Fetch what all workers need before they start."""
    if collector := session.config.stash.get(_COLLECTOR, None):
        collector.prepare()


def pytest_report_header(config: pytest.Config) -> list[str] | None:
    """Say what is gated, and what of it is left out."""
    gate = config.stash.get(_SESSION, None)
    if gate is None:
        return None
    return [f"collapse: {line}" for line in (gate.summary(), *gate.notes())]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files of the suite whose tests were not asked for."""
    gate = config.stash.get(_SESSION, None)
    return True if is_left_out(collection_path, None if gate is None else gate.settings) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of every case or sequence."""
    gate = metafunc.config.stash.get(_SESSION, None)
    for fixture in CASE_FIXTURES.intersection(metafunc.fixturenames):
        cases = () if gate is None else gate.parameters(fixture)
        metafunc.parametrize(fixture, [pytest.param(case, id=case.id) for case in cases])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of this run's shard, and remember what was selected."""
    if gate := config.stash.get(_SESSION, None):
        selection = take_shard(config, items, gate.settings.shard, case_of)
        config.stash[_SELECTION] = selection
        if collector := config.stash.get(_COLLECTOR, None):
            collector.note_selection(selection.to_dict())
        else:
            config.workeroutput["collapse_selection"] = selection.to_dict()  # type: ignore[attr-defined]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Cut batches from the cases that were selected."""
    if gate := session.config.stash.get(_SESSION, None):
        gate.select(session.items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a case's batch, or a sequence, before pytest starts to write about the test."""
    if gate := item.config.stash.get(_SESSION, None):
        gate.run_ahead(item)
    return (yield)


@pytest.fixture
def collapse_gate(request: pytest.FixtureRequest) -> Any:
    """Check one case or sequence: `collapse_gate(collapse_case)`."""
    gate = request.config.stash[_SESSION]
    return lambda case: gate.check(request.node, case)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the record on the report and the message in place of a traceback."""
    report = yield
    if gate := item.config.stash.get(_SESSION, None):
        gate.complete(item, report, call.excinfo.value if call.excinfo else None)
        stash = item.config.stash
        if report.when == "call" and _COLLECTOR not in stash and _SELECTION in stash:
            report.collapse_selection = stash[_SELECTION].to_dict()  # type: ignore[attr-defined]
            del stash[_SELECTION]  # told once, it is known
    return report


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Start a worker for each GPU."""
    try:
        return auto_workers(config)
    except CollapseError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell xdist's workers what all of them have to agree on."""
    if gate := node.config.stash.get(_SESSION, None):
        gate.tell_worker(node.workerinput)


class RecordHooks:
    """The hooks of the controlling process, which alone writes records and the report.

    Args:
        collector: takes the records.
        reporter: takes what failed.
    """

    def __init__(self, collector: RecordCollector, reporter: CIReporter) -> None:
        self.collector = collector
        self.reporter = reporter

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the record that came with a report, from here or from a worker."""
        self.reporter.add(report, self.collector.add(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that could not be collected."""
        self.reporter.add(report, None)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Tell CI systems, and set the exit code, when all else is done."""
        self.reporter.add_totals()
        result = yield
        if not session.config.option.collectonly:
            self.collector.leave_directory()
        if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.collector.is_empty_shard:
            session.exitstatus = pytest.ExitCode.OK
        self.reporter.finish(session)
        return result

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Note what was selected in a worker of xdist that may have had no test to report."""
        selection = getattr(node, "workeroutput", {}).get("collapse_selection")
        if selection is not None:
            self.collector.note_selection(selection)

    def pytest_terminal_summary(self) -> None:
        """Print the collapse report."""
        self.collector.report()

    def pytest_unconfigure(self) -> None:
        """Close the records."""
        self.collector.close()


def _start(config: pytest.Config, settings: Settings) -> None:
    """Set the run up; without paths on the command line, the packaged suite is what runs."""
    if config.args_source != pytest.Config.ArgsSource.ARGS:
        config.args[:] = [str(Path(__file__).with_name("suite"))]
    # The project's own naming rules must not hide the suite.
    config.addinivalue_line("python_files", "collapse_tests/suite/test_*.py")
    for test in SUITE_TESTS:
        config.addinivalue_line("python_functions", test)
    gate = GateSession(config, settings)
    config.stash[_SESSION] = gate
    if settings.ray is not None:
        from collapse_tests.distributed.ray_loop import RayHooks

        config.pluginmanager.register(RayHooks(config, gate), "collapse-ray")
    if not hasattr(config, "workerinput"):
        collector = RecordCollector(config, settings)
        config.stash[_COLLECTOR] = collector
        config.pluginmanager.register(RecordHooks(collector, CIReporter(config, collector)), "collapse-records")
        if controls_workers(config):
            config.pluginmanager.register(XdistHooks(config, settings), "collapse-xdist")
        if gate.reference is not None:
            from collapse_tests.baseline.hooks import BaselineHooks

            hooks = BaselineHooks(config, settings, gate.reference, collector)
            config.pluginmanager.register(hooks, "collapse-baseline")
