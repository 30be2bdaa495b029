"""A small server that speaks chat completions, with answers by a rule."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server sends: a status and a body, after some seconds."""

    body: object
    status: int = 200
    kind: str = "application/json"
    seconds: float = 0.0


def completion(content: object) -> Reply:
    """A chat completion."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    return Reply({"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})


def failure(status: int, message: str = "broken") -> Reply:
    """An error as such services word it."""
    return Reply({"error": {"message": message, "type": "t", "code": None, "param": None}}, status)


@dataclass
class ChatServer:
    """A running server.

    Attributes:
        url: base address.
        requests: headers and bodies, in order of arrival.
    """

    url: str = ""
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)


@contextmanager
def serving(rule: Callable[[str, int], Reply]) -> Iterator[ChatServer]:
    """A server that answers by `rule`: the user's text, and how many requests came before, to the reply."""
    chat = ChatServer()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                before = len(chat.requests)
                chat.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            known = self.path == "/v1/chat/completions"
            reply = rule(body["messages"][0]["content"], before) if known else failure(404, "no such place")
            time.sleep(reply.seconds)
            data = reply.body.encode() if isinstance(reply.body, str) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *values: object) -> None:  # noqa: A002 - the base class names it so
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    chat.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield chat
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
