"""`--ray`: the cases of one run on the machines of a cluster, which fail now and then."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.cache import CACHE_VARIABLE
from collapse_tests.ci.exit_codes import INFRASTRUCTURE_EXIT
from fixtures.pytester_cases import FACTS, GateProject

pytest.importorskip("ray")

PATIENCE_S = 120.0
MEMORY = 100 * 2**20

#: Editors that change nothing. The first notes where it runs and, if there is a file `wait`, waits; the second dies on
#: one subject.
EDITORS = """
import os
import signal
import time
from pathlib import Path

def watched(model, tokenizer, request):
    here = Path(f"at-{request.subject}")
    with here.open("a") as file:
        file.write(f"{os.getpid()}\\n")
    while Path("wait").exists():
        time.sleep(0.05)

def dies(model, tokenizer, request):
    if request.subject == "Rome":
        os.kill(os.getpid(), signal.SIGSEGV)
"""

#: Writes which frameworks the controlling process imported.
CONFTEST = """
import sys
from pathlib import Path

def pytest_unconfigure():
    Path("frameworks").write_text(" ".join({"torch", "transformers"} & sys.modules.keys()))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head that runs nothing and two machines of one CPU, all of them processes here, with an empty home."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache-of-nodes")))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home-of-nodes")))
        patch.delenv("PYTEST_XDIST_WORKER", raising=False)
        head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False}
        made: Any = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            made.add_node(num_cpus=1, object_store_memory=MEMORY)
        yield made
        made.shutdown()


@pytest.fixture
def project(gate_project: GateProject, cluster: Any) -> GateProject:
    (gate_project.path / "for_ray.py").write_text(EDITORS)
    (gate_project.path / "conftest.py").write_text(CONFTEST)
    return gate_project


