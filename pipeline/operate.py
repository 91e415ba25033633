"""Look after a job on a cluster, or one that `headrace run` runs: `headrace status`, `stop`."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from deploy.local import cluster
from deploy.local.cluster_rest import NO_ANSWER
from pipeline import local
from pipeline.flink import state_folder
from pipeline.lag import lag_records
from pipeline.quarantine import suspects_folder
from pipeline.rest import ENDED, FlinkRest, unreachable
from pipeline.run import POLL_S, job_status
from schemas.errors import FlinkError, KafkaError
from udfs.state_file import read_states

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings

STOPPED_WITHIN_S = 600.0
"""How long a savepoint and the end of a job may take."""
GONE_AFTER_S = 15.0
"""After how long without an answer a JobManager is gone; a standby takes over sooner."""
UNKNOWN = "UNKNOWN"
"""State of a job whose JobManager was gone before it told the last one."""


def jobmanager(settings: Settings, addresses: str | None) -> FlinkRest:
    """The JobManager meant: the one named, else of the running `headrace run`, else the local ones.

    Args:
        settings: where the local ones are.
        addresses: HOST:PORT, several separated by commas, or None.
    """
    if addresses:
        return FlinkRest(*map(url_of, addresses.split(",")))
    if running := job_status(settings):
        return FlinkRest(running["url"])
    return FlinkRest(*cluster.urls(settings.cluster))


def url_of(address: str) -> str:
    host, _, port = address.strip().removeprefix("http://").rstrip("/").rpartition(":")
    if not host or not port.isdigit():
        raise FlinkError(
            "--jobmanager cannot be read",
            expected="HOST:PORT of Flink's REST interface, such as 127.0.0.1:8081",
            received=address,
            fix="write both, with a colon between them; several with commas",
        )
    return f"http://{host}:{port}"


def status(settings: Settings, rest: FlinkRest) -> dict[str, Any]:
    """The local broker and the job.

    Returns:
        ``broker`` as `pipeline.local.status`; ``job``: None if no JobManager answers or it knows
        none of this name, else what `job_facts` says; of one that is still made up only ``job_id``,
        ``state`` and ``url``. Its ``engines``: of each Python worker that can be seen from here
        which engine ranks, and how a trial of another one goes or went.
    """
    facts: dict[str, Any] | None = None
    with suppress(*NO_ANSWER):
        if job := find(settings, rest):
            facts = {"job_id": job["jid"], "state": job["state"], "url": rest.url}
            facts = job_facts(settings, rest, job)
            facts["engines"] = read_states(suspects_folder(settings))
    return {"broker": local.status(settings), "job": facts}


def find(settings: Settings, rest: FlinkRest) -> dict[str, Any] | None:
    """The job by its name: the one that runs, else the one that was started last."""
    named = [job for job in rest.jobs() if job["name"] == settings.job.name]
    running = [job for job in named if job["state"] not in ENDED]
    return next(iter(running + named), None)


def job_facts(settings: Settings, rest: FlinkRest, job: dict[str, Any]) -> dict[str, Any]:
    """What one wants to know of a job.

    Returns:
        ``job_id``, ``state``, ``url``, ``running_s``; ``engine``, ``engine_seq``, ``job_epoch``;
        ``lag_records``: in Kafka and not read yet, None if Kafka does not tell;
        ``restarts`` and ``last_failure``; ``checkpoint``: of the newest complete one ``id``,
        ``age_s``, ``size_bytes``, ``path``, None without one, and without age and size if it is
        the one that the job was restored from; ``failed_checkpoints``.
    """
    job_id = job["jid"]
    failures = rest.failures(job_id)
    told = rest.get(f"/jobs/{job_id}/config")["execution-config"]["user-config"]
    checkpoints = rest.get(f"/jobs/{job_id}/checkpoints")
    return {
        "job_id": job_id,
        "state": rest.state(job_id),
        "url": rest.url,
        "running_s": round(job["duration"] / 1000, 1),
        **{name: told.get(f"headrace.{name}") for name in ("engine", "engine_seq")},
        "job_epoch": told.get("headrace.job.epoch"),
        "lag_records": lag(settings, rest, job_id),
        "restarts": len(failures),
        "last_failure": failures[0] if failures else None,
        "checkpoint": newest_checkpoint(checkpoints["latest"]),
        "failed_checkpoints": checkpoints["counts"]["failed"],
    }


def lag(settings: Settings, rest: FlinkRest, job_id: str) -> int | None:
    """Records that the job has yet to read; None if Kafka does not tell."""
    try:
        return lag_records(settings, rest, job_id)
    except KafkaError:
        return None


def newest_checkpoint(latest: dict[str, Any]) -> dict[str, Any] | None:
    """Of a checkpoint, or the savepoint if that is newer; without either what was restored.

    A JobManager that took over knows of no other until the next one is complete.
    """
    complete = [latest[kind] for kind in ("completed", "savepoint") if latest.get(kind)]
    if not complete:
        return restored_checkpoint(latest)
    newest = max(complete, key=lambda one: one["latest_ack_timestamp"])
    return {
        "id": newest["id"],
        "age_s": round(time.time() - newest["latest_ack_timestamp"] / 1000, 1),
        "size_bytes": newest["state_size"],
        "path": newest["external_path"],
    }


def restored_checkpoint(latest: dict[str, Any]) -> dict[str, Any] | None:
    """What the job goes on from; Flink tells neither its age nor its size."""
    restored = latest.get("restored")
    if not restored:
        return None
    unknown = {"age_s": None, "size_bytes": None}
    return {"id": restored["id"], **unknown, "path": restored["external_path"]}


def stop(
    settings: Settings, rest: FlinkRest, console: Console, *, savepoint: bool
) -> dict[str, Any]:
    """End the job.

    Args:
        settings: the job's name, and where savepoints go.
        rest: of its JobManager.
        console: for progress.
        savepoint: write one first; without, the newest checkpoint is what remains.

    Returns:
        ``{"job_id", "state", "savepoint", "checkpoint"}``: the job's last state as far as it is
        known; paths, None if there is none.

    Raises:
        FlinkError: no such job, or the savepoint failed, and then the job goes on.
    """
    try:
        job = find(settings, rest)
        if job is None or job["state"] in ENDED:
            raise FlinkError(
                f"no job named {settings.job.name} runs",
                expected=f"one on {rest.url}",
                received=f"one that is {job['state']}" if job else "none of that name",
                fix="`headrace status` tells what there is; set job.name or --jobmanager",
            )
        job_id = job["jid"]
        newest = newest_checkpoint(rest.get(f"/jobs/{job_id}/checkpoints")["latest"])
        with console.status("stopping the job"):
            written = stop_with_savepoint(settings, rest, job_id) if savepoint else None
            if_gone = last_state(settings, rest, written)
            if not savepoint:
                rest.cancel(job_id)
            state = wait_for_the_end(rest, job_id, if_gone)
    except NO_ANSWER as error:
        raise unreachable(rest, error) from error
    checkpoint = newest["path"] if newest else None
    return {"job_id": job_id, "state": state, "savepoint": written, "checkpoint": checkpoint}


def stop_with_savepoint(settings: Settings, rest: FlinkRest, job_id: str) -> str:
    """The path of the savepoint, once it is complete."""
    target = {"targetDirectory": state_folder(settings, "savepoints"), "drain": False}
    asked = rest.post(f"/jobs/{job_id}/stop", target)["request-id"]
    deadline = time.monotonic() + STOPPED_WITHIN_S
    while time.monotonic() < deadline:
        answer = rest.get(f"/jobs/{job_id}/savepoints/{asked}")
        if answer["status"]["id"] == "COMPLETED":
            break
        time.sleep(POLL_S)
    operation = answer.get("operation") or {}
    if "location" not in operation:
        cause = operation.get("failure-cause", {}).get("stack-trace", "no answer in time")
        raise FlinkError(
            "the savepoint was not written; the job goes on",
            expected=f"a savepoint in {target['targetDirectory']}",
            received=cause.splitlines()[0],
            fix="see that every machine of the cluster can write there",
        )
    return str(operation["location"])


def last_state(settings: Settings, rest: FlinkRest, savepoint: str | None) -> str:
    """How a job that is told to end has ended if its JobManager is gone before it is asked."""
    if savepoint:  # which is told of only after every task has finished
        return "FINISHED"
    running = job_status(settings)
    # The JobManager of `headrace run` goes when its job has ended, and with the whole process.
    return "CANCELED" if running and running["url"] == rest.url else UNKNOWN


def wait_for_the_end(rest: FlinkRest, job_id: str, if_gone: str = UNKNOWN) -> str:
    """The last state of a job that was told to end.

    Args:
        rest: of its JobManager.
        job_id: of the job.
        if_gone: what a JobManager means that answers no more; if it is UNKNOWN, it is asked again.
    """
    patience_s = GONE_AFTER_S if if_gone == UNKNOWN else 0.0
    heard_s = time.monotonic()
    deadline = heard_s + STOPPED_WITHIN_S
    state = "STOPPING"
    while state not in ENDED and time.monotonic() < deadline:
        try:
            state = rest.get(f"/jobs/{job_id}")["state"]
            heard_s = time.monotonic()
        except NO_ANSWER:
            if time.monotonic() - heard_s >= patience_s:
                return if_gone
        time.sleep(POLL_S)
    return state
