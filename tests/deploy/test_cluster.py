from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import cluster, cluster_rest
from deploy.local.class_archive import archive
from deploy.local.cluster import ClusterStatus
from deploy.local.cluster_config import ClusterFolder
from deploy.local.cluster_process import ClusterProcess, orphans
from deploy.local.process import ProcessRecord
from pipeline.config import Settings, load_settings, with_values
from schemas.errors import FlinkError
from tests.chaos.stage import headrace
from tests.waiting import until
from udfs.assigned_gpu import ancestors


def cluster_settings(run_dir: Path, ports: list[int], **more: object) -> Settings:
    names = ("rest_port", "rpc_port", "standby_rest_port", "zookeeper_port")
    flags = {f"cluster.{name}": port for name, port in zip(names, ports, strict=True)}
    flags |= {f"cluster.{name}": value for name, value in more.items()}
    return load_settings(flags={**flags, "run_dir": run_dir}, environ={})


@pytest.fixture
def settings(tmp_path: Path, free_ports: Callable[[int], list[int]]) -> Settings:
    """Settings of a cluster that does not run."""
    return cluster_settings(tmp_path / "run", free_ports(4))


def status(settings: Settings) -> ClusterStatus:
    return cluster.status(settings.cluster, settings.run_dir)


def kill(name: str, settings: Settings) -> None:
    """As ``kill -9`` does; returns when it is gone."""
    process = ClusterProcess.read(ClusterFolder(settings.run_dir).pid(name))
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not process.alive, "end of a killed process")


