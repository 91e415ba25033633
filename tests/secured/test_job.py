"""The whole way over a secured broker, each part with its least privileges; then the canary.

Passwords are random, so each is its own canary: after a run it is searched for everywhere.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline import kafka, scratch
from pipeline.config import load_settings
from pipeline.layers import env_name
from pipeline.scratch import wait_until_running
from pipeline.sources.base import UserEvent
from tests.secured import canary
from tests.secured.broker import HOST
from tests.secured.conftest import Cluster

pytestmark = pytest.mark.real

EVENTS, USERS = 300, 20
START_MS = 1_780_000_000_000
PATIENCE_S = 90.0


@dataclass
class Ran:
    """A run of the job, and what could be seen of it from outside.

    Attributes:
        secret: the job's password.
        told: what the command ended with.
        processes: all that were seen, by command line.
        in_command_lines: those whose command line holds the secret.
        in_environments: those whose environment does.
        answers: what Flink told over REST, by page.
    """

    secret: str
    run_dir: Path
    output: Path
    told: dict[str, Any] = field(default_factory=dict)
    processes: dict[int, bytes] = field(default_factory=dict)
    in_command_lines: set[int] = field(default_factory=set)
    in_environments: set[int] = field(default_factory=set)
    answers: dict[str, bytes] = field(default_factory=dict)

    def look(self, pid: int) -> None:
        """Take down what every process of the run shows of itself now."""
        with suppress(FileNotFoundError, ProcessLookupError):  # one ended meanwhile
            for one in canary.descendants(pid):
                self.processes[one] = Path(f"/proc/{one}/cmdline").read_bytes()
                self.in_command_lines.update(canary.in_proc(self.secret, [one], "cmdline"))
                self.in_environments.update(canary.in_proc(self.secret, [one], "environ"))


@pytest.fixture(scope="module")
def produced(cluster: Cluster) -> dict[str, Any]:
    """`headrace produce` as the producer."""
    log = cluster.folder / "log.jsonl"
    events = [
        UserEvent(f"e-{n}", f"user-{n % USERS}", "abcd"[n * 7 % 4], "click", START_MS + n * 1000)
        for n in range(EVENTS)
    ]
    log.write_text("".join(json.dumps(event.as_record()) + "\n" for event in events))
    return cluster.told("producer", "produce", "--source", "jsonl", str(log))


@contextmanager
def started(
    environ: dict[str, str], run_dir: Path, *words: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`headrace run` as the job, all its temporary files in its run folder."""
    temporary = run_dir / "tmp"
    temporary.mkdir(parents=True)
    own = {
        env_name("run_dir"): str(run_dir),
        "TMPDIR": str(temporary),
        "JAVA_TOOL_OPTIONS": f"{environ['JAVA_TOOL_OPTIONS']} -Djava.io.tmpdir={temporary}",
    }
    command = ["pipeline", "run", "--json", *words]
    with scratch.started(command, environ | own, run_dir) as job:
        yield job


@pytest.fixture(scope="module")
def by_file(cluster: Cluster, produced: dict[str, Any]) -> Ran:
    """An exactly-once run with the password in a file; it logs all that there is to log."""
    ran = new_run(cluster, "by-file")
    given = {
        "job.delivery": "exactly-once",
        "job.checkpoint_interval_ms": "500",
        "job.emit": "every",
    }
    environ = cluster.environment("job") | {env_name(name): given[name] for name in given}
    environ["ROOT_LOG_LEVEL"] = "DEBUG"
    settings = load_settings(flags=cluster.flags("job") | {"run_dir": ran.run_dir}, environ={})
    with started(environ, ran.run_dir) as job:
        status = wait_until_running(settings, job)
        wait_for_lists(cluster, job, ran)
        ran.look(job.pid)
        ran.answers = dict(canary.rest_answers(status["url"], status["job_id"]))
    ran.told = json.loads(ran.output.read_text().splitlines()[-1])
    return ran


