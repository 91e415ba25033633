from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.local.process import ProcessRecord

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

WORKER = """
import os, threading
from udfs.lifeline import end_with_the_jvm
end_with_the_jvm()
print(os.getpid(), flush=True)
threading.Event().wait()
"""
"""Hangs like a worker of a JVM that was killed."""

JVM = "import subprocess, sys; subprocess.run(['bash', sys.argv[1], sys.executable])"


def started(script: Path) -> tuple[subprocess.Popen[str], ProcessRecord]:
    """A stand-in for the JVM, and the worker that it started by a script."""
    (script.parent / "worker.py").write_text(WORKER)
    script.write_text(f'"$1" {script.parent / "worker.py"} | tee /dev/null\n')
    jvm = subprocess.Popen(
        [sys.executable, "-c", JVM, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    assert jvm.stdout is not None
    return jvm, ProcessRecord.of(int(jvm.stdout.readline()))


def test_a_worker_ends_with_its_jvm(tmp_path: Path) -> None:
    jvm, worker = started(tmp_path / "pyflink-udf-runner.sh")
    assert worker.alive
    jvm.kill()  # nobody buries it: a zombie is gone, too
    deadline = time.monotonic() + 60
    while worker.alive:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    jvm.communicate()


def test_what_is_no_worker_of_flink_is_left_alone(tmp_path: Path) -> None:
    jvm, other = started(tmp_path / "something-else.sh")
    assert len(list(Path(f"/proc/{other.pid}/task").iterdir())) == 1  # nothing watches
    os.kill(other.pid, signal.SIGKILL)
    jvm.communicate()
