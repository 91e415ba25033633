"""Hand the job to a Flink cluster: `headrace submit`, as ``flink run -py`` would.

The client plans in a JVM of its own and sends the job with its jars and its Python packages; the
cluster needs only a Python with what these import. From then on the job is the cluster's.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import engines
import schemas
import udfs
from deploy.local.cluster_config import CONNECTOR, added_jars
from deploy.local.cluster_rest import NO_ANSWER
from pipeline import checkpoints, flink, kafka, plan
from pipeline.jvm import jvm_errors
from pipeline.operate import wait_for_the_end
from pipeline.rest import ENDED, FlinkRest, unreachable
from pipeline.rights import check_job_rights
from pipeline.run import POLL_S, check_engine, with_epoch
from pipeline.topics import check_topics
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from rich.console import Console

    from engines.active import Active
    from pipeline.config import Settings

RUNNING_WITHIN_S = 180.0
PACKAGES = (udfs, engines, schemas)
"""What the ranking function imports, sent along so that code and job are of one release."""
LEFT_BEHIND = shutil.ignore_patterns("java", "jars", "store", "__pycache__")


def submit(
    settings: Settings,
    rest: FlinkRest,
    console: Console,
    *,
    state: str | None = None,
) -> dict[str, Any]:
    """Submit the job and wait until every task of it runs.

    Args:
        settings: ``job.epoch`` 0 becomes the present time in ms.
        rest: of the JobManager.
        console: for progress.
        state: path or URI of the savepoint or checkpoint to go on from, or ``latest`` for the
            newest checkpoint; None: start from empty state.

    Returns:
        ``{"job_id", "url", "state", "start_s", "job_epoch", "restored_from"}``.

    Raises:
        HeadraceError: something that the job needs is missing, or it does not come to run.
    """
    started = time.monotonic()
    settings = with_epoch(settings)
    engine = check_engine(settings, here=False)
    check_topics(settings)
    check_job_rights(settings)
    kafka.check_transactions(settings)
    check_cluster(settings, rest)
    restored_from = checkpoints.resolve(settings, state) if state else None
    with going_on_from(restored_from, settings):
        with jvm_errors(settings), console.status("submitting the job"):
            job_id = send(settings, engine, rest, restored_from)
        console.print(f"job {job_id} is submitted: {page(rest, job_id)}", soft_wrap=True)
        wait_until_running(settings, rest, job_id, console)
    start_s = round(time.monotonic() - started, 1)
    console.print(f"it runs with {engine.label} after {start_s} s")
    return {
        "job_id": job_id,
        "url": page(rest, job_id),
        "state": "RUNNING",
        "start_s": start_s,
        "job_epoch": settings.job.epoch,
        "restored_from": restored_from,
    }


@contextmanager
def going_on_from(state: str | None, settings: Settings) -> Iterator[None]:
    """An error names the state that the job was to go on from, and an older one."""
    try:
        yield
    except FlinkError as error:
        if state is None:
            raise
        raise FlinkError(
            "the job does not start from this state",
            expected=f"a whole checkpoint or savepoint of this job at {state}",
            received=error.received,
            fix=f"{checkpoints.advice(settings, state)}; or {error.fix}",
        ) from error


def page(rest: FlinkRest, job_id: str) -> str:
    """Flink's web page of a job."""
    return f"{rest.url}/#/job/{job_id}/overview"


