"""Flink's REST interface: how it is reached, and what it tells of a cluster."""

from __future__ import annotations

import json
import urllib.request
from http.client import HTTPException
from typing import Any

ANSWER_S = 5.0
"""How long a JobManager may take to answer before it counts as unreachable."""
NO_ANSWER = (OSError, HTTPException, ValueError)
"""What asking may raise: it is not up yet, is closing, or knows nothing of the kind."""

Slots = dict[str, dict[str, int]]
"""``{"slots", "free_slots"}`` of each registered TaskManager, by its resource id."""

_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(
    url: str,
    path: str,
    method: str = "GET",
    body: dict[str, Any] | None = None,
    *,
    proxied: bool = False,
) -> Any:
    """The answer as JSON.

    Args:
        url: of a JobManager.
        path: what is asked for.
        method: of HTTP.
        body: sent as JSON.
        proxied: through the environment's proxy; a cluster on this machine is behind none.

    Raises:
        one of NO_ANSWER: nobody answers, or not yet, or it refuses.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url + path, data, headers, method=method)  # noqa: S310 - http
    connect = urllib.request.urlopen if proxied else _WITHOUT_PROXY.open
    with connect(request, timeout=ANSWER_S) as reply:
        return json.load(reply)


def get(url: str, path: str) -> Any:
    """As `ask`, without a proxy, but None without an answer."""
    try:
        return ask(url, path)
    except NO_ANSWER:
        return None


def taskmanagers(url: str) -> Slots | None:
    """The registered TaskManagers; None if nobody answers."""
    answer = get(url, "/taskmanagers")
    if answer is None:
        return None
    return {
        one["id"]: {"slots": one["slotsNumber"], "free_slots": one["freeSlots"]}
        for one in answer["taskmanagers"]
    }


def jobs(url: str) -> list[dict[str, str]]:
    """Id, name and state of each job, the newest first."""
    found = newest_jobs(get(url, "/jobs/overview") or {"jobs": []})
    return [{"id": job["jid"], "name": job["name"], "state": job["state"]} for job in found]


def newest_jobs(overview: dict[str, Any]) -> list[dict[str, Any]]:
    """The jobs of an answer to ``/jobs/overview``, the newest first."""
    return sorted(overview["jobs"], key=lambda job: -int(job["start-time"]))
