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
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(280)]

SECONDS = 4
RATE = 200
GRACE_S = 5.0
"""How long a process may take to be gone after the command has ended."""

HEED_CTRL_C = ("env", "--default-signal=INT")
"""As in a terminal: what a shell starts in the background ignores it, with all below."""

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


@dataclass(frozen=True)
class Ended:
    """A demo that has ended.

    Attributes:
        lived: how many processes it was when it was told to end.
        left: command lines of those that it left behind.
    """

    exit_code: int
    stdout: str
    stderr: str
    lived: int
    left: list[str]


End = Callable[["subprocess.Popen[str]"], None]


def terminate(demo: subprocess.Popen[str]) -> None:
    """As `kill` does, or a supervisor."""
    demo.terminate()


def interrupt(demo: subprocess.Popen[str]) -> None:
    """As Ctrl-C does: a terminal tells every process of the group."""
    os.killpg(demo.pid, signal.SIGINT)


def undisturbed(demo: subprocess.Popen[str]) -> None:
    """It plays to its end."""


ENDS = {
    "played": (undisturbed, "engine demo"),
    "terminated-while-the-job-starts": (terminate, "engine demo"),
    "terminated-in-the-play": (terminate, " lists "),
    "ctrl-c-in-the-play": (interrupt, " lists "),
}
"""How each demo ends, and the line of its output after which that is."""


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ended]]]:
    """All of them, two at a time: one alone does not keep two cores busy."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(ended, tmp_path_factory.mktemp("demo"), *how)
            for name, how in ENDS.items()
        }


def ended(folder: Path, end: End, line: str) -> Ended:
    """Start the demo in an empty folder and a session of its own, and end it after that line."""
    name, value = "TEST_MARK", str(uuid.uuid4())
    mark = f"{name}={value}"
    demo = subprocess.Popen(
        [
            *HEED_CTRL_C,
            *(sys.executable, "-m", "pipeline", "demo", "--json"),
            *("--seconds", str(SECONDS), "--rate", str(RATE)),
        ],
        cwd=folder,
        env=os.environ | {name: value},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert demo.stdout is not None
        assert demo.stderr is not None
        before = list(takewhile(lambda text: line not in text, demo.stderr))
        lived = len(marked(mark))
        end(demo)
        stderr = "".join(before) + demo.stderr.read()
        return Ended(demo.wait(), demo.stdout.read(), stderr, lived, left_behind(mark))
    finally:
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)


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


def test_the_last_line_says_what_happened(demos: dict[str, Future[Ended]]) -> None:
    demo = demos["played"].result()
    assert demo.exit_code == 0, demo.stderr
    assert "Traceback" not in demo.stderr
    assert demo.left == []
    told = json.loads(demo.stdout.splitlines()[-1])
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


@pytest.mark.parametrize(
    ("name", "processes"),
    [
        ("terminated-while-the-job-starts", 2),
        ("terminated-in-the-play", 4),
        ("ctrl-c-in-the-play", 4),
    ],
)
def test_a_signal_ends_it_and_all_that_it_started(
    demos: dict[str, Future[Ended]], name: str, processes: int
) -> None:
    """``processes``: demo and broker; then also the job and its JVM."""
    demo = demos[name].result()
    assert demo.lived >= processes  # the check below can see what is there
    assert demo.exit_code == 130, demo.stderr
    assert "Traceback" not in demo.stderr
    assert demo.left == []
