"""Batches of cases: how they are cut, and that xdist keeps each on one worker."""

from __future__ import annotations

from collections import defaultdict

import pytest

from collapse_tests.scheduling import MAX_DISPATCH, chunk_cases, dispatch_size, scopes_of


def case_ids(group: str, count: int) -> list[str]:
    return [f"{group}-facts:{index:04d}" for index in range(count)]


@pytest.mark.parametrize(
    ("n_cases", "n_workers", "expected"),
    [(0, 2, 1), (1, 2, 1), (4, 2, 1), (5, 2, 2), (16, 2, 4), (16, 1, 8), (255, 2, 64), (256, 2, 64), (20_000, 8, 64)],
)
def test_each_worker_gets_about_two_lots(n_cases: int, n_workers: int, expected: int) -> None:
    assert dispatch_size(n_cases, n_workers) == expected <= MAX_DISPATCH


def test_chunks_are_cut_within_a_group_in_order() -> None:
    first, second = case_ids("m-rome", 5), case_ids("m-c-rome", 3)

    assert chunk_cases([*first, *second], 2) == dict(zip([*first, *second], [0, 0, 1, 1, 2, 3, 3, 4], strict=True))


def test_interleaved_groups_fill_their_own_chunks() -> None:
    a, b = case_ids("a-rome", 3), case_ids("b-rome", 3)
    mixed = [a[0], b[0], a[1], b[1], a[2], b[2]]

    assert chunk_cases(mixed, 2) == {a[0]: 0, a[1]: 0, a[2]: 2, b[0]: 1, b[1]: 1, b[2]: 3}


def test_no_cases_no_chunks() -> None:
    assert chunk_cases([], 4) == {}
    assert scopes_of([], 2) == {}


def test_tests_that_are_no_cases_stand_alone() -> None:
    cases = [f"suite/test_a.py::test_single_edit[{case_id}]" for case_id in case_ids("m-rome", 8)]
    others = ["suite/test_a.py::test_other[m-rome-facts:0000]", "test_b.py::test_single_edit", "test_c.py::Doc.string"]

    scopes = scopes_of([others[0], *cases, *others[1:]], n_workers=2)

    assert [scopes[other] for other in others] == others
    sizes = [list(scopes.values()).count(scope) for scope in dict.fromkeys(scopes[case] for case in cases)]
    assert sizes == [2, 2, 2, 2]


def test_the_same_cases_in_two_modules_do_not_mix() -> None:
    modules = ("a/test_x.py", "b/test_x.py")
    nodes = [f"{module}::test_single_edit[{case_id}]" for module in modules for case_id in case_ids("m-rome", 2)]

    scopes = scopes_of(nodes, n_workers=1)

    assert len(set(scopes.values())) == 4 // dispatch_size(4, 1)
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
    chunks = chunk_cases(every, dispatch_size(len(every), 2))
    members = defaultdict(list)
    for case, number in chunks.items():
        members[number].append(case)
    assert [len(cases) for cases in members.values()] == [8, 8, 4, 8, 3]
    for cases in members.values():
        (worker,) = [name for name, done in log.items() if cases[0] in done]
        start = log[worker].index(cases[0])
        assert log[worker][start : start + len(cases)] == cases
    assert sorted(case for done in log.values() for case in done if case != "other") == sorted(every)


def test_deselected_cases_leave_no_holes(pytester: pytest.Pytester) -> None:
    run(pytester, {"m-rome": 20}, "-n2", "-k", "test_single_edit and facts:000").assert_outcomes(passed=10)

    chosen = case_ids("m-rome", 10)
    chunks = chunk_cases(chosen, 3)
    for worker, done in ran(pytester).items():
        assert [chunks[case] for case in done] == sorted(chunks[case] for case in done), worker
    of_chunk = [{worker for worker, done in ran(pytester).items() if case in done} for case in chosen]
    assert all(of_chunk[index] == of_chunk[index - 1] for index in range(1, 10) if index % 3)


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
