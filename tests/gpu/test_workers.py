"""Workers of xdist on GPUs of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fixtures.pytester_cases import GateProject

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices"),
]

LATE_CUDA = "import torch\ntorch.zeros(1, device='cuda')\n"


@pytest.fixture
def two_gpus(gate_project: GateProject, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    """A machine with the first two GPUs only."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(_visible()[:2]))
    return gate_project


def _visible() -> list[str]:
    """UUIDs of all GPUs, as CUDA_VISIBLE_DEVICES takes them."""
    return [f"GPU-{torch.cuda.get_device_properties(index).uuid}" for index in range(torch.cuda.device_count())]


def test_auto_gives_each_worker_its_own_gpu(two_gpus: GateProject) -> None:
    result = two_gpus.run_apart("-n", "auto", "--device", "cuda")

    assert result.parseoutcomes() == {"passed": 3, "failed": 1}
    workers = {record["worker"] for record in two_gpus.records()}
    assert workers == {"gw0", "gw1"}
    devices = two_gpus.environment()["devices"]
    assert {devices[worker]["device"] for worker in workers} == {"cuda:0"}
    assert sorted(devices[worker]["uuid"] for worker in workers) == sorted(_visible()[:2])


@pytest.mark.parametrize("words", [("-n", "auto"), ("-n", "auto", "--gpus-per-worker", "2")], ids=["1", "2"])
def test_the_verdicts_are_those_of_one_process(two_gpus: GateProject, words: tuple[str, ...]) -> None:
    two_gpus.run_apart("--device", "cuda")
    expected = two_gpus.verdicts()

    two_gpus.run_apart("--device", "cuda", *words)

    assert two_gpus.verdicts() == expected
    assert len({record["worker"] for record in two_gpus.records()}) == (1 if "2" in words else 2)


def test_indices_do_as_well(gate_project: GateProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 0")

    gate_project.run_apart("-n", "3", "--device", "cuda")

    devices = gate_project.environment()["devices"]
    assert len({facts["uuid"] for facts in devices.values()}) == min(2, len(devices))


def test_cuda_in_a_conftest_is_too_early(two_gpus: GateProject) -> None:
    two_gpus.pytester.makeconftest(LATE_CUDA)

    result = two_gpus.run_apart("-n", "2", "--device", "cuda")

    result.stdout.fnmatch_lines(["*CUDA was started before worker gw1 could be given its own GPU*"])


def test_a_spread_model_has_all_gpus_of_its_worker(
    two_gpus: GateProject, saved_tiny_model: Callable[[str], Path]
) -> None:
    pytest.importorskip("accelerate")

    two_gpus.run_apart("-n", "auto", "--device-map", "auto", model=str(saved_tiny_model("llama")), limit="1e6")

    assert {record["worker"] for record in two_gpus.records()} == {"gw0"}
    assert {record["verdict"] for record in two_gpus.records()} <= {"stable", "collapsed", "ineffective"}