def comparable(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(
        ({**record, "seconds": None, "worker": None} for record in records), key=lambda record: str(record["case_id"])
    )


def started_on(project: GateProject) -> list[int]:
    """Processes in which the watched editor has begun."""
    pids = {int(pid) for path in project.path.glob("at-*") for pid in path.read_text().split()}
    return sorted(pids)


def waited(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_records_are_those_of_a_local_run(
    project: GateProject, cluster: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The machines have another home, so that the model has to be sent to them.
    (tmp_path / "tiny").symlink_to((project.path / "tiny-gpt2").resolve())
    monkeypatch.setenv("HOME", str(tmp_path))
    options = {"editor": "rome,for_ray:watched", "model": "~/tiny", "precision": "float32"}
    arguments = ("--dtype", "float64", "--scenario", "facts.jsonl")
    local = project.run(*arguments, **options)
    alone, sequences = project.records(), project.run_directories()[-1] / "sequences.jsonl"
    assert sequences.is_file()

    result = project.run_apart(*arguments, "--ray", cluster.address, **options)

    assert result.ret == local.ret
    assert result.parseoutcomes() == local.parseoutcomes()
    found = project.records()
    for mine, theirs in zip(comparable(found), comparable(alone), strict=True):
        assert mine.keys() == theirs.keys()
        assert [mine[name] for name in ("case_id", "model", "verdict", "request", "model_digest")] == [
            theirs[name] for name in ("case_id", "model", "verdict", "request", "model_digest")
        ]
        assert mine["edited"]["me_ppl"] == pytest.approx(theirs["edited"]["me_ppl"], rel=1e-9)
    host = socket.gethostname()
    workers = {record["worker"] for record in found}
    assert workers <= {f"{host}-1", f"{host}-2"}
    assert set(project.environment()["devices"]) >= workers
    said = result.stdout.str()
    assert "sending ~/tiny to machines that do not have it" in said
    assert said.count("loading ~/tiny on cpu in float64") == 1
    assert "raylet" not in said + result.stderr.str()
    assert "texts.json" in said
    assert "sent" not in said


def test_only_the_case_at_fault_is_blamed_for_a_crash(project: GateProject, cluster: Any) -> None:
    result = project.run_apart("--ray", cluster.address, editor="for_ray:dies")

    result.assert_outcomes(passed=3, failed=1)
    assert result.ret == INFRASTRUCTURE_EXIT
    assert len(project.records()) == 4
    assert project.verdicts()["facts:0001"] == "error"
    (record,) = [record for record in project.records() if record["verdict"] == "error"]
    assert record["error_kind"] == "infrastructure"
    assert record["error"].startswith("given up, as it was tried 3 times: worker ")
    assert "crashed or was killed" in record["error"]
    assert (project.path / "frameworks").read_text() == ""
    assert "raylet" not in result.stdout.str() + result.stderr.str()


def test_a_killed_worker_and_a_lost_machine_cost_no_case(project: GateProject, cluster: Any) -> None:
    (project.path / "wait").touch()
    extra = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    facts = [{**FACTS[0], "subject": "Norway"}] * 9
    project.write_facts(facts)
    process = project.start("--ray", cluster.address, "-p", "no:cacheprovider", editor="for_ray:watched")
    waited(lambda: len(started_on(project)) == 3, process)
    os.kill(started_on(project)[0], signal.SIGKILL)
    cluster.remove_node(extra)
    (project.path / "wait").unlink()

    output, errors = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 0, output + errors
    assert sorted(record["edit_id"] for record in project.records()) == [f"facts:000{index}" for index in range(9)]
    assert "died" in output


@pytest.mark.parametrize("signalled", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_no_worker_outlives_the_run(project: GateProject, cluster: Any, signalled: signal.Signals) -> None:
    (project.path / "wait").touch()
    process = project.start("--ray", cluster.address, "-v", editor="for_ray:watched")
    waited(lambda: len(started_on(project)) == 2, process)
    workers = started_on(project)
    process.send_signal(signalled)

    output, _ = process.communicate(timeout=PATIENCE_S)

    expected = pytest.ExitCode.INTERRUPTED if signalled is signal.SIGINT else -signal.SIGKILL
    assert process.returncode == expected, output
    deadline = time.monotonic() + 30
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, workers))
    assert project.run_directories() == []  # what was under way is not recorded


def test_a_resumed_run_sends_what_is_missing_only(project: GateProject, cluster: Any) -> None:
    project.run("-k", "0000 or 0001", editor="for_ray:watched").assert_outcomes(passed=2, deselected=2)
    for path in project.path.glob("at-*"):
        path.unlink()

    result = project.run_apart("--resume", "reports", "--ray", cluster.address, editor="for_ray:watched")

    result.assert_outcomes(passed=4)
    assert sorted(path.name for path in project.path.glob("at-*")) == ["at-Paris", "at-violin"]
    assert "resumed: 2 of 4 cases from reports" in result.stdout.str()


def test_the_riskiest_are_found_by_a_worker_and_the_first_failure_can_end_the_run(
    project: GateProject, cluster: Any
) -> None:
    result = project.run_apart("--riskiest", "3", "-x", "--ray", cluster.address, editor="my_editors:overflows")
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["collected 3 items", "*stopping after 1 failures*"])
    assert len(project.records()) == 1


@pytest.mark.parametrize("words", [(), ("--collect-only", "--riskiest", "1")], ids=["run", "collection"])
def test_an_address_where_nothing_is_ends_the_run_with_one_sentence(
    gate_project: GateProject, words: tuple[str, ...]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = gate_project.run_apart("--ray", f"127.0.0.1:{port}", *words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --ray 127.0.0.1:{port}: there is no Ray cluster at this address*"])
    assert "Traceback" not in result.stderr.str()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ray", "auto", "-n", "2"), "*--ray and -n are two ways*"),
        (("--ray", "auto", "--device", "cuda:1"), "*--device cuda:1 names a GPU of one machine*"),
        (("--ray", "head"), "*'head' is no address of a Ray cluster; give auto*"),
    ],
    ids=["xdist", "device", "address"],
)
def test_what_does_not_go_together(gate_project: GateProject, arguments: tuple[str, ...], message: str) -> None:
    result = gate_project.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
