"""A Flink cluster on this machine: one JobManager, any number of TaskManagers, loopback only.

Processes are named ``jobmanager-1``, ``taskmanager-1``, ``taskmanager-2``, ...; with high
availability there are ``zookeeper`` and ``jobmanager-2`` too. Files: `deploy.local.cluster_config`.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local import cluster_process, cluster_rest
from deploy.local.cluster_config import ClusterFolder, ClusterOptions
from deploy.local.cluster_process import ClusterProcess
from deploy.local.cluster_rest import Slots
from deploy.local.gpu import refuse_without_gpu
from deploy.local.java import java_home
from deploy.local.ports import why_taken
from schemas.errors import FlinkError


@dataclass(frozen=True)
class ClusterStatus:
    """The cluster as it is.

    Attributes:
        running: whether its REST interface answers.
        url: of that interface and of Flink's page: the first JobManager that answers.
        slots, free_slots: of all registered TaskManagers.
        masters: name, pid and ``alive`` of each JobManager (and of ZooKeeper).
        taskmanagers: the same, with ``registered``, ``slots`` and ``free_slots``. One that died
            stays registered until its heartbeats are missed; one that hangs lives unregistered.
        jobs: id, name and state of each job, the newest first.
        logs: folder of the logs.
        started: names of the processes that were started by this call.
        note: what happened: "started jobmanager-1, taskmanager-1 in 8.1 s", "was running", ...
    """

    running: bool
    url: str
    slots: int
    free_slots: int
    masters: list[dict[str, Any]]
    taskmanagers: list[dict[str, Any]]
    jobs: list[dict[str, str]]
    logs: str
    started: list[str]
    note: str


def start(
    options: ClusterOptions,
    run_dir: Path,
    taskmanagers: int | None = None,
    *,
    patience_s: float = 120.0,
) -> ClusterStatus:
    """Starts what is missing and returns when it all answers.

    Args:
        options: addresses and memory.
        run_dir: the cluster's files are in ``cluster`` there.
        taskmanagers: how many are wanted; more that live stay. None: as many as there were,
            at least one.
        patience_s: how long they may take.

    Raises:
        FlinkError: Java or Flink is missing, a port is taken, a process did not come up, or a
            TaskManager got no GPU that was to have one.
    """
    began = time.monotonic()
    folder = ClusterFolder(run_dir)
    home = java_home()
    wanted = [*_masters(options), *_wanted_taskmanagers(folder, taskmanagers)]
    known = _known(folder)
    gone = [name for name in known if not _alive(folder, name)]
    missing = [name for name in wanted if not _alive(folder, name)]
    if len(gone) < len(known):
        _refuse_other_options(options, folder)
    if missing:
        _refuse_taken_ports(options, missing)
        folder.write(options)
    for name in gone:
        cluster_process.stop(name, folder)
    try:
        started = [cluster_process.launch(name, options, folder, home) for name in missing]
        _wait_until_they_answer(options, folder, missing, started, began + patience_s)
        if options.gpu:
            refuse_without_gpu(dict(zip(missing, started, strict=True)), folder)
    except BaseException:  # Ctrl-C too, which does not reach them.
        for name in reversed(missing):
            cluster_process.stop(name, folder)
        raise
    notes = [f"{name} was gone" for name in gone]
    if missing:
        notes.append(f"started {', '.join(missing)} in {time.monotonic() - began:.1f} s")
    told = _status(options, folder, "; ".join(notes) or "was running", missing)
    # It answered a moment ago, but is busy with its start.
    while missing and not told.running and time.monotonic() < began + patience_s:
        told = _status(options, folder, told.note, missing)
    return told


def status(options: ClusterOptions, run_dir: Path) -> ClusterStatus:
    """What runs, and what does not but should."""
    folder = ClusterFolder(run_dir)
    known = _known(folder)
    gone = [f"{name} is gone" for name in known if not _alive(folder, name)]
    note = "; ".join([*gone, "`headrace cluster up` mends it"]) if gone else "running"
    return _status(options, folder, note if known else "not running")


def stop(options: ClusterOptions, run_dir: Path) -> ClusterStatus:
    """Stops TaskManagers, then JobManagers, then ZooKeeper, and every Python worker of theirs.

    With high availability a job that ran is taken up again at the next start.
    """
    folder = ClusterFolder(run_dir)
    known = list(reversed(_known(folder)))
    stopped: list[str] = []
    with ThreadPoolExecutor() as pool:
        for kind in ("taskmanager", "jobmanager", "zookeeper"):
            # All of a kind at once: else the next TaskManager takes the job over first.
            names = [name for name in known if name.startswith(kind)]
            lived = pool.map(lambda name: cluster_process.stop(name, folder), names)
            stopped += [name for name, one in zip(names, lived, strict=True) if one]
    shutil.rmtree(folder.tmp, ignore_errors=True)
    note = f"stopped {', '.join(stopped)}" if stopped else "was not running"
    return _status(options, folder, note)


def logs(run_dir: Path, lines: int) -> list[dict[str, str]]:
    """Each log file with its last lines, ``{"file", "tail"}``."""
    folder = ClusterFolder(run_dir)
    files = sorted(file for ending in ("log", "out") for file in folder.logs.glob(f"*.{ending}"))
    return [{"file": str(file), "tail": "\n".join(_tail(file, lines))} for file in files]


def _tail(file: Path, lines: int) -> Iterator[str]:
    with file.open(encoding="utf-8", errors="replace") as text:
        yield from (line.rstrip("\n") for line in deque(text, maxlen=lines))


def urls(options: ClusterOptions) -> list[str]:
    """Where each JobManager's REST interface is; a standby answers for the leader."""
    return [f"http://{options.host}:{port}" for port in cluster_process.rest_ports(options)]


