"""A service that speaks chat completions as a writer, by a server of our own."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections import Counter

import pytest

from collapse_tests.errors import CollapseError, InfrastructureError, UsageError
from collapse_tests.hard_edits.answers import Unfit
from collapse_tests.hard_edits.asking import Ask, instruction
from collapse_tests.hard_edits.candidates import Proposals, Wanted
from collapse_tests.hard_edits.endpoint_writer import KEY_VARIABLE, opened_endpoint
from collapse_tests.hard_edits.writers import Answer, write_samples
from tests.unit.hard_edits.chat_server import Reply, completion, failure, serving
from tests.unit.hard_edits.repositories import repository

pytest.importorskip("openai")

ASKS = [Ask("Gold", "metals"), Ask("Iron", "metals"), Ask("Lead", "metals")]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def subject_of(text: str) -> str:
    found = re.search(r"statement about (\w+)", text)
    assert found is not None
    return found[1]


def sample(text: str) -> str:
    subject = subject_of(text)
    return json.dumps({"prompt": f"{subject} is a", "target_new": "boat", "ground_truth": "thing"})


def test_each_ask_is_answered_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    with (
        serving(lambda text, before: completion(subject_of(text))) as server,
        opened_endpoint(server.url, "big") as writer,
    ):
        assert writer.write(ASKS) == [Answer("Gold"), Answer("Iron"), Answer("Lead")]
    headers, bodies = zip(*server.requests, strict=True)
    assert {one["authorization"] for one in headers} == {"Bearer secret"}
    assert {one["model"] for one in bodies} == {"big"}
    assert {one["messages"][0]["content"] for one in bodies} == {instruction(ask) for ask in ASKS}


def test_garbage_in_answers_is_counted() -> None:
    def rule(text: str, before: int) -> Reply:
        answers = {"Gold": "I'd rather not.", "Iron": None, "Silver": '{"prompt": "Silver'}
        return completion(answers.get(subject_of(text), sample(text)))

    found = Proposals()
    with serving(rule) as server, opened_endpoint(server.url, "big") as writer:
        write_samples(writer, repository(), Wanted(), found)
    assert len(found.candidates) == 8
    assert sorted(found.given_up) == ["Gold", "Iron", "Silver"]
    assert found.left_out == Counter({Unfit.NO_OBJECT: 6, Unfit.EMPTY: 3})


@pytest.mark.parametrize("status", [500, 503, 429])
def test_what_passes_is_tried_again(status: int) -> None:
    with (
        serving(lambda text, before: failure(status) if before < 2 else completion("x")) as server,
        opened_endpoint(server.url, "big") as writer,
    ):
        assert writer.write(ASKS[:1]) == [Answer("x")]
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "kind", "parts", "requests"),
    [
        (failure(500, "on fire"), InfrastructureError, ["answered 500 (on fire)", "3 attempts", "later"], 3),
        (failure(429, "slow down"), InfrastructureError, ["429 (slow down)", "rate limit", "--limit"], 3),
        (failure(401, "who are you"), UsageError, ["401 (who are you)", f"{KEY_VARIABLE} has no key"], 1),
        (failure(403), UsageError, ["403", KEY_VARIABLE], 1),
        (failure(404), UsageError, ["404", "'big'", "/v1"], 1),
        (failure(400, "no such field"), UsageError, ["400 (no such field)", "--writer-model 'big'"], 1),
        (Reply("<html>hello</html>", kind="text/html"), InfrastructureError, ["no chat completion", "/v1"], 1),
        (Reply("{broken"), InfrastructureError, ["no chat completion"], 1),
        (Reply({"choices": []}), InfrastructureError, ["no chat completion"], 1),
        (Reply({"choices": [{"text": "old style"}]}), InfrastructureError, ["no chat completion"], 1),
        (Reply([1, 2]), InfrastructureError, ["no chat completion"], 1),
        (failure(418, "x" * 5000), UsageError, ["418 (xxx", "…"], 1),
    ],
)
def test_failures_name_address_and_remedy(
    reply: Reply, kind: type[CollapseError], parts: list[str], requests: int
) -> None:
    with (
        serving(lambda text, before: reply) as server,
        opened_endpoint(server.url, "big", retries=2) as writer,
        pytest.raises(kind) as caught,
    ):
        writer.write(ASKS[:1])
    message = str(caught.value)
    assert message.startswith(f"--writer-url {server.url}")
    assert len(message) < 500
    for part in parts:
        assert part in message
    assert len(server.requests) == requests


def test_a_key_that_is_refused_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    with (
        serving(lambda text, before: failure(401)) as server,
        opened_endpoint(server.url, "big") as writer,
        pytest.raises(UsageError, match="a key that it does not accept") as caught,
    ):
        writer.write(ASKS)
    assert "secret" not in str(caught.value)


def test_no_answer_in_time() -> None:
    with (
        serving(lambda text, before: Reply("", seconds=0.5)) as server,
        opened_endpoint(server.url, "big", retries=0, seconds=0.1) as writer,
        pytest.raises(InfrastructureError, match=r"no answer within 0\.1 s, in one attempt"),
    ):
        writer.write(ASKS[:1])


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with (
        opened_endpoint(url, "big", retries=0) as writer,
        pytest.raises(InfrastructureError, match=r"cannot be reached in one attempt .*check the address"),
    ):
        writer.write(ASKS[:1])


def test_an_address_needs_a_scheme() -> None:
    with pytest.raises(UsageError, match="'localhost:8000' is no address"), opened_endpoint("localhost:8000", "big"):
        pass


def test_the_client_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UsageError, match=r"pytest-collapse\[data\]"), opened_endpoint("http://127.0.0.1:1", "big"):
        pass