def check_cluster(settings: Settings, rest: FlinkRest) -> None:
    """Refuse a cluster of another Flink, without room, or with this job on it.

    Raises:
        FlinkError: one of these, or no answer.
    """
    from pyflink.version import __version__ as ours

    try:
        overview, jobs = rest.get("/overview"), rest.jobs()
    except NO_ANSWER as error:
        raise unreachable(rest, error) from error
    if overview["flink-version"] != ours:
        raise FlinkError(
            f"{rest.url} is another Flink",
            expected=f"Flink {ours}, as installed here",
            received=overview["flink-version"],
            fix="upgrade one of the two",
        )
    for job in jobs:
        if job["name"] == settings.job.name and job["state"] not in ENDED:
            raise FlinkError(
                f"a job named {settings.job.name} is there already",
                expected="one job of a name on a cluster",
                received=f"{job['jid']}, {job['state']}",
                fix="`headrace stop --savepoint` stops it; or set job.name",
            )
    if overview["slots-available"] < settings.job.parallelism:
        raise FlinkError(
            "the cluster has no room for the job",
            expected=f"{settings.job.parallelism} free slots (job.parallelism)",
            received=f"{overview['slots-available']} of {overview['slots-total']}",
            fix="more TaskManagers: `headrace cluster up --taskmanagers N` for a local cluster",
        )


def send(settings: Settings, engine: Active, rest: FlinkRest, restored_from: str | None) -> str:
    """Plan the job and hand it over; its id."""
    where = remote(rest, staged_packages(settings.run_dir / "flink" / "python"))
    if restored_from:
        where["execution.state-recovery.path"] = restored_from
    tables = flink.table_environment(settings, where)
    client = plan.load(tables, settings, engine).execute().get_job_client()
    return str(client.get_job_id())


def remote(rest: FlinkRest, packages: Path) -> dict[str, str]:
    """Flink's settings for a client of a cluster.

    Raises:
        FlinkError: no JobManager answers.
    """
    try:
        there = rest.get("/jobmanager/environment")["classpath"]
    except NO_ANSWER as error:
        raise unreachable(rest, error) from error
    address = urlsplit(rest.url)  # of the one that answered
    return {
        "execution.target": "remote",
        "rest.address": str(address.hostname),
        "rest.port": str(address.port),
        "pipeline.jars": ";".join(jar.resolve().as_uri() for jar in jars_to_send(there)),
        "python.files": str(packages.resolve()),
    }


def jars_to_send(class_path: Sequence[str]) -> list[Path]:
    """The job's jars and Flink's own for Python, less what the cluster has.

    They are 50 MB, which every TaskManager that takes the job over would fetch.

    Args:
        class_path: of the JobManager.
    """
    there = {Path(entry).name for entry in class_path}
    ours = [jar for jar in flink.jars() if jar.name != CONNECTOR]
    return [*ours, *(jar for jar in added_jars() if jar.name not in there)]


def staged_packages(folder: Path) -> Path:
    """A folder with the Python packages of the job; Flink packs it and puts it on their path."""
    shutil.rmtree(folder, ignore_errors=True)
    for package in PACKAGES:
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, folder / source.name, ignore=LEFT_BEHIND)
    return folder


def wait_until_running(settings: Settings, rest: FlinkRest, job_id: str, console: Console) -> None:
    """Return once every task runs.

    A job that does not come to run is cancelled: it would try on, and be in the way of the next.

    Raises:
        FlinkError: the job failed, ended, or needs too long.
    """
    deadline = time.monotonic() + RUNNING_WITHIN_S
    state = ""
    failures: list[str] = []
    with console.status("waiting for its tasks") as line:
        # After more failures than a deadly record takes to be set aside it is something else.
        while time.monotonic() < deadline and len(failures) <= settings.job.quarantine_after:
            try:
                state, failures = rest.state(job_id), rest.failures(job_id)
            except NO_ANSWER:  # the JobManager is making up the job
                state = state or "INITIALIZING"
            if state == "RUNNING":
                return
            if state in ENDED:
                break
            line.update(
                f"waiting for its tasks: {state}" + "".join(f" ({f})" for f in failures[:1])
            )
            time.sleep(POLL_S)
    if state not in ENDED:
        with suppress(*NO_ANSWER):
            rest.cancel(job_id)
        wait_for_the_end(rest, job_id)
    raise FlinkError(
        "the job does not run",
        expected="every task running",
        received=f"{state}: {failures[0] if failures else 'no failure is known'}",
        fix=f"see {rest.url}/#/job/{job_id}/exceptions and the logs of the TaskManagers",
    )
