"""What a worker takes of a cluster, and what ends a run before it starts."""

from __future__ import annotations

import importlib.util

import pytest

from collapse_tests.distributed.ray_cluster import Cluster, Demand, Node, demand_of, slots_of
from collapse_tests.errors import UsageError
from collapse_tests.option_values import parse_ray_address
from collapse_tests.settings import Settings

CPUS = [Node("a", "10.0.0.1", 16, 0), Node("b", "10.0.0.2", 2, 0), Node("head", "10.0.0.3", 0, 0)]
GPUS = [Node("a", "10.0.0.1", 16, 8), Node("b", "10.0.0.2", 64, 0)]


def asked(**options: object) -> Settings:
    return Settings(editors=("rome",), ray="auto", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "nodes", "demand", "slots"),
    [
        (asked(), CPUS, Demand(2, 0), [8, 1, 0]),
        (asked(), CPUS[:1], Demand(4, 0), [4]),
        (asked(ray_cpus=16), CPUS, Demand(16, 0), [1, 0, 0]),
        (asked(), GPUS, Demand(1, 1), [8, 0]),
        (asked(device="cuda", gpus_per_worker=3), GPUS, Demand(1, 3), [2, 0]),
        (asked(ray_cpus=8), GPUS, Demand(8, 1), [2, 0]),
        (asked(device_map="auto"), GPUS, Demand(1, 8), [1, 0]),
        (asked(device="cpu"), GPUS, Demand(4, 0), [4, 16]),
    ],
    ids=["smallest", "four", "given", "gpu", "gpus", "gpu-and-cpus", "spread", "no-gpu-wanted"],
)
def test_what_a_worker_takes(settings: Settings, nodes: list[Node], demand: Demand, slots: list[int]) -> None:
    found = demand_of(settings, nodes)
    assert found == demand
    assert [slots_of(node, found) for node in nodes] == slots


@pytest.mark.parametrize(
    ("settings", "nodes", "message"),
    [
        (asked(ray_cpus=32), CPUS, "no machine of the cluster has 32 CPUs for a worker, the best has 0 GPUs and 16"),
        (asked(device="cuda"), CPUS, "no machine of the cluster has 1 GPU and 1 CPU for a worker"),
        (asked(gpus_per_worker=2), CPUS, "no machine of the cluster has 2 GPUs and 1 CPU for a worker"),
        (asked(gpus_per_worker=9), GPUS, "has 9 GPUs and 1 CPU for a worker, the best has 8 GPUs"),
    ],
    ids=["cpus", "no-gpu", "gpus-of-none", "gpus"],
)
def test_what_no_machine_has_is_refused(settings: Settings, nodes: list[Node], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        demand_of(settings, nodes)


@pytest.mark.parametrize("text", ["auto", "10.0.0.1:6379", "head.example:1"])
def test_addresses(text: str) -> None:
    assert parse_ray_address(text) == text


@pytest.mark.parametrize("text", ["ray://head:10001", "head", ":6379", "http://head:1", "", "head:port"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="give auto"):
        parse_ray_address(text)


def test_a_wrong_address_in_the_environment_is_told_by_the_name_of_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(UsageError, match=r"^RAY_ADDRESS: 'ray://head:10001' is .*; correct the variable, or unset it$"):
        Cluster(asked())


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "collapse_tests.distributed.ray_cluster.find_spec", lambda name: None if name == "ray" else find(name)
    )
    with pytest.raises(UsageError, match=r"pip install pytest-collapse\[ray\]"):
        Cluster(asked())
