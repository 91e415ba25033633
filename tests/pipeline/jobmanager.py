"""A stand-in for Flink's REST interface: canned answers over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from pipeline.rest import FlinkRest

Answers = dict[str, Any]


class JobManager(FlinkRest):
    """A JobManager that says what it is told to.

    Attributes:
        answers: by path without query; a list is said one by one, its last item for ever; an int is
            an HTTP status; None closes the connection without a word.
        after_cancel: the answer about a job from its cancelling on, in place of that in `answers`.
        asked: method, path and body of every request.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.answers: Answers = {}
        self.after_cancel: Any = {"state": "CANCELED"}
        self.asked: list[tuple[str, str, Any]] = []

    def answer(self, method: str, path: str, body: Any) -> Any:
        self.asked.append((method, path, body))
        plain = path.partition("?")[0]
        if method == "PATCH":  # a job that is cancelled ends
            self.answers[plain] = self.after_cancel
            return {}
        found = self.answers.get(plain, 404)
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found


@contextmanager
def jobmanager() -> Iterator[JobManager]:
    """One on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            answer = told.answer(self.command, self.path, body)
            if answer is None:
                return
            self.send_response(answer if isinstance(answer, int) else 200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_GET = do_POST = do_PATCH = respond  # noqa: N815 - names of the standard library

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told = JobManager(f"http://127.0.0.1:{server.server_port}")
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield told
        server.shutdown()


def job(jid: str, state: str, name: str = "headrace", start: int = 0) -> dict[str, Any]:
    """As /jobs/overview tells of it."""
    return {"jid": jid, "name": name, "state": state, "start-time": start, "duration": 12_345}


def set_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Sets the environment's proxy; none if ``url`` is empty."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # Python keeps what the environment said at the first request.
    monkeypatch.setattr("urllib.request._opener", None)
