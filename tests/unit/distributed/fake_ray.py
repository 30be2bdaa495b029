"""A Ray that runs nothing in parallel: what actors are asked is answered when somebody waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from collapse_tests.distributed.ray_brief import Reply
from collapse_tests.distributed.ray_cluster import Demand, Node


class ActorDiedError(Exception):
    """As Ray's."""


class Call:
    """What stands for a value that is not there yet."""

    def __init__(self, actor: Actor | None, value: Callable[[], Any]) -> None:
        self.actor = actor
        self._value = value

    def get(self) -> Any:
        if self.actor is not None and self.actor.is_dead:
            raise ActorDiedError("Worker exit detail: it fell over. Some common causes include: anything")
        return self._value()


class Method:
    """A method of an actor."""

    def __init__(self, actor: Actor, function: Callable[..., Any]) -> None:
        self._actor = actor
        self._function = function

    def remote(self, *arguments: Any) -> Call:
        plain = [argument.get() if isinstance(argument, Call) else argument for argument in arguments]
        return Call(self._actor, lambda: self._function(*plain))


class Actor:
    """A process on some machine, of which a test decides what it says of itself."""

    def __init__(self, ray: FakeRay, node: str) -> None:
        self.node = node
        self.is_dead = node in ray.deadly
        self.placed: list[str] = []
        self.hello = Method(self, lambda paths, directory: ray.facts[node])
        self.begin = Method(self, lambda brief, name: ray.missing)
        self.call = Method(self, self._called)

    def _called(self, method: str, *arguments: Any) -> Reply:
        if method == "place_model":
            self.placed.append(arguments[0])
        return Reply((method, *arguments))


class FakeRay:
    """The part of Ray that a pool uses.

    Attributes:
        facts: machine → what its actors say of themselves.
        deadly: machines on which every actor dies at once.
        missing: models that no machine has.
        actors: all that were made.
        killed: those that were killed.
        puts: how often something went into the object store.
    """

    def __init__(self, facts: dict[str, dict[str, str]]) -> None:
        self.facts = facts
        self.deadly: set[str] = set()
        self.missing: list[str] = []
        self.actors: list[Actor] = []
        self.killed: list[Actor] = []
        self.puts = 0
        self.cloudpickle = self

    def register_pickle_by_value(self, module: Any) -> None:
        """Nothing is sent."""

    def put(self, value: Any) -> Call:
        self.puts += 1
        return Call(None, lambda: value)

    def get(self, call: Call) -> Any:
        return call.get()

    def wait(self, calls: Sequence[Call], *, num_returns: int, timeout: float) -> tuple[list[Call], list[Call]]:
        return list(calls), []

    def kill(self, actor: Actor) -> None:
        actor.is_dead = True
        self.killed.append(actor)

    def remote(self, kind: type) -> FakeRay:
        return self

    def options(self, *, scheduling_strategy: Any, **options: Any) -> Any:
        ray = self

        class Maker:
            def remote(self) -> Actor:
                ray.actors.append(Actor(ray, scheduling_strategy.node_id))
                return ray.actors[-1]

        return Maker()


class FakeCluster:
    """Machines of two CPUs each, one CPU for each worker."""

    def __init__(self, ray: FakeRay) -> None:
        self.ray = ray
        self.demand = Demand(1, 0)

    def nodes(self) -> list[Node]:
        return [Node(name, name, 2, 0) for name in self.ray.facts]
