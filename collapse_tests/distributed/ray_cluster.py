"""A Ray cluster from the driver's side: reaching it, what it has, and leaving it."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from collapse_tests.errors import InfrastructureError, UsageError, first_line
from collapse_tests.option_values import AUTO, parse_ray_address
from collapse_tests.quietly import ignoring_warnings
from collapse_tests.settings import Settings
from collapse_tests.wording import counted

__all__ = ["Cluster", "Demand", "Node", "demand_of", "slots_of"]

_ADDRESS_VARIABLE = "RAY_ADDRESS"

#: CPUs of a worker on a cluster without GPUs, at most: with more a worker is hardly faster, and fewer run.
_USEFUL_CPUS = 4

#: Seconds for a cluster to answer: ray itself waits for minutes.
_PATIENCE_S = 40.0

#: Run in a process of its own, as a cluster that does not answer can be left by no other way.
_PROBE = """
import json, logging, sys
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
    found = None
except BaseException as error:
    found = [type(error).__name__, str(error)]
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one worker takes."""

    cpus: int
    gpus: int

    def __str__(self) -> str:
        parts = ((self.gpus, "GPU"), (self.cpus, "CPU"))
        return " and ".join(counted(count, what) for count, what in parts if count)


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a cluster.

    Attributes:
        id: Ray's.
        address: of the machine.
        cpus, gpus: what Ray may use of it.
    """

    id: str
    address: str
    cpus: int
    gpus: int


def slots_of(node: Node, demand: Demand) -> int:
    """How many workers a machine has room for."""
    by_cpus = node.cpus // demand.cpus
    return min(by_cpus, node.gpus // demand.gpus) if demand.gpus else by_cpus


def demand_of(settings: Settings, nodes: Iterable[Node]) -> Demand:
    """What each worker takes: GPUs where there are some and the device is not the CPU, else CPUs alone.

    Raises:
        UsageError: no machine has that much.
    """
    nodes = list(nodes)
    most = max((node.gpus for node in nodes), default=0)
    if settings.device == "cpu" or (settings.device == AUTO and most == 0 and settings.gpus_per_worker is None):
        demand = Demand(settings.ray_cpus or _cpus_without_gpus(nodes), 0)
    else:
        gpus = settings.gpus_per_worker or (max(1, most) if settings.device_map == AUTO else 1)
        demand = Demand(settings.ray_cpus or 1, gpus)
    if nodes and not any(slots_of(node, demand) for node in nodes):
        best = max(nodes, key=lambda node: (node.gpus, node.cpus))
        raise UsageError(
            f"--ray {settings.ray}: no machine of the cluster has {demand} for a worker, the best has "
            f"{best.gpus} GPUs and {best.cpus} CPUs; lower --ray-cpus or --gpus-per-worker, or give --device cpu"
        )
    return demand


def _cpus_without_gpus(nodes: Iterable[Node]) -> int:
    return min([_USEFUL_CPUS, *(node.cpus for node in nodes if node.cpus)])


class Cluster:
    """A cluster that is reached, or started, as `--ray` says.

    Args:
        settings: of the run.

    Attributes:
        demand: what each worker takes.

    Raises:
        UsageError: ray is not installed, there is no cluster at the address, or its machines are too small.
        InfrastructureError: the cluster does not take this driver.
    """

    def __init__(self, settings: Settings) -> None:
        if find_spec("ray") is None:
            raise UsageError("--ray needs Ray, which is not installed; pip install pytest-collapse[ray]")
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        with ignoring_warnings():
            import ray

            self.ray: Any = ray
            self._own = not ray.is_initialized()
            self._mute()
            try:
                if self._own:
                    self._join(str(settings.ray))
                self.demand = demand_of(settings, self.nodes())
            except BaseException:
                self.close()
                raise

    def nodes(self) -> list[Node]:
        """The machines that are alive."""
        return [_node(facts) for facts in self.ray.nodes() if facts["Alive"]]

    def close(self) -> None:
        """Leave the cluster, or end it if it was started for this run; a second time does nothing."""
        with ignoring_warnings():
            if self._own and self.ray.is_initialized():
                self.ray.shutdown()
        self._unmute()

    def _join(self, asked: str) -> None:
        given = os.environ.get(_ADDRESS_VARIABLE) or None
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if asked != AUTO:
            address, name = asked, f"--ray {asked}"
        elif given is not None:
            address, name = _address_in_environment(given), f"{_ADDRESS_VARIABLE}={given}"
        else:
            address, name = AUTO, "--ray auto"
        if not _is_there(address, name):
            address = "local"
            options["include_dashboard"] = False
        try:
            self.ray.init(address=address, **options)
        except Exception as error:
            raise InfrastructureError(f"{name}: Ray cannot be started or joined: {first_line(error)}") from None

    def _mute(self) -> None:
        """Keep what Ray tells of dying workers off the terminal: the records tell it, and no option of Ray's does."""
        from ray._private import worker

        self._names = vars(worker)
        self._print = self._names.get("print_to_stdstream")
        if self._print is not None:
            self._names["print_to_stdstream"] = lambda *_, **__: None

    def _unmute(self) -> None:
        if self._print is not None:
            self._names["print_to_stdstream"] = self._print


def _address_in_environment(text: str) -> str:
    try:
        return parse_ray_address(text)
    except UsageError as error:
        raise UsageError(f"{_ADDRESS_VARIABLE}: {error}; correct the variable, or unset it") from None


def _is_there(address: str, name: str) -> bool:
    """Whether a cluster answers; False only where `auto` finds none.

    Raises:
        UsageError: there is none at an address.
        InfrastructureError: there is one, and it does not take this driver.
    """
    if address != AUTO:
        _check_port(address, name)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, address],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        found: list[str] | None = json.loads(done.stdout.strip().rpartition("\n")[2])
    except subprocess.TimeoutExpired:
        raise UsageError(
            _no_cluster(name, f"what answers there is no Ray head, or not within {_PATIENCE_S:g} s")
        ) from None
    except ValueError:
        raise InfrastructureError(f"{name}: Ray failed without saying why; try ray status") from None
    if found is None:
        return True
    kind, message = found
    if address == AUTO and kind == "ConnectionError":
        return False
    told = next(iter(message.strip().splitlines()), "no reason given")
    raise InfrastructureError(f"{name}: the cluster cannot be joined: {kind}: {told}")


def _check_port(address: str, name: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise UsageError(_no_cluster(name, str(error))) from None


def _no_cluster(name: str, why: str) -> str:
    return (
        f"{name}: there is no Ray cluster at this address ({why}); give the address that ray start --head printed, "
        "or --ray auto"
    )


def _node(facts: Mapping[str, Any]) -> Node:
    resources = facts["Resources"]
    return Node(
        facts["NodeID"], facts["NodeManagerAddress"], int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    )
