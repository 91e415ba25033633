"""What Flink's REST interface on loopback tells of the cluster."""

from __future__ import annotations

import json
import urllib.request
from http.client import HTTPException
from typing import Any

Slots = dict[str, dict[str, int]]
"""``{"slots", "free_slots"}`` of each registered TaskManager, by its resource id."""

# Loopback: a proxy of the environment has no part in it.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str, path: str) -> Any:
    """The answer as JSON; None if nobody answers, or not yet."""
    try:
        with _OPENER.open(f"{url}{path}", timeout=5) as reply:
            return json.load(reply)
    except (OSError, HTTPException, ValueError):
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
    answer = get(url, "/jobs/overview") or {"jobs": []}
    newest_first = sorted(answer["jobs"], key=lambda job: -int(job["start-time"]))
    return [{"id": job["jid"], "name": job["name"], "state": job["state"]} for job in newest_first]
