"""Whole batches to xdist's workers: the cases the engine edits together run on one worker, one after another."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from collapse_tests.cases import group_key

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer
    from xdist.scheduler.loadscope import LoadScopeScheduling

    from collapse_tests.distributed.xdist_deaths import WorkerDeaths

__all__ = [
    "GATE_TEST",
    "MAX_DISPATCH",
    "SUITE_TESTS",
    "case_id_of",
    "chunk_cases",
    "make_scheduler",
    "makes_batches",
    "scopes_of",
]

#: Name of the test function whose parameter is a case.
GATE_TEST = "test_single_edit"

#: Names of all test functions of the suite, each alone in the file of its name.
SUITE_TESTS = (GATE_TEST, "test_scenario", "test_machine")

#: Cases sent to a worker at once, at most: what the largest GPU edits together. Fewer would edit more slowly there.
MAX_DISPATCH = 512

#: Cases sent to a worker at once, at least, unless that would leave others without any. Fewer edit no faster.
_LEAST = 4

#: Distribution modes that leave the choice of worker to xdist; the others are an explicit wish to group otherwise.
_FREE_MODES = ("load", "worksteal")

_CASE_NODE = re.compile(rf"(?P<test>.*::(?P<name>{'|'.join(SUITE_TESTS)}))\[(?P<case>.+)\]", re.DOTALL)


def case_id_of(nodeid: str) -> str | None:
    """The id of the case or sequence that a test of the suite is for; None of any other test."""
    match = _CASE_NODE.fullmatch(nodeid)
    return None if match is None else match["case"]


def chunk_cases(case_ids: Sequence[str], workers: int | None) -> dict[str, int]:
    """The number of each case's chunk: the cases of one (model, editor) group that one worker gets at once.

    Chunks get smaller as the cases run out, to about half of what would be each worker's share of the rest: workers of
    unequal speed then end together. The scheduler and the engine both call this with the selected cases in collection
    order, so that the batch the engine runs is what the worker was sent.

    Args:
        case_ids: of the selected cases, in the order their tests run.
        workers: how many share them, or None for whole groups.
    """
    chunks: dict[str, int] = {}
    open_chunks: dict[str, tuple[int, int]] = {}  # group -> number of its last chunk, cases it still takes
    in_group = Counter(map(group_key, case_ids))  # those that are in no chunk yet
    in_all = len(case_ids)
    total = 0
    least = min(_LEAST, math.ceil(in_all / (workers or 1)))
    for case_id in case_ids:
        group = group_key(case_id)
        number, room = open_chunks.get(group, (-1, 0))
        if room == 0:
            number, room = total, in_group[group]
            if workers is not None:
                room = _chunk_size(in_group[group], in_all, workers, least)
            total += 1
            in_group[group] -= room
            in_all -= room
        open_chunks[group] = (number, room - 1)
        chunks[case_id] = number
    return chunks


def _chunk_size(in_group: int, in_all: int, workers: int, least: int) -> int:
    """Cases of the next chunk of a group with `in_group` cases to come, of `in_all` to come altogether."""
    share = math.ceil(in_all / (2 * workers)) if workers > 1 else in_all
    size = min(max(share, least), MAX_DISPATCH)
    if size > 1 and in_group == size + 1 and in_all > in_group:
        # A lone case left over would wait, with the chunk after it, on a worker that xdist tells of its next test.
        size += 1 if size < MAX_DISPATCH else -1
    return min(size, in_group)


def scopes_of(nodeids: Sequence[str], n_workers: int) -> dict[str, str]:
    """The scope of every test, the unit that one worker runs as a whole; a test that is no case is its own scope."""
    cases: dict[str, dict[str, str]] = {}  # test function -> case id -> node id
    scopes = {}
    for nodeid in nodeids:
        scopes[nodeid] = nodeid
        match = _CASE_NODE.fullmatch(nodeid)
        if match is not None and match["name"] == GATE_TEST:
            cases.setdefault(match["test"], {})[match["case"]] = nodeid
    for test, by_id in cases.items():
        for case_id, number in chunk_cases(list(by_id), n_workers).items():
            scopes[by_id[case_id]] = f"{test}[{group_key(case_id)} chunk {number}]"
    return scopes


def makes_batches(config: pytest.Config) -> bool:
    """Whether `--dist` leaves the grouping of tests to the gate."""
    return config.getoption("dist", None) in _FREE_MODES


def make_scheduler(
    config: pytest.Config, log: Producer | None, deaths: WorkerDeaths | None = None
) -> LoadScopeScheduling | None:
    """The scheduler for `pytest_xdist_make_scheduler`, or None where `--dist` asks for another grouping.

    Args:
        config: of the run.
        log: xdist's own.
        deaths: takes what workers died of and knows what follows; without it, a death costs the test it came in.
    """
    if not makes_batches(config):
        return None
    from collapse_tests.distributed.xdist_scheduler import BatchScheduling  # late, as xdist is optional

    return BatchScheduling(config, log, deaths)
