"""Flink's REST interface, as far as we need it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from deploy.local import cluster_rest
from deploy.local.cluster_rest import NO_ANSWER, newest_jobs
from pipeline.jvm import innermost_cause
from schemas.errors import FlinkError

NO_LEADER = 503
"""What a JobManager says while another one has been lost and none leads yet."""
ENDED = {"FINISHED", "FAILED", "CANCELED"}


class FlinkRest:
    """A JobManager behind its address, or the one of several that answers.

    Args:
        urls: such as ``http://127.0.0.1:8081``. Several: of one cluster, a standby answers for the
            leader.

    Attributes:
        url: where one answered last; the first one before that.

    All methods raise one of NO_ANSWER if none answers.
    """

    def __init__(self, *urls: str) -> None:
        self.urls = urls
        self.url = urls[0]

    def get(self, path: str) -> Any:
        """Asks one address after the other, beginning where one answered last."""
        silent = []
        for url in sorted(self.urls, key=lambda url: url != self.url):
            try:
                answer = ask(url, path)
            except NO_ANSWER as error:
                if isinstance(error, HTTPError) and error.code != NO_LEADER:
                    raise
                silent.append(f"{url}: {error}")
            else:
                self.url = url
                return answer
        raise ConnectionError("; ".join(silent))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """To `url` alone: nothing is ordered twice."""
        return ask(self.url, path, "POST", body)

    def cancel(self, job_id: str) -> None:
        """Ask a job to end, by `url` alone; its retained checkpoints stay."""
        ask(self.url, f"/jobs/{job_id}?mode=cancel", "PATCH")

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs that it remembers, newest first: ``jid``, ``name``, ``state``, …"""
        return newest_jobs(self.get("/jobs/overview"))

    def state(self, job_id: str) -> str:
        """Flink's state of a job, but STARTING until every task of a running one runs."""
        job = self.get(f"/jobs/{job_id}")
        tasks = {vertex["status"] for vertex in job["vertices"]}
        if job["state"] == "RUNNING" and not tasks <= {"RUNNING", "FINISHED"}:
            return "STARTING"
        return str(job["state"])

    def failures(self, job_id: str) -> list[str]:
        """The innermost cause of each failure, newest first.

        Known at once, and one for each restart; Flink's metric of restarts is 10 s behind.
        """
        told = self.get(f"/jobs/{job_id}/exceptions?maxExceptions=100")
        entries = told["exceptionHistory"]["entries"]
        return [innermost_cause(entry["stacktrace"]) for entry in entries]

    def taskmanagers(self) -> int:
        """How many are registered."""
        return int(self.get("/overview")["taskmanagers"])

    def state_bytes(self, job_id: str) -> int:
        """Size of the newest complete checkpoint; 0 without one."""
        newest = self.get(f"/jobs/{job_id}/checkpoints")["latest"]["completed"]
        return int(newest["state_size"]) if newest else 0


def ask(url: str, path: str, method: str = "GET", body: dict[str, Any] | None = None) -> Any:
    """As `cluster_rest.ask`, through the environment's proxy unless it is on loopback."""
    proxied = not is_loopback(urlsplit(url).hostname or "")
    return cluster_rest.ask(url, path, method, body, proxied=proxied)


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def unreachable(rest: FlinkRest, error: Exception) -> FlinkError:
    """For commands that cannot do without an answer."""
    if isinstance(error, HTTPError):
        return FlinkError(
            "Flink refused",
            expected=f"an answer to {error.url}",
            received=f"{error.code}: {error.read()[:500].decode(errors='replace')}",
            fix="see the JobManager's log; `headrace cluster logs` shows it",
        )
    return FlinkError(
        "No JobManager answers",
        expected=f"Flink's REST interface at {' or '.join(rest.urls)}",
        received=str(error) or type(error).__name__,
        fix="`headrace cluster up` starts a local cluster; or name yours with --jobmanager",
    )
