"""Batches of cases: how they are cut, and that xdist keeps each on one worker."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from collapse_tests.scheduling import MAX_DISPATCH, case_id_of, chunk_cases, scopes_of


def case_ids(group: str, count: int) -> list[str]:
    return [f"{group}-facts:{index:04d}" for index in range(count)]


def sizes(case_ids: list[str], workers: int | None) -> list[int]:
    """Of the chunks, in their order."""
    return list(Counter(chunk_cases(case_ids, workers).values()).values())


@pytest.mark.parametrize(
    ("n_cases", "n_workers", "expected"),
    [
        (1, 2, [1]),
        (3, 2, [2, 1]),
        (4, 2, [2, 2]),
        (5, 2, [3, 2]),
        (16, 2, [4, 4, 4, 4]),
        (40, 2, [10, 8, 6, 4, 4, 4, 4]),
        (16, 4, [4, 4, 4, 4]),
        (100, 1, [100]),
        (600, 1, [512, 88]),
        (100, None, [100]),
    ],
)
def test_chunks_get_smaller_to_the_end(n_cases: int, n_workers: int | None, expected: list[int]) -> None:
    assert sizes(case_ids("m-rome", n_cases), n_workers) == expected


@pytest.mark.parametrize("workers", [2, 3, 8, 64])
@pytest.mark.parametrize("count", [7, 100, 1_000, 20_000])
def test_no_chunk_is_more_than_half_a_share_of_the_rest_nor_less_than_is_useful(count: int, workers: int) -> None:
    found = sizes(case_ids("m-rome", count), workers)

    assert sum(found) == count
    assert max(found) <= MAX_DISPATCH
    least = min(4, math.ceil(count / workers))
    left = count
    for size in found:
        assert size <= max(least, math.ceil(left / (2 * workers)))
        left -= size
    assert min(found[:-1], default=least) >= least
    assert all(first >= second for first, second in pairwise(found))


def test_chunks_are_cut_within_a_group_in_order() -> None:
    first, second = case_ids("m-rome", 5), case_ids("m-c-rome", 3)

    assert chunk_cases([*first, *second], 4) == dict(zip([*first, *second], [0, 0, 1, 1, 1, 2, 2, 3], strict=True))


def test_interleaved_groups_fill_their_own_chunks() -> None:
    a, b = case_ids("a-rome", 3), case_ids("b-rome", 3)
    mixed = [a[0], b[0], a[1], b[1], a[2], b[2]]

    assert chunk_cases(mixed, 2) == {a[0]: 0, a[1]: 0, a[2]: 0, b[0]: 1, b[1]: 1, b[2]: 1}
    assert set(chunk_cases(mixed, 6).values()) == set(range(6))


def test_no_lone_case_is_left_over_between_groups() -> None:
    """It and the chunk after it would both wait on one worker, as a test starts only when the next is known."""
    for count in range(5, 200):
        groups = [*case_ids("a-rome", count), *case_ids("b-rome", 50)]
        found = sizes(groups, 2)
        assert 1 not in found[: len(found) - 1], (count, found)


@pytest.mark.parametrize("test", ["test_single_edit", "test_scenario", "test_machine"])
def test_the_case_of_a_test_of_the_suite(test: str) -> None:
    assert case_id_of(f"suite/test_a.py::{test}[m-rome-facts:0001]") == "m-rome-facts:0001"
    assert case_id_of(f"suite/test_a.py::{test}") is None
    assert case_id_of(f"suite/test_a.py::{test}_of_mine[m-rome-facts:0001]") is None


def test_no_cases_no_chunks() -> None:
    assert chunk_cases([], 4) == chunk_cases([], None) == {}
    assert scopes_of([], 2) == {}


def test_tests_that_are_no_cases_stand_alone() -> None:
    cases = [f"suite/test_a.py::test_single_edit[{case_id}]" for case_id in case_ids("m-rome", 8)]
    others = ["suite/test_a.py::test_other[m-rome-facts:0000]", "test_b.py::test_single_edit", "test_c.py::Doc.string"]

    scopes = scopes_of([others[0], *cases, *others[1:]], n_workers=2)

    assert [scopes[other] for other in others] == others
    found = Counter(scopes[case] for case in cases)
    assert list(found.values()) == [4, 4]


def test_the_same_cases_in_two_modules_do_not_mix() -> None:
    modules = ("a/test_x.py", "b/test_x.py")
    nodes = [f"{module}::test_single_edit[{case_id}]" for module in modules for case_id in case_ids("m-rome", 2)]

    scopes = scopes_of(nodes, n_workers=1)

    assert len(set(scopes.values())) == 2
    assert scopes[nodes[0]] == scopes[nodes[1]] != scopes[nodes[2]] == scopes[nodes[3]]


CONFTEST = """
    import pytest

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(config, log):
        from collapse_tests.scheduling import make_scheduler
        return make_scheduler(config, log)
