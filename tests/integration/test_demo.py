"""`headrace demo` from nothing to its last line; however it ends, it leaves no process behind."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(280)]

SECONDS = 4
RATE = 200
GRACE_S = 5.0
"""How long a process may take to be gone after the command has ended."""

OUTCOMES = ("applied", "duplicate", "late", "forgotten", "dead_lettered")
KEYS = {
    "events_sent",
    *OUTCOMES,
    "control",
    "lists",
    "users",
    "freshness_ms",
    "first_list_s",
    "hit_rate_at_10",
    "popularity_hit_rate_at_10",
}

Start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def mark() -> str:
    """What the environment of the command, and of all that it starts, holds."""
    return f"TEST_MARK={uuid.uuid4()}"


@pytest.fixture
def start(tmp_path: Path, mark: str) -> Iterator[Start]:
    """Starts the demo in an empty folder and a session of its own."""

    def popen() -> subprocess.Popen[str]:
        name, _, value = mark.partition("=")
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "pipeline", "demo", "--json"),
                *("--seconds", str(SECONDS), "--rate", str(RATE)),
            ],
            cwd=tmp_path,
            env=os.environ | {name: value},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=heed_ctrl_c,
        )

    yield popen
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)


def heed_ctrl_c() -> None:
    """As in a terminal: what a shell starts in the background ignores it, with all below."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def marked(mark: str) -> list[int]:
    """Living processes with this mark in their environment."""
    needle = mark.encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if needle in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
        except OSError:  # ended meanwhile, or not ours
            continue
    return found


def left_behind(mark: str) -> list[str]:
    """Command lines of marked processes that do not end within the time of grace."""
    left = []
    for pid in marked(mark):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            handle = os.pidfd_open(pid)
        except OSError:  # ended meanwhile
            continue
        if not select.select([handle], [], [], GRACE_S)[0]:
            left.append(command)
        os.close(handle)
    return left


def test_the_last_line_says_what_happened(start: Start, mark: str) -> None:
    demo = start()
    stdout, stderr = demo.communicate()
    assert demo.returncode == 0, stderr
    assert "Traceback" not in stderr
    assert left_behind(mark) == []
    told = json.loads(stdout.splitlines()[-1])
    assert told.keys() == KEYS

    assert sum(told[outcome] for outcome in OUTCOMES) == told["events_sent"]
    assert told["events_sent"] >= SECONDS * RATE
    assert told["applied"] > 0.9 * told["events_sent"]
    assert told["control"] == 2
    assert told["dead_lettered"] > 0
    assert 0 < told["users"] <= told["lists"] <= told["applied"]
    assert 0 < told["freshness_ms"]["p50"] <= told["freshness_ms"]["p99"]
    assert told["first_list_s"] > 0
    assert 1 >= told["hit_rate_at_10"] > 1.5 * told["popularity_hit_rate_at_10"] > 0


def terminate(demo: subprocess.Popen[str]) -> None:
    """As `kill` does, or a supervisor."""
    demo.terminate()


def interrupt(demo: subprocess.Popen[str]) -> None:
    """As Ctrl-C does: a terminal tells every process of the group."""
    os.killpg(demo.pid, signal.SIGINT)


@pytest.mark.parametrize(
    ("end", "line", "processes"),
    [
        pytest.param(terminate, "engine demo", 2, id="terminated-while-the-job-starts"),
        pytest.param(terminate, " lists ", 4, id="terminated-in-the-play"),
        pytest.param(interrupt, " lists ", 4, id="ctrl-c-in-the-play"),
    ],
)
def test_a_signal_ends_it_and_all_that_it_started(
    start: Start,
    mark: str,
    end: Callable[[subprocess.Popen[str]], None],
    line: str,
    processes: int,
) -> None:
    """``processes``: demo and broker; then also the job and its JVM."""
    demo = start()
    assert demo.stderr is not None
    assert any(line in text for text in demo.stderr)
    assert len(marked(mark)) >= processes  # the check below can see what is there
    end(demo)
    stderr = demo.stderr.read()
    assert demo.wait() == 130, stderr
    assert "Traceback" not in stderr
    assert left_behind(mark) == []
