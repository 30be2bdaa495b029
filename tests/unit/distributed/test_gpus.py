"""Which worker gets which GPUs, on a machine that may have none."""

from __future__ import annotations

import os
import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from collapse_tests.distributed import gpus
from collapse_tests.distributed.gpus import GpuSlots, gpus_of_each, visible_gpus, worker_count
from collapse_tests.distributed.xdist_controller import auto_workers
from collapse_tests.distributed.xdist_worker import take_gpus
from collapse_tests.errors import UsageError


@pytest.mark.parametrize(
    ("variable", "count", "expected"),
    [
        (None, 3, ("0", "1", "2")),
        (None, 0, ()),
        ("", 0, ()),
        ("-1", 0, ()),
        ("2, 0", 2, ("2", "0")),
        ("3,1,-1,0", 2, ("3", "1")),
        ("0,1,9", 2, ("0", "1")),
        ("GPU-5ef1,GPU-88", 2, ("GPU-5ef1", "GPU-88")),
        ("MIG-1a2b", 1, ("MIG-1a2b",)),
    ],
)
def test_the_tokens_are_those_of_the_user_up_to_the_first_that_cuda_ignores(
    variable: str | None, count: int, expected: tuple[str, ...]
) -> None:
    assert visible_gpus(variable, count) == expected


def test_as_many_workers_as_the_gpus_suffice_for() -> None:
    assert [worker_count(count, 1) for count in (0, 1, 4)] == [1, 1, 4]
    assert [worker_count(count, 2) for count in (2, 5)] == [1, 2]


def test_a_spread_model_takes_all_gpus_unless_the_user_says_how_many() -> None:
    assert gpus_of_each(None, 4, spread=False) == 1
    assert gpus_of_each(None, 4, spread=True) == 4
    assert gpus_of_each(2, 4, spread=True) == 2
    assert gpus_of_each(None, 0, spread=True) == 1


@pytest.mark.parametrize(("count", "found"), [(0, "no GPU"), (1, "1 usable GPU;"), (2, "2 usable GPUs")])
def test_more_gpus_than_there_are_is_a_usage_error(count: int, found: str) -> None:
    with pytest.raises(UsageError, match=f"--gpus-per-worker 3: this machine has {found}") as error:
        gpus_of_each(3, count, spread=False)
    assert "CUDA_VISIBLE_DEVICES" in str(error.value)


def test_each_worker_has_its_own_gpus_while_there_are_any() -> None:
    slots = GpuSlots(("GPU-a", "GPU-b", "GPU-c", "GPU-d", "GPU-e"), 2)
    assert [slots.take(f"gw{index}") for index in range(2)] == [("GPU-a", "GPU-b"), ("GPU-c", "GPU-d")]


def test_more_workers_than_gpus_share_them_evenly() -> None:
    slots = GpuSlots(("0", "1", "2"), 1)
    assert sorted(Counter(slots.take(f"gw{index}") for index in range(8)).values()) == [2, 3, 3]


@pytest.mark.parametrize("dead", range(5))
def test_the_worker_that_replaces_another_gets_its_gpu(dead: int) -> None:
    slots = GpuSlots(("0", "1", "2", "3", "4", "5"), 1)
    taken = [slots.take(f"gw{index}") for index in range(5)]
    slots.release(f"gw{dead}")
    assert slots.take("gw5") == taken[dead]


def test_workers_that_replace_several_share_evenly_again() -> None:
    slots = GpuSlots(("0", "1"), 1)
    for index in range(4):
        slots.take(f"gw{index}")
    for dead in ("gw1", "gw3", "gw0"):
        slots.release(dead)
    assert sorted(filter(None, (slots.take(f"gw{index}") for index in (4, 5, 6)))) == [("0",), ("1",), ("1",)]


def test_without_gpus_nothing_is_assigned() -> None:
    slots = GpuSlots((), 1)
    assert slots.take("gw0") is None
    slots.release("gw0")


class Config:
    """What is asked of a config: options and ini values."""

    def __init__(self, numprocesses: object = "auto", **options: object) -> None:
        self.option = SimpleNamespace(numprocesses=numprocesses, help=False, version=0, collectonly=False)
        self._options = {"collapse_editor": [["rome"]], **options}

    def getoption(self, name: str) -> object:
        return self._options.get(name)

    def getini(self, name: str) -> None:
        return None


def workers(monkeypatch: pytest.MonkeyPatch, count: int, config: Any) -> int | None:
    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    monkeypatch.setattr(gpus, "count_gpus", lambda: count)
    return auto_workers(config)


def test_auto_is_a_worker_for_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers(monkeypatch, 4, Config()) == 4
    assert workers(monkeypatch, 0, Config()) == 1
    assert workers(monkeypatch, 4, Config(collapse_device="cpu")) == 1
    assert workers(monkeypatch, 4, Config(collapse_device="cuda:2")) == 1
    assert workers(monkeypatch, 4, Config(collapse_device="cuda")) == 4
    assert workers(monkeypatch, 5, Config(collapse_gpus_per_worker=2)) == 2
    assert workers(monkeypatch, 4, Config(collapse_device_map="auto")) == 1
    assert workers(monkeypatch, 4, Config(collapse_device_map="auto", collapse_gpus_per_worker=2)) == 2


def test_auto_is_left_to_xdist_where_it_is_not_the_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers(monkeypatch, 4, Config("logical")) is None
    assert workers(monkeypatch, 4, Config(collapse_editor=None)) is None
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "3")
    assert auto_workers(Config()) is None  # type: ignore[arg-type]


def test_collecting_counts_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config()
    config.option.collectonly = True
    monkeypatch.setattr(gpus, "count_gpus", lambda: pytest.fail("counted"))
    assert auto_workers(config) == 1  # type: ignore[arg-type]


class WorkerConfig:
    """A worker's config, as far as taking GPUs goes."""

    def __init__(self, tokens: list[str] | None) -> None:
        self.workerinput = {"workerid": "gw1", gpus.GPUS: tokens}
        self.warnings: list[str] = []

    def issue_config_time_warning(self, warning: Warning, stacklevel: int) -> None:
        self.warnings.append(str(warning))


@pytest.fixture
def _visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "7")


@pytest.mark.usefixtures("_visible")
@pytest.mark.parametrize(("tokens", "expected"), [(None, "7"), (["GPU-a", "GPU-b"], "GPU-a,GPU-b"), (["1"], "1")])
def test_a_worker_sees_only_its_own_gpus(tokens: list[str] | None, expected: str) -> None:
    config: Any = WorkerConfig(tokens)
    take_gpus(config)
    assert os.environ[gpus.VISIBLE] == expected
    assert config.warnings == []


@pytest.mark.usefixtures("_visible")
def test_a_worker_whose_conftest_used_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    started = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", started)
    config: Any = WorkerConfig(["1"])
    take_gpus(config)
    (told,) = config.warnings
    assert "CUDA was started before worker gw1 could be given its own GPU" in told
