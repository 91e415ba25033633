"""Looks for a secret where it must not be: in files, command lines, answers of Flink."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

# Answers that Flink gives over REST; those with braces are asked for each job and vertex.
CLUSTER_PAGES = (
    "/config",
    "/overview",
    "/jobmanager/config",
    "/jobmanager/environment",
    "/jobmanager/logs",
    "/jobmanager/log",
    "/jobmanager/stdout",
    "/jobmanager/thread-dump",
    "/taskmanagers",
    "/jobs/overview",
)
JOB_PAGES = (
    "",
    "/config",
    "/plan",
    "/exceptions",
    "/checkpoints",
    "/checkpoints/config",
    "/accumulators",
)
VERTEX_PAGES = ("", "/taskmanagers", "/accumulators", "/metrics")


def needles(secret: str) -> list[bytes]:
    """The secret as it is, as UTF-16 and as base64, whatever stands before it there."""
    raw = secret.encode()
    encoded = {base64.b64encode(b"\0" * shift + raw)[4:-4] for shift in range(3)}
    return [raw, secret.encode("utf-16-le"), *encoded]


def holds(content: bytes, secret: str) -> bool:
    return any(needle in content for needle in needles(secret))


def in_files(secret: str, folder: Path) -> tuple[list[str], int]:
    """The files under a folder that hold the secret, by content or name; how many there are."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(f) for f in files if holds(f.read_bytes(), secret) or secret in str(f)], len(files)


def descendants(pid: int) -> list[int]:
    """A process and all that it started."""
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return [pid, *(below for child in children for below in descendants(child))]


def in_proc(secret: str, pids: list[int], name: str) -> list[int]:
    """The processes whose ``/proc/<pid>/<name>`` holds the secret."""
    return [pid for pid in pids if holds(Path(f"/proc/{pid}/{name}").read_bytes(), secret)]


def rest_answers(url: str, job_id: str) -> Iterator[tuple[str, bytes]]:
    """What Flink tells of itself and the job, page by page."""
    job = f"/jobs/{job_id}"
    vertices = [vertex["id"] for vertex in json.loads(get(url + job))["vertices"]]
    managers = [one["id"] for one in json.loads(get(f"{url}/taskmanagers"))["taskmanagers"]]
    pages = [*CLUSTER_PAGES, *(job + page for page in JOB_PAGES)]
    pages += [f"{job}/vertices/{vertex}{page}" for vertex in vertices for page in VERTEX_PAGES]
    pages += [f"/taskmanagers/{one}{page}" for one in managers for page in ("", "/logs", "/log")]
    for page in pages:
        yield page, get(url + page)


def get(url: str) -> bytes:
    """The answer; of a page that is not there, the error."""
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return bytes(reply.read())
    except HTTPError as error:
        return error.read()
