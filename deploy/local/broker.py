"""One Kafka broker on this machine, for trying out and for tests. Not for production.

    <run_dir>/broker/
      data/               what Kafka stores; formatted on first start
      logs/broker.log     what Kafka says;  logs/console.log: what Java says
      server.properties   written anew at each start
      broker.pid          the process, see `deploy.local.process`

A single KRaft node, broker and controller in one, listening on ``local.host`` only.
"""

from __future__ import annotations

import base64
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Protocol

from deploy.local.java import find_java
from deploy.local.ports import why_taken
from deploy.local.process import ProcessRecord, signals_put_off
from schemas.errors import BrokerError

HERE = Path(__file__).parent
LIB = HERE / "lib"


class BrokerAddress(Protocol):
    """Where it listens: the section ``local`` of the settings."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def controller_port(self) -> int: ...
    @property
    def heap_mb(self) -> int: ...


@dataclass(frozen=True)
class BrokerStatus:
    """The broker as it is.

    Attributes:
        running: whether its process lives.
        pid: its process id; None if it does not run.
        bootstrap_servers: host:port for clients.
        logs: folder of its logs.
        note: what happened: "started in 2.4 s", "was running", "removed a stale pid file", ...
    """

    running: bool
    pid: int | None
    bootstrap_servers: str
    logs: str
    note: str


class _Folder:
    """The files of one broker."""

    def __init__(self, run_dir: Path) -> None:
        self.root = run_dir.resolve() / "broker"
        self.data = self.root / "data"
        self.logs = self.root / "logs"
        self.properties = self.root / "server.properties"
        self.pid = self.root / "broker.pid"
        self.console = self.logs / "console.log"

    def status(
        self, address: BrokerAddress, process: ProcessRecord | None, note: str
    ) -> BrokerStatus:
        return BrokerStatus(
            running=process is not None,
            pid=process.pid if process else None,
            bootstrap_servers=f"{address.host}:{address.port}",
            logs=str(self.logs),
            note=note,
        )


def start(
    address: BrokerAddress, run_dir: Path, *, lib: Path = LIB, patience_s: float = 60.0
) -> BrokerStatus:
    """Starts the broker and returns when it answers; does nothing if it runs already.

    Raises:
        BrokerError: Java or the jars are missing, a port is taken, or it did not come up.
    """
    folder = _Folder(run_dir)
    process, stale = _remembered(folder)
    if process:
        return folder.status(address, process, "was running")
    java = [find_java(), f"-Xmx{address.heap_mb}m", "-cp", f"{_jars(lib)}/*"]
    _refuse_taken_ports(address)
    began = time.monotonic()
    folder.logs.mkdir(parents=True, exist_ok=True)
    folder.properties.write_text(_properties(address, folder.data), encoding="utf-8")
    if not (folder.data / "meta.properties").exists():
        _format(java, folder)
    process = None
    try:
        with signals_put_off():
            process = _launch(java, folder)
            process.write(folder.pid)
        _wait_until_it_answers(address, process, folder, began + patience_s)
    except BaseException:  # Ctrl-C too, which does not reach it.
        if process:
            process.stop()
        folder.pid.unlink(missing_ok=True)
        raise
    note = f"started in {time.monotonic() - began:.1f} s"
    return folder.status(address, process, f"{stale}; {note}" if stale else note)


def stop(address: BrokerAddress, run_dir: Path) -> BrokerStatus:
    """Stops the broker; does nothing if it does not run."""
    folder = _Folder(run_dir)
    process, stale = _remembered(folder)
    if process is None:
        return folder.status(address, None, stale or "was not running")
    asked = process.stop()
    folder.pid.unlink(missing_ok=True)
    return folder.status(
        address, None, "stopped" if asked else "killed: it did not stop when asked"
    )


def status(address: BrokerAddress, run_dir: Path) -> BrokerStatus:
    """Whether the broker runs."""
    folder = _Folder(run_dir)
    process, stale = _remembered(folder)
    return folder.status(address, process, "running" if process else stale or "not running")


def _remembered(folder: _Folder) -> tuple[ProcessRecord | None, str]:
    """The living process of the pid file; a stale file is removed, and a note says so."""
    process = ProcessRecord.read(folder.pid)
    if process is None or process.alive:
        return process, ""
    folder.pid.unlink()
    return None, f"removed a stale pid file: process {process.pid} is gone"


def _jars(lib: Path) -> Path:
    if not any(lib.glob("kafka_*.jar")):
        raise BrokerError(
            "The Kafka broker's jars are missing",
            expected=f"kafka_*.jar and its dependencies in {lib}",
            received="none",
            fix="make jar",
        )
    return lib


def _refuse_taken_ports(address: BrokerAddress) -> None:
    for name, port in (("port", address.port), ("controller_port", address.controller_port)):
        if reason := why_taken(address.host, port):
            raise BrokerError(
                f"Port {port} of {address.host} cannot be used",
                expected=f"a free port in local.{name}",
                received=reason,
                fix=f"stop what uses it, or set local.{name} to another port "
                "(and kafka.bootstrap_servers with local.port)",
            )


def _properties(address: BrokerAddress, data: Path) -> str:
    template = Template((HERE / "server.properties").read_text(encoding="utf-8"))
    return template.substitute(
        host=address.host, port=address.port, controller_port=address.controller_port, data=data
    )


def _format(java: list[str], folder: _Folder) -> None:
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    command = [*java, "kafka.tools.StorageTool", "format", "--config", str(folder.properties)]
    command += [f"--cluster-id={cluster_id}"]  # One word: the id may begin with a dash.
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BrokerError(
            f"Kafka could not prepare {folder.data}",
            expected="a folder that can be written",
            received=_last_line(done.stderr or done.stdout),
            fix=f"remove {folder.root}, or set run_dir to another folder",
        )


def _launch(java: list[str], folder: _Folder) -> ProcessRecord:
    logging = [
        f"-Dheadrace.logs={folder.logs}",
        f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}",
    ]
    command = [*java, *logging, "kafka.Kafka", str(folder.properties)]
    return ProcessRecord.launch(command, folder.console, folder.root)


def _wait_until_it_answers(
    address: BrokerAddress, process: ProcessRecord, folder: _Folder, deadline: float
) -> None:
    while process.alive and time.monotonic() < deadline:
        if _listens(address) and _answers(address):
            return
        time.sleep(0.05)
    raise BrokerError(
        "The broker did not start",
        expected=f"an answer on {address.host}:{address.port}",
        received=_last_words(folder) or ("none in time" if process.alive else "it died"),
        fix=f"read {folder.logs}/broker.log; `make clean` removes its data",
    )


def _listens(address: BrokerAddress) -> bool:
    try:
        socket.create_connection((address.host, address.port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(address: BrokerAddress) -> bool:
    """Asks for metadata, as every client does first."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": f"{address.host}:{address.port}"})
    try:
        return bool(admin.list_topics(timeout=5).brokers)
    except KafkaException:
        return False


def _last_line(text: str) -> str:
    return (text.splitlines() or ["nothing was said"])[-1]


def _last_words(folder: _Folder) -> str:
    """The last error in the logs."""
    for file in (folder.logs / "broker.log", folder.console):
        lines = (
            file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
        )
        errors = [line for line in lines if "ERROR" in line or "Exception" in line]
        if errors:
            return errors[-1]
    return ""
