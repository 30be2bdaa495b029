"""The workers of a run on a Ray cluster: as many as there is room for, replaced when they die."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_tests import __version__
from collapse_tests.distributed import ray_actor
from collapse_tests.distributed.ray_brief import Brief, Reply, local_models
from collapse_tests.distributed.ray_cluster import Cluster, slots_of
from collapse_tests.distributed.ray_files import SentModel, send_model
from collapse_tests.errors import CollapseError

__all__ = ["Event", "Joined", "Left", "RayPool", "Replied", "import_paths", "reason_of"]

#: Seconds between two looks at the cluster's machines.
_LOOK_S = 2.0
#: Workers in a row that may die on a machine before they are of use.
_FALSE_STARTS = 3


@dataclass(frozen=True, slots=True)
class Joined:
    """A worker is ready."""

    worker: str
    place: str


@dataclass(frozen=True, slots=True)
class Left:
    """A worker that had joined died."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class Replied:
    """A worker did what it was told."""

    worker: str
    number: int
    reply: Reply


Event = Joined | Left | Replied


@dataclass(slots=True, eq=False)
class _Member:
    actor: Any
    node: str
    name: str = ""  # as soon as it has said where it is
    is_ready: bool = False
    to_place: int = 0  # models that are on their way to it


class RayPool:
    """Starts workers on every machine of a cluster, also on those that come later.

    Args:
        cluster: where.
        brief: what each is told first.
        say: takes a line for the user.

    Attributes:
        refused: machine → why nothing runs there any more.
    """

    def __init__(self, cluster: Cluster, brief: Brief, say: Callable[[str], None]) -> None:
        import pickle

        self._ray = cluster.ray
        self._cluster = cluster
        self._say = say
        self._models = local_models(brief.models)
        self._sent: dict[str, SentModel] = {}
        self._brief = self._ray.put(pickle.dumps(brief))
        self._ray.cloudpickle.register_pickle_by_value(ray_actor)
        self._actor = self._ray.remote(ray_actor.RayActor)
        self._members: dict[str, _Member] = {}  # those that have a name
        self._starting: set[_Member] = set()
        self._refs: dict[Any, tuple[_Member, str, int]] = {}  # reference → who, what it was asked, which order
        self._per_host: Counter[str] = Counter()
        self._false_starts: Counter[str] = Counter()
        self.refused: dict[str, str] = {}
        self._next_look = 0.0
        self._deserted_s = 0.0

    @property
    def is_hopeless(self) -> bool:
        """Whether nothing runs on any machine of the cluster."""
        return bool(self.refused) and not self._members and not self._starting and not self._room()

    def deserted_s(self) -> float:
        """Seconds that were waited while no worker was alive; while nobody waits, none can be started or noticed."""
        return self._deserted_s

    def send(self, worker: str, number: int, method: str, *arguments: Any) -> None:
        """Tell a worker to call a method of `RayWorker`; it does one thing after the other."""
        member = self._members[worker]
        self._refs[member.actor.call.remote(method, *arguments)] = (member, "call", number)

    def wait(self, timeout: float) -> list[Event]:
        """What has happened, as soon as something has; empty when `timeout` seconds are over."""
        began = time.monotonic()
        events = self._events(timeout)
        self._deserted_s = 0.0 if self._members else self._deserted_s + time.monotonic() - began
        return events

    def _events(self, timeout: float) -> list[Event]:
        self._recruit()
        if not self._refs:
            time.sleep(min(timeout, 0.1))
            return []
        ready, _ = self._ray.wait(list(self._refs), num_returns=1, timeout=timeout)
        if ready:
            ready, _ = self._ray.wait(list(self._refs), num_returns=len(self._refs), timeout=0)
        done = set(ready)
        events = []
        for ref in [ref for ref in self._refs if ref in done]:  # in the order they were sent
            if ref in self._refs and (event := self._take(ref)) is not None:
                events.append(event)
        return events

    def close(self) -> None:
        """End all workers."""
        for member in [*self._members.values(), *self._starting]:
            self._ray.kill(member.actor)
        self._members, self._starting, self._refs = {}, set(), {}

    # Workers that come ---------------------------------------------------------------------------------------

    def _recruit(self) -> None:
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _LOOK_S
        for node_id, free in self._room().items():
            for _ in range(free):
                self._start(node_id)

    def _room(self) -> dict[str, int]:
        """Machine → how many more workers it has room for."""
        taken = Counter(member.node for member in (*self._members.values(), *self._starting))
        nodes = [node for node in self._cluster.nodes() if node.id not in self.refused]
        free = {node.id: slots_of(node, self._cluster.demand) - taken[node.id] for node in nodes}
        return {node_id: count for node_id, count in free.items() if count > 0}

    def _start(self, node_id: str) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        demand = self._cluster.demand
        options = self._actor.options(
            num_cpus=demand.cpus,
            num_gpus=demand.gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        )
        member = _Member(options.remote(), node_id)
        self._starting.add(member)
        self._refs[member.actor.hello.remote(import_paths(), str(Path.cwd()))] = (member, "hello", 0)

    def _take(self, ref: Any) -> Event | None:
        member, asked, number = self._refs.pop(ref)
        try:
            value = self._ray.get(ref)
        except Exception as error:  # whatever it is, the worker is of no more use
            return self._lost(member, reason_of(error))
        match asked:
            case "hello":
                self._greet(member, value)
            case "begin":
                return self._place_models(member, value)
            case "place":
                return self._placed(member, value)
            case _:
                return Replied(member.name, number, value)
        return None

    def _greet(self, member: _Member, facts: dict[str, str]) -> None:
        host = facts["host"]
        problem = facts.get("problem")
        if problem is None and facts["version"] != __version__:
            problem = f"it has pytest-collapse {facts['version']} and this machine {__version__}"
        if problem is not None:
            self._refuse(member.node, f"{host} cannot be used, install the same version there: {problem}")
            self._dismiss(member)
            return
        self._per_host[host] += 1
        member.name = f"{host}-{self._per_host[host]}"
        self._starting.discard(member)
        self._members[member.name] = member
        self._refs[member.actor.begin.remote(self._brief, member.name)] = (member, "begin", 0)

    def _place_models(self, member: _Member, missing: list[str]) -> Event | None:
        for name in missing:
            try:
                self._send_once(name)
            except CollapseError as error:
                self._ray.kill(member.actor)
                return self._lost(member, str(error))
            member.to_place += 1
            reply = member.actor.call.remote("place_model", name, self._sent[name])
            self._refs[reply] = (member, "place", 0)
        return None if missing else self._ready(member)

    def _send_once(self, name: str) -> None:
        if name not in self._sent:
            self._say(f"sending {name} to machines that do not have it")
            self._sent[name] = send_model(self._models[name], self._ray.put)

    def _placed(self, member: _Member, reply: Reply) -> Event | None:
        if reply.error is not None:
            event = self._lost(member, reply.error[1])
            self._ray.kill(member.actor)
            return event
        member.to_place -= 1
        return self._ready(member) if member.to_place == 0 else None

    def _ready(self, member: _Member) -> Joined:
        member.is_ready = True
        self._false_starts.pop(member.node, None)
        return Joined(member.name, member.node)

    # Workers that go -----------------------------------------------------------------------------------------

    def _lost(self, member: _Member, reason: str) -> Left | None:
        self._dismiss(member)
        self._next_look = 0.0
        if member.is_ready:
            return Left(member.name, f"worker {member.name} died: {reason}")
        self._false_starts[member.node] += 1
        if self._false_starts[member.node] >= _FALSE_STARTS:
            self._refuse(member.node, f"no worker can be started on machine {member.node[:8]}: {reason}")
        return None

    def _dismiss(self, member: _Member) -> None:
        self._refs = {ref: asked for ref, asked in self._refs.items() if asked[0] is not member}
        self._starting.discard(member)
        self._members.pop(member.name, None)

    def _refuse(self, node_id: str, reason: str) -> None:
        if node_id not in self.refused:
            self.refused[node_id] = reason
            self._say(reason)


def import_paths() -> list[str]:
    """Directories that the user's own code is imported from: all but the interpreter's and what is installed in it."""
    installed = {Path(path) for path in sysconfig.get_paths().values()}
    paths = [os.path.abspath(path) for path in sys.path]  # noqa: PTH100 - an empty path is the current directory
    installed.add(Path(sys.base_prefix, "lib", "python{}{}.zip".format(*sys.version_info)))
    return [path for path in dict.fromkeys(paths) if not installed & {Path(path), *Path(path).parents}]


def reason_of(error: Exception) -> str:
    """What is known of a death, in a sentence at most: Ray tells paragraphs."""
    text = " ".join(str(error).split())
    if "node has died" in text or "node was terminated" in text or "node died" in text:
        return "its machine was lost"
    if type(error).__name__ == "OutOfMemoryError":
        return "Ray ended it, as its machine ran out of memory"
    if "connection error code 2" in text:  # nobody said goodbye; Ray does not learn the signal
        return "its process crashed or was killed"
    if (detail := re.search(r"Worker exit detail: (.+?)(?: Some common causes|$)", text)) is not None:
        return f"its process ended ({detail[1].rstrip('. ')})"
    return f"{type(error).__name__}: {text[:300]}"
