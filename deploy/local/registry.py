"""One schema registry on this machine (Apicurio), for trying out and for tests. Not for production.

    <run_dir>/registry/
      console.log         what it says
      registry.pid        the process, see `deploy.local.process`

It keeps everything in memory: what was registered is gone with it, and ids begin anew.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from deploy.local.java import find_java
from deploy.local.ports import why_taken
from deploy.local.process import ProcessRecord, signals_put_off
from schemas.errors import RegistryError

APP = Path(__file__).parent / "apicurio"
HOST = "127.0.0.1"
PATH = "/apis/ccompat/v7"
JAVA_OPTIONS = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True)
class LocalRegistry:
    """A registry of ours.

    Attributes:
        folder: of its log and pid file.
        port: on loopback.
    """

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """For ``registry.url``."""
        return f"http://{HOST}:{self.port}{PATH}"

    @property
    def _pid_file(self) -> Path:
        return self.folder / "registry.pid"

    @property
    def _console(self) -> Path:
        return self.folder / "console.log"


def start(run_dir: Path, port: int, *, patience_s: float = 60.0) -> LocalRegistry:
    """Starts the registry and returns when it answers; does nothing if it runs already.

    Raises:
        RegistryError: Java or the application is missing, the port is taken, or it did not come up.
    """
    registry = LocalRegistry(run_dir.resolve() / "registry", port)
    process = ProcessRecord.read(registry._pid_file)
    if process and process.alive:
        return registry
    command = _command(port)
    if reason := why_taken(HOST, port):
        raise _refused(f"Port {port} of {HOST} cannot be used", "a free port", reason)
    registry.folder.mkdir(parents=True, exist_ok=True)
    try:
        with signals_put_off():
            process = ProcessRecord.launch(command, registry._console, registry.folder)
            process.write(registry._pid_file)
        _wait_until_it_answers(registry, process, time.monotonic() + patience_s)
    except BaseException:  # Ctrl-C too, which does not reach it.
        stop(registry)
        raise
    return registry


def stop(registry: LocalRegistry) -> None:
    """Stops the registry; does nothing if it does not run."""
    process = ProcessRecord.read(registry._pid_file)
    if process:
        process.stop()
        registry._pid_file.unlink(missing_ok=True)


def _command(port: int) -> list[str]:
    runners = list(APP.glob("apicurio-registry-app-*-runner.jar"))
    if not runners:
        raise RegistryError(
            "The schema registry's jars are missing",
            expected=f"apicurio-registry-app-*-runner.jar in {APP}",
            received="none",
            fix="make jar",
        )
    listen = [f"-Dquarkus.http.host={HOST}", f"-Dquarkus.http.port={port}"]
    return [find_java(), *JAVA_OPTIONS, *listen, "-jar", str(runners[0])]


def _wait_until_it_answers(
    registry: LocalRegistry, process: ProcessRecord, deadline: float
) -> None:
    while process.alive and time.monotonic() < deadline:
        if _answers(registry):
            return
        time.sleep(0.05)
    lines = registry._console.read_text(encoding="utf-8", errors="replace").splitlines()
    told = lines[-1] if lines else "nothing was said"
    raise _refused("The schema registry did not start", f"an answer at {registry.url}", told)


def _answers(registry: LocalRegistry) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{registry.url}/subjects", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def _refused(message: str, expected: str, received: str) -> RegistryError:
    return RegistryError(
        message, expected=expected, received=received, fix="see its log, or use another port"
    )