def submit(settings: Settings) -> str:
    """Submits a job with a Python function; its id."""
    program = [sys.executable, str(Path(__file__).with_name("ticking_job.py"))]
    arguments = [str(settings.cluster.rest_port), (settings.run_dir / "checkpoints").as_uri()]
    done = subprocess.run(
        [*program, *arguments], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def all_run(url: str, job: str) -> bool:
    """Whether every task of the job runs."""
    answer = cluster_rest.get(url, f"/jobs/{job}") or {"vertices": []}
    return bool(answer["vertices"]) and all(v["status"] == "RUNNING" for v in answer["vertices"])


def checkpoints(url: str, job: str) -> dict[str, int]:
    answer = cluster_rest.get(url, f"/jobs/{job}/checkpoints") or {"counts": {"completed": 0}}
    counts: dict[str, int] = answer["counts"]
    return counts


def workers(name: str, settings: Settings) -> list[ProcessRecord]:
    """The processes that one of the cluster started, and itself."""
    return list(orphans(name, ClusterFolder(settings.run_dir)))


def home_of(java: str, folder: Path) -> Path:
    """A home of Java where ``java`` is that command."""
    binary = folder / "home" / "bin" / "java"
    binary.parent.mkdir(parents=True)
    binary.write_text(f"#!/bin/sh\nexec {java}\n")
    binary.chmod(0o755)
    return folder / "home"


class TestBeforeItRuns:
    def test_nothing_runs_and_that_is_told(self, settings: Settings) -> None:
        told = status(settings)
        assert (told.running, told.note) == (False, "not running")
        assert cluster.stop(settings.cluster, settings.run_dir).note == "was not running"

    @pytest.mark.parametrize("name", ["rest_port", "rpc_port"])
    def test_a_taken_port_is_named_with_its_setting(
        self, settings: Settings, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cluster, "java_home", lambda: tmp_path)
        port = getattr(settings.cluster, name)
        with (
            socket.create_server(("127.0.0.1", port)),
            pytest.raises(FlinkError, match=f"Port {port} ") as error,
        ):
            cluster.start(settings.cluster, settings.run_dir)
        assert f"cluster.{name}" in error.value.fix
        assert status(settings).note == "not running"

    def test_no_java_tells_how_to_get_it(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")
        with pytest.raises(FlinkError, match="Java was not found") as error:
            cluster.start(settings.cluster, settings.run_dir)
        assert "install" in error.value.fix

    @pytest.mark.real
    def test_memory_that_cannot_be_shared_out_is_told_by_flink(
        self, tmp_path: Path, free_ports: Callable[[int], list[int]]
    ) -> None:
        greedy = cluster_settings(tmp_path / "run", free_ports(4), managed_memory_mb=1000)
        with pytest.raises(FlinkError, match="did not start") as error:
            cluster.start(greedy.cluster, greedy.run_dir)
        assert "Managed Memory" in error.value.received

    @pytest.mark.parametrize("java", ["false", "sleep 60"])
    def test_what_does_not_come_up_is_stopped_and_told(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, java: str
    ) -> None:
        monkeypatch.setattr(cluster, "java_home", lambda: home_of(java, tmp_path))
        with pytest.raises(FlinkError, match="did not start") as error:
            cluster.start(settings.cluster, settings.run_dir, patience_s=0.5)
        assert "headrace cluster logs" in error.value.fix
        assert status(settings).note == "not running"
        assert not workers("jobmanager-1", settings)

    def test_a_late_answer_to_the_last_question_is_waited_for(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        def taskmanagers(url: str) -> cluster_rest.Slots | None:
            asked.append(url)
            process = ClusterProcess.read(ClusterFolder(settings.run_dir).pid("taskmanager-1"))
            assert process is not None
            slots = {process.resource_id: {"slots": 1, "free_slots": 1}}
            return None if len(asked) == 2 else slots

        monkeypatch.setattr(cluster, "java_home", lambda: home_of("sleep 60", tmp_path))
        monkeypatch.setattr(cluster_rest, "taskmanagers", taskmanagers)
        try:
            told = cluster.start(settings.cluster, settings.run_dir, 1)
        finally:
            cluster.stop(settings.cluster, settings.run_dir)
        assert (told.running, told.free_slots, len(asked)) == (True, 1, 3)

    def test_an_id_that_another_process_has_by_now_is_gone_not_ours(
        self, settings: Settings
    ) -> None:
        folder = ClusterFolder(settings.run_dir)
        folder.root.mkdir(parents=True)
        ClusterProcess(os.getpid(), "0").write(folder.pid("jobmanager-1"))
        assert status(settings).note == "jobmanager-1 is gone; `headrace cluster up` mends it"
        assert cluster.stop(settings.cluster, settings.run_dir).note == "was not running"
        assert not folder.pid("jobmanager-1").exists()


def test_a_listener_on_every_address_would_be_seen() -> None:
    with socket.create_server(("0.0.0.0", 0)):
        assert "0.0.0.0" in listening_addresses(str(os.getpid()))


@pytest.fixture(scope="module")
def one_cluster(
    tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]
) -> Iterator[Settings]:
    """Settings of the one cluster of `TestACluster`; a space in its folder, as people have them."""
    settings = cluster_settings(tmp_path_factory.mktemp("run dir"), free_ports(4))
    yield settings
    cluster.stop(settings.cluster, settings.run_dir)


@pytest.mark.real
class TestACluster:
    """One cluster, from its start to its stop; the tests build on each other."""

    @pytest.fixture
    def settings(self, one_cluster: Settings) -> Settings:
        return one_cluster

    def test_it_starts_and_grows(self, settings: Settings) -> None:
        one = cluster.start(settings.cluster, settings.run_dir)
        assert one.note.startswith("started jobmanager-1, taskmanager-1 in ")
        assert (one.running, one.slots, one.free_slots) == (True, 1, 1)

        two = cluster.start(settings.cluster, settings.run_dir, 2)
        assert two.note.startswith("started taskmanager-2 in ")
        assert (two.slots, two.masters) == (2, one.masters)
        assert [one["registered"] for one in two.taskmanagers] == [True, True]

        assert cluster.start(settings.cluster, settings.run_dir).note == "was running"

    @pytest.mark.skipif(not archive("cluster").is_file(), reason="make setup makes the archive")
    def test_every_java_uses_the_archive_of_classes(self, settings: Settings) -> None:
        told = status(settings)
        for one in (*told.masters, *told.taskmanagers):
            # Java takes it out of its memory again where the class path is another.
            assert str(archive("cluster")) in Path(f"/proc/{one['pid']}/maps").read_text()

    def test_it_is_not_mixed_with_one_of_other_settings(self, settings: Settings) -> None:
        more_slots = settings.cluster.model_copy(update={"slots": 2})
        with pytest.raises(FlinkError, match="other settings") as error:
            cluster.start(more_slots, settings.run_dir, 3)
        assert "cluster down" in error.value.fix

    def test_it_listens_on_loopback_only(self, settings: Settings) -> None:
        told = status(settings)
        pids = {str(one["pid"]) for one in (*told.masters, *told.taskmanagers)}
        listening = [address for pid in pids for address in listening_addresses(pid)]
        assert len(listening) >= 2 * len(pids)
        assert set(listening) == {"127.0.0.1"}
        assert cluster_rest.get(told.url, "/jars") is None  # web.submit.enable

    def test_a_killed_taskmanager_is_told_its_job_moves_and_up_mends_it(
        self, settings: Settings
    ) -> None:
        job = submit(settings)
        url = status(settings).url
        until(lambda: all_run(url, job) and checkpoints(url, job)["completed"], "checkpoint")
        [busy] = [one for one in status(settings).taskmanagers if not one["free_slots"]]
        python = [one.pid for one in workers(busy["name"], settings) if one.pid != busy["pid"]]
        assert python
        assert all(busy["pid"] in ancestors(pid) for pid in python)  # by which each finds its GPU

        kill(busy["name"], settings)
        until(lambda: status(settings).slots == 1, "notice of the killed TaskManager")
        told = status(settings)
        assert told.note == f"{busy['name']} is gone; `headrace cluster up` mends it"
        [gone] = [one for one in told.taskmanagers if one["name"] == busy["name"]]
        assert (gone["alive"], gone["registered"]) == (False, False)
        until(lambda: all_run(url, job) and checkpoints(url, job)["restored"], "restored job")

        mended = cluster.start(settings.cluster, settings.run_dir)
        assert mended.note.startswith(f"{busy['name']} was gone; started {busy['name']} in ")
        assert (mended.slots, mended.free_slots) == (2, 1)
        assert mended.jobs[0] == {"id": job, "name": mended.jobs[0]["name"], "state": "RUNNING"}
        # What the dead one left behind is gone too.
        assert len(workers(busy["name"], settings)) == 1

    def test_logs_are_shown_with_their_ends(self, settings: Settings) -> None:
        told = {Path(one["file"]).name: one["tail"] for one in cluster.logs(settings.run_dir, 3)}
        assert {"jobmanager-1.out", "taskmanager-2.out"} <= told.keys()
        assert len(told["flink-jobmanager-1-standalonesession-0-localhost.log"].split("\n")) == 3

    def test_it_stops_and_leaves_nothing_behind(self, settings: Settings) -> None:
        told = cluster.stop(settings.cluster, settings.run_dir)
        assert told.note == "stopped taskmanager-2, taskmanager-1, jobmanager-1"
        assert (told.running, told.masters, told.taskmanagers) == (False, [], [])
        names = ("jobmanager-1", "taskmanager-1", "taskmanager-2")
        assert not [one for name in names for one in workers(name, settings)]
        assert not ClusterFolder(settings.run_dir).tmp.exists()


@pytest.mark.real
@pytest.mark.chaos
def test_a_job_outlives_its_jobmanager(
    tmp_path: Path, free_ports: Callable[[int], list[int]]
) -> None:
    settings = cluster_settings(tmp_path / "run", free_ports(4), high_availability=True)
    try:
        cluster.start(settings.cluster, settings.run_dir)
        job = submit(settings)
        first, second = cluster.urls(settings.cluster)
        until(lambda: all_run(second, job) and checkpoints(second, job)["completed"], "checkpoint")
        leader = leading_jobmanager(settings)
        other = second if leader == "jobmanager-1" else first

        kill(leader, settings)
        until(lambda: all_run(other, job) and checkpoints(other, job)["restored"], "restored job")
        told = status(settings)
        assert (told.url, told.jobs[0]["state"]) == (other, "RUNNING")
        assert told.note == f"{leader} is gone; `headrace cluster up` mends it"

        asking = asking_first(leader, settings)
        found = headrace(asking, "status").result["job"]
        assert (found["job_id"], found["state"], found["url"]) == (job, "RUNNING", other)
        ended = headrace(asking, "stop").result
        assert (ended["job_id"], ended["state"]) == (job, "CANCELED")
        # The restored one, if none is complete since.
        assert "/chk-" in ended["checkpoint"]
    finally:
        stopped = cluster.stop(settings.cluster, settings.run_dir)
    assert stopped.note.endswith("zookeeper")


def leading_jobmanager(settings: Settings) -> str:
    granted = "DefaultDispatcherRunner was granted leadership"
    logs = ClusterFolder(settings.run_dir).logs
    [log] = [log for log in logs.glob("flink-jobmanager-*.log") if granted in log.read_text()]
    return "-".join(log.name.split("-")[1:3])


def asking_first(jobmanager: str, settings: Settings) -> Settings:
    """The job's settings, by which commands know the address of this JobManager as the first."""
    values: dict[str, object] = {"job.name": "ticking"}
    if jobmanager == "jobmanager-2":
        values["cluster.rest_port"] = settings.cluster.standby_rest_port
        values["cluster.standby_rest_port"] = settings.cluster.rest_port
    return with_values(settings, values)


def listening_addresses(pid: str) -> list[str]:
    """The addresses that a process listens on."""
    links = Path(f"/proc/{pid}/fd").iterdir()
    sockets = {str(link.readlink()) for link in links if link.is_symlink()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:  # 0A: listening
                raw = bytes.fromhex(fields[1].partition(":")[0])
                found.append(socket.inet_ntoa(raw[-4:][::-1]))
    return found
