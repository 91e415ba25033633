"""Stands between a test and the registry: counts requests, asks for a login, fails on demand."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

PATIENCE_S = 60
Fault = Literal["", "503", "429", "404", "302", "cut", "hang", "html"]
"""What happens to a request; nothing for "". 404 and html are as of some other server."""


class Proxy(ThreadingHTTPServer):
    """On loopback.

    Attributes:
        login: ``user:password`` that is asked for; empty for none.
        fault: of a request, by its path.
        seen: the paths of all requests so far.
    """

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.login = ""
        self.fault: Callable[[str], Fault] = lambda path: ""
        self.seen: list[str] = []
        self._news = threading.Condition()
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def note(self, path: str) -> None:
        with self._news:
            self.seen.append(path)
            self._news.notify_all()

    def wait_for(self, count: int) -> None:
        """Return once so many more requests have come."""
        wanted = len(self.seen) + count
        with self._news:
            assert self._news.wait_for(lambda: len(self.seen) >= wanted, PATIENCE_S), self.seen

    def lookups(self) -> list[int]:
        """The ids that were asked for."""
        return [
            int(path.rsplit("/", 1)[1]) for path in self.seen if path.startswith("/schemas/ids")
        ]

    def fail_next(self, *faults: Fault) -> None:
        """These for the next requests, then none."""
        rest = iter(faults)
        self.fault = lambda path: next(rest, "")


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def _answer(self) -> None:
        self.server.note(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        login = b64encode(self.server.login.encode()).decode()
        fault = self.server.fault(self.path)
        if self.server.login and self.headers.get("Authorization") != f"Basic {login}":
            self._send(401, b'{"error_code": 401, "message": "Unauthorized"}')
        elif fault == "hang":
            self.server.over.wait()
        elif fault == "html":
            self._send(200, b"<html>welcome</html>")
        elif fault == "302":
            self._send(302, b"", Location=f"{self.server.url}/elsewhere")
        elif fault.isdigit():
            self._send(int(fault), b"<html>sorry</html>")
        elif not fault:
            self._send(*self._forwarded(body))

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - names of the base class

    def _forwarded(self, body: bytes) -> tuple[int, bytes]:
        kind = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
        request = urllib.request.Request(
            self.server.target + self.path, body or None, kind, method=self.command
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def proxy_before(target: str) -> Iterator[Proxy]:
    with Proxy(target) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        yield proxy
        proxy.over.set()
        proxy.shutdown()