def _masters(options: ClusterOptions) -> list[str]:
    return (
        ["zookeeper", "jobmanager-1", "jobmanager-2"]
        if options.high_availability
        else ["jobmanager-1"]
    )


def _wanted_taskmanagers(folder: ClusterFolder, count: int | None) -> list[str]:
    if count is None:
        numbers = [_number(name) for name in _known(folder) if name.startswith("taskmanager-")]
        count = max(numbers, default=1)
    return [f"taskmanager-{number}" for number in range(1, count + 1)]


def _known(folder: ClusterFolder) -> list[str]:
    """Every process with a pid file, in the order of starting."""
    kinds = ("zookeeper", "jobmanager-*", "taskmanager-*")
    return [
        file.stem
        for kind in kinds
        for file in sorted(folder.root.glob(f"{kind}.pid"), key=lambda file: _number(file.stem))
    ]


def _number(name: str) -> int:
    return int(name.partition("-")[2] or 0)


def _alive(folder: ClusterFolder, name: str) -> bool:
    process = ClusterProcess.read(folder.pid(name))
    return process is not None and process.alive


def _refuse_other_options(options: ClusterOptions, folder: ClusterFolder) -> None:
    if not folder.agrees(options):
        raise FlinkError(
            "The cluster runs with other settings",
            expected=f"the settings it was started with, see {folder.conf}",
            received="another host, port, memory, number of slots, high_availability or gpu",
            fix="`headrace cluster down`, then `headrace cluster up`",
        )


def _refuse_taken_ports(options: ClusterOptions, missing: list[str]) -> None:
    ports = {"jobmanager-1": ["rest_port"], "jobmanager-2": ["standby_rest_port"]}
    ports["zookeeper"] = ["zookeeper_port"]
    if not options.high_availability:  # With it, the leader tells its port by ZooKeeper.
        ports["jobmanager-1"].append("rpc_port")
    for setting in (setting for name in missing for setting in ports.get(name, [])):
        port = getattr(options, setting)
        if reason := why_taken(options.host, port):
            raise FlinkError(
                f"Port {port} of {options.host} cannot be used",
                expected=f"a free port in cluster.{setting}",
                received=reason,
                fix=f"stop what uses it, or set cluster.{setting} to another port",
            )


def _wait_until_they_answer(
    options: ClusterOptions,
    folder: ClusterFolder,
    names: list[str],
    processes: list[ClusterProcess],
    deadline: float,
) -> None:
    """Until every JobManager answers and the TaskManagers that were started are registered."""
    wanted = {
        process.resource_id
        for name, process in zip(names, processes, strict=True)
        if name.startswith("taskmanager-")
    }
    waiting = urls(options)
    while waiting and time.monotonic() < deadline:
        dead = [name for name, process in zip(names, processes, strict=True) if not process.alive]
        if dead:
            raise _did_not_start(dead, folder, "it died")
        registered = cluster_rest.taskmanagers(waiting[0])
        # A TaskManager tells its slots a moment after it registered.
        ready = {name for name, one in (registered or {}).items() if one["slots"]}
        if registered is not None and wanted <= ready:
            waiting = waiting[1:]
        else:
            time.sleep(0.1)
    if waiting:
        raise _did_not_start(names, folder, f"no answer on {waiting[0]} in time")


def _did_not_start(names: list[str], folder: ClusterFolder, received: str) -> FlinkError:
    said = (cluster_process.last_words(name, folder) for name in names)
    return FlinkError(
        f"The Flink cluster did not start: {', '.join(names)}",
        expected="a JobManager that answers and TaskManagers that register with it",
        received=next(filter(None, said), received),
        fix=f"read the logs in {folder.logs}, or `headrace cluster logs`",
    )


def _status(
    options: ClusterOptions, folder: ClusterFolder, note: str, started: Sequence[str] = ()
) -> ClusterStatus:
    read = {name: ClusterProcess.read(folder.pid(name)) for name in _known(folder)}
    processes = {name: process for name, process in read.items() if process is not None}
    url, registered = _first_answer(options) if processes else (urls(options)[0], None)
    slots = registered or {}
    members = {name: _member(name, process) for name, process in processes.items()}
    return ClusterStatus(
        running=registered is not None,
        url=url,
        slots=sum(one["slots"] for one in slots.values()),
        free_slots=sum(one["free_slots"] for one in slots.values()),
        masters=[one for name, one in members.items() if not name.startswith("taskmanager-")],
        taskmanagers=[
            one | _registration(processes[name], slots)
            for name, one in members.items()
            if name.startswith("taskmanager-")
        ],
        jobs=cluster_rest.jobs(url) if registered is not None else [],
        logs=str(folder.logs),
        started=list(started),
        note=note,
    )


def _first_answer(options: ClusterOptions) -> tuple[str, Slots | None]:
    """The first JobManager that answers, and the TaskManagers that it knows."""
    answers = ((url, cluster_rest.taskmanagers(url)) for url in urls(options))
    return next((one for one in answers if one[1] is not None), (urls(options)[0], None))


def _member(name: str, process: ClusterProcess) -> dict[str, Any]:
    return {"name": name, "pid": process.pid, "alive": process.alive}


def _registration(process: ClusterProcess, slots: Slots) -> dict[str, Any]:
    mine = slots.get(process.resource_id, {"slots": 0, "free_slots": 0})
    return {"registered": process.resource_id in slots, **mine}