"""

SUITE = """
    import os
    import pytest

    GROUPS = {groups!r}
    CASES = [f"{{group}}-facts:{{index:04d}}" for group, count in GROUPS.items() for index in range(count)]

    @pytest.fixture(autouse=True)
    def log(request):
        yield
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        with (request.config.rootpath / f"{{worker}}.ran").open("a") as file:
            print(request.node.callspec.params.get("case", "other"), file=file)

    @pytest.mark.parametrize("case", CASES, ids=CASES)
    def test_single_edit(case):
        import time; time.sleep(0.005)
        if os.environ.get("CRASH_ON") == case:
            os._exit(1)

    @pytest.mark.parametrize("n", range(6))
    def test_other(n):
        pass
"""


def run(pytester: pytest.Pytester, groups: dict[str, int], *args: str) -> pytest.RunResult:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_suite=SUITE.format(groups=groups))
    return pytester.runpytest_subprocess("-p", "no:collapse", "-p", "no:cacheprovider", *args, timeout=60)


def ran(pytester: pytest.Pytester) -> dict[str, list[str]]:
    """Worker → what it ran, in its order."""
    return {path.stem: path.read_text().split() for path in sorted(pytester.path.glob("*.ran"))}


def test_a_chunk_stays_together_on_one_worker(pytester: pytest.Pytester) -> None:
    groups = {"m-rome": 20, "m-c-rome": 11}

    run(pytester, groups, "-n2").assert_outcomes(passed=37)

    log = ran(pytester)
    assert sorted(log) == ["gw0", "gw1"]
    every = [case for group, count in groups.items() for case in case_ids(group, count)]
    chunks = chunk_cases(every, 2)
    members = defaultdict(list)
    for case, number in chunks.items():
        members[number].append(case)
    assert [len(cases) for cases in members.values()] == [8, 6, 6, 4, 4, 3]
    for cases in members.values():
        (worker,) = [name for name, done in log.items() if cases[0] in done]
        start = log[worker].index(cases[0])
        assert log[worker][start : start + len(cases)] == cases
    assert sorted(case for done in log.values() for case in done if case != "other") == sorted(every)


def test_deselected_cases_leave_no_holes(pytester: pytest.Pytester) -> None:
    run(pytester, {"m-rome": 20}, "-n2", "-k", "test_single_edit and facts:000").assert_outcomes(passed=10)

    chosen = case_ids("m-rome", 10)
    chunks = chunk_cases(chosen, 2)
    for worker, done in ran(pytester).items():
        assert [chunks[case] for case in done] == sorted(chunks[case] for case in done), worker
    for number in set(chunks.values()):
        of_chunk = [case for case in chosen if chunks[case] == number]
        assert sum(set(of_chunk) <= set(done) for done in ran(pytester).values()) == 1


def test_chunks_are_handed_out_in_collection_order(pytester: pytest.Pytester) -> None:
    """Not the largest first: a worker would go back and forth between models."""
    run(pytester, {"a-rome": 5, "b-rome": 8}, "-n1", "-k", "test_single_edit").assert_outcomes(passed=13)

    assert ran(pytester)["gw0"] == [*case_ids("a-rome", 5), *case_ids("b-rome", 8)]


def test_more_workers_than_chunks_is_fine(pytester: pytest.Pytester) -> None:
    run(pytester, {"m-rome": 1}, "-n2", "-k", "test_single_edit").assert_outcomes(passed=1)


def test_nothing_selected_is_fine(pytester: pytest.Pytester) -> None:
    assert run(pytester, {"m-rome": 4}, "-n2", "-k", "nothing").ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize("position", [0, 1, 2, 10, 11])
def test_a_crash_costs_one_case(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    cases = case_ids("m-rome", 12)
    monkeypatch.setenv("CRASH_ON", cases[position])

    result = run(pytester, {"m-rome": 12}, "-n2", "-k", "test_single_edit")

    result.assert_outcomes(passed=11, failed=1)
    result.stdout.fnmatch_lines([f"*worker 'gw?' crashed while running*{cases[position]}*"])
    others = [case for case in cases if case != cases[position]]
    assert sorted(case for done in ran(pytester).values() for case in done) == others


def test_an_explicit_grouping_is_left_to_xdist(pytester: pytest.Pytester) -> None:
    run(pytester, {"m-rome": 8}, "-n2", "--dist=loadfile").assert_outcomes(passed=14)

    assert len(ran(pytester)) == 1
