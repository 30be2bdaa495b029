"""Workers of a cluster: started where there is room, replaced, refused."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from collapse_tests import __version__
from collapse_tests.distributed.ray_brief import brief_of
from collapse_tests.distributed.ray_pool import Event, Joined, Left, RayPool, Replied, import_paths, reason_of
from collapse_tests.settings import Settings
from tests.unit.distributed.fake_ray import FakeCluster, FakeRay

pytest.importorskip("ray")

A, B, C = (letter * 56 for letter in "abc")  # ids of machines
FINE = {"host": "good", "version": __version__}


def make_pool(ray: FakeRay, said: list[str] | None = None, settings: Settings | None = None) -> RayPool:
    cluster: Any = FakeCluster(ray)
    brief = brief_of(settings or Settings(editors=("rome",)), 1)
    return RayPool(cluster, brief, ([] if said is None else said).append)


def events_of(pool: RayPool, rounds: int = 4) -> list[Event]:
    events: list[Event] = []
    for _ in range(rounds):
        pool._next_look = 0.0  # without waiting for it
        events += pool.wait(0)
    return events


def test_there_are_as_many_workers_as_there_is_room_for() -> None:
    ray = FakeRay({A: FINE, B: {**FINE, "host": "other"}})
    events = events_of(make_pool(ray))
    assert {event.worker for event in events if isinstance(event, Joined)} == {"good-1", "good-2", "other-1", "other-2"}
    assert len(ray.actors) == 4


def test_new_machines_are_used() -> None:
    ray = FakeRay({A: FINE})
    pool = make_pool(ray)
    events_of(pool)
    ray.facts[B] = {**FINE, "host": "late"}
    assert [event.worker for event in events_of(pool) if isinstance(event, Joined)] == ["late-1", "late-2"]


def test_a_worker_does_what_it_is_told_and_is_replaced_when_it_dies() -> None:
    ray = FakeRay({A: FINE})
    pool = make_pool(ray)
    events_of(pool)
    pool.send("good-1", 7, "run", "something")
    (reply,) = pool.wait(0)
    assert isinstance(reply, Replied)
    assert (reply.worker, reply.number, reply.reply.value) == ("good-1", 7, ("run", "something"))

    pool.send("good-1", 8, "run", "more")
    pool.send("good-1", 9, "run", "still more")
    ray.actors[0].is_dead = True
    events = events_of(pool)
    assert events[0] == Left("good-1", "worker good-1 died: its process ended (it fell over)")
    assert events[1:] == [Joined("good-3", A)]


def test_another_version_is_refused_and_said_once() -> None:
    said: list[str] = []
    ray = FakeRay({A: FINE, B: {"host": "old", "version": "0.0.1"}, C: {"host": "bare", "problem": "No module"}})
    pool = make_pool(ray, said)
    events = events_of(pool)
    assert [event.worker for event in events if isinstance(event, Joined)] == ["good-1", "good-2"]
    assert said == [
        f"old cannot be used, install the same version there: it has pytest-collapse 0.0.1 and this machine "
        f"{__version__}",
        "bare cannot be used, install the same version there: No module",
    ]
    assert not pool.is_hopeless


def test_there_is_no_hope_where_every_machine_is_refused() -> None:
    ray = FakeRay({B: {"host": "old", "version": "0.0.1"}})
    pool = make_pool(ray)
    assert not pool.is_hopeless
    events_of(pool)
    assert pool.is_hopeless
    assert pool.deserted_s() > 0


def test_only_time_that_was_waited_without_a_worker_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("collapse_tests.distributed.ray_pool.time", SimpleNamespace(monotonic=lambda: now[0]))
    ray = FakeRay({A: FINE})
    ray.deadly.add(A)
    pool = make_pool(ray)
    now[0] = 1000.0  # tests of this process ran meanwhile
    assert pool.deserted_s() == 0

    def takes_a_while(*arguments: Any, **options: Any) -> Any:
        now[0] += 7
        return [], []

    monkeypatch.setattr(ray, "wait", takes_a_while)
    pool.wait(7)
    pool.wait(7)
    assert pool.deserted_s() == 14
    monkeypatch.undo()
    ray.deadly.clear()
    for actor in ray.actors:
        actor.is_dead = False
    pool.wait(0)
    assert pool.deserted_s() == 0


def test_a_machine_on_which_workers_only_die_is_given_up() -> None:
    ray = FakeRay({A: FINE})
    ray.deadly.add(A)
    said: list[str] = []
    pool = make_pool(ray, said)
    assert events_of(pool, 10) == []
    assert pool.is_hopeless
    assert len(ray.actors) == 4  # two at a time
    assert said == ["no worker can be started on machine aaaaaaaa: its process ended (it fell over)"]


def test_a_model_that_is_missing_is_put_once_and_sent_to_each(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    ray = FakeRay({A: FINE})
    ray.missing = [str(model)]
    pool = make_pool(ray, settings=Settings(editors=("rome",), models=(str(model),)))
    assert len([event for event in events_of(pool) if isinstance(event, Joined)]) == 2
    assert [actor.placed for actor in ray.actors] == [[str(model)]] * 2
    assert ray.puts == 2  # what all are told, and the one file


def test_closing_kills_all() -> None:
    ray = FakeRay({A: FINE})
    pool = make_pool(ray)
    events_of(pool)
    pool.close()
    assert len(ray.killed) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("The actor died because its node has died. Node Id: 1", "its machine was lost"),
        ("exit detail: unexpectedly exits with a connection error code 2. End of file.", "crashed or was killed"),
        ("something else\nentirely", "RuntimeError: something else entirely"),
    ],
)
def test_reasons_are_short(text: str, reason: str) -> None:
    assert reason in reason_of(RuntimeError(text))


def test_the_users_own_directories_are_sent_and_installed_packages_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    paths = import_paths()
    assert paths[:2] == [str(Path.cwd()), str(tmp_path)]
    assert not any("site-packages" in path or path.endswith(".zip") for path in paths)