@pytest.fixture(scope="module")
def bounded(cluster: Cluster, produced: dict[str, Any]) -> Ran:
    """A bounded run of a job that shows a certificate in place of a password."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make PEM of a key")
    ran = new_run(cluster, "bounded")
    mutual = {
        "bootstrap_servers": f"{HOST}:{cluster.broker.mutual_port}",
        "security_protocol": "SSL",
        "sasl_mechanism": "",
        "sasl_username": "",
        "sasl_password": "",
        "ssl_keystore_location": str(cluster.broker.certificate()),
    }
    with started(cluster.environment("job", **mutual), ran.run_dir, "--bounded") as job:
        job.wait(PATIENCE_S)
    assert job.returncode == 0, ran.output.read_text()
    ran.told = json.loads(ran.output.read_text().splitlines()[-1])
    return ran


def new_run(cluster: Cluster, name: str) -> Ran:
    run_dir = cluster.folder / name
    return Ran(cluster.broker.passwords["headrace-job"], run_dir, run_dir / "job.log")


def wait_for_lists(cluster: Cluster, job: subprocess.Popen[bytes], ran: Ran) -> None:
    """Until a consumer that reads committed records alone has seen a list for every event."""
    settings = load_settings(flags=cluster.flags("consumer"), environ={})
    consumer = kafka.reader(settings, [settings.kafka.recommendations_topic])
    missing = EVENTS
    while missing:
        message = consumer.poll(1.0)
        if message is None:
            assert job.poll() is None, ran.output.read_text()
        elif message.error() is None:
            missing -= 1
    consumer.close()


def test_each_part_works_with_its_least_privileges(
    cluster: Cluster, produced: dict[str, Any], by_file: Ran
) -> None:
    assert produced["delivered"] == EVENTS
    assert (by_file.told["state"], by_file.told["restarts"]) == ("CANCELED", 0)
    told = cluster.told("consumer", "consume", "--limit", "0")
    assert told["users"] == USERS
    assert {one["version"] for one in told["lists"]} == {EVENTS // USERS}
    assert cluster.told("operator", "forget", "--user", "user-1")["topic"] == "control"
    logs = in_logs(by_file)
    assert "AuthorizationException" not in logs
    assert "Failed to commit" not in logs


def test_a_job_may_show_a_certificate_instead(bounded: Ran) -> None:
    assert (bounded.told["state"], bounded.told["restarts"]) == ("FINISHED", 0)
    assert "ssl.keystore.type = PEM" in in_logs(bounded)


def in_logs(ran: Ran) -> str:
    return "".join(file.read_text() for file in (ran.run_dir / "flink").glob("*.log"))


class TestCanary:
    def test_is_in_no_file_of_the_run(self, by_file: Ran) -> None:
        found, looked_at = canary.in_files(by_file.secret, by_file.run_dir)
        assert found == []
        assert looked_at > 5
        names = {path.name for path in by_file.run_dir.rglob("*")}
        assert {"job.log", "checkpoints", "flink", "tmp"} <= names

    def test_is_hidden_where_kafka_shows_its_settings(self, by_file: Ran) -> None:
        logs = in_logs(by_file)
        assert " DEBUG " in logs
        assert "sasl.jaas.config = [hidden]" in logs

    def test_is_in_no_command_line_and_no_environment(self, by_file: Ran) -> None:
        lines = b"\n".join(by_file.processes.values())
        assert b"PythonGatewayServer" in lines
        assert b"pyflink.fn_execution" in lines
        assert by_file.in_command_lines == set()
        assert by_file.in_environments == set()

    def test_is_in_no_answer_of_flink(self, by_file: Ran) -> None:
        answers = by_file.answers
        assert [page for page in answers if canary.holds(answers[page], by_file.secret)] == []
        told = b"\n".join(answers.values())
        for known in (b"headrace", b"rolling-profile", b"checkpointing.interval", b"-Xmx"):
            assert known in told

    @pytest.mark.parametrize("command", ["plan", "settings"])
    def test_is_in_neither_plan_nor_settings(self, cluster: Cluster, command: str) -> None:
        done = cluster.command("job", command)
        assert done.returncode == 0, done.stderr
        secret = cluster.broker.passwords["headrace-job"]
        assert not canary.holds((done.stdout + done.stderr).encode(), secret)

    def test_is_found_where_it_is_planted(self, by_file: Ran, tmp_path: Path) -> None:
        """The negative control of all above."""
        secret = by_file.secret
        for at, planted in enumerate(canary.needles(secret)):
            (tmp_path / f"{at}").write_bytes(b"some" + planted + b"thing")
        (tmp_path / "encoded").write_bytes(base64.b64encode(b"user:" + secret.encode()))
        (tmp_path / secret).touch()
        (tmp_path / "other").write_bytes(b"something")
        found, looked_at = canary.in_files(secret, tmp_path)
        assert len(found) == looked_at - 1
        waiting = [sys.executable, "-c", "print(flush=True), input()", secret]
        pipe = subprocess.PIPE
        with subprocess.Popen(waiting, env={"PASSWORD": secret}, stdin=pipe, stdout=pipe) as child:
            assert child.stdout
            child.stdout.readline()  # now it is what it was started as
            by_file = Ran(secret, tmp_path, tmp_path)
            by_file.look(child.pid)
            child.kill()
        assert by_file.in_command_lines == by_file.in_environments == {child.pid}
