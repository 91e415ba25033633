from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.process import ENDING, ProcessRecord, signals_put_off

IGNORES_TERM = (
    "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('ready', flush=True); sys.stdin.read()"
)
WAITS = "import sys; print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.kill()
        child.communicate()


def child_of(children: list[subprocess.Popen[bytes]], program: str) -> ProcessRecord:
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    children.append(child)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return ProcessRecord.of(child.pid)


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    record = ProcessRecord(12, "345")
    record.write(file)
    assert ProcessRecord.read(file) == record


@pytest.mark.parametrize("text", ["", '{"pid": 1', '{"pid": 1}', "[]"])
def test_a_half_written_file_counts_as_none_and_is_removed(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pid"
    file.write_text(text)
    assert ProcessRecord.read(file) is None
    assert not file.exists()


def test_a_process_that_has_the_id_by_now_is_not_ours(
    children: list[subprocess.Popen[bytes]],
) -> None:
    ours = child_of(children, WAITS)
    assert ours.alive
    recycled = ProcessRecord(ours.pid, "another time")
    assert not recycled.alive
    recycled.stop(patience_s=0)
    assert ours.alive


def test_stop_asks_first(children: list[subprocess.Popen[bytes]]) -> None:
    record = child_of(children, WAITS)
    assert record.stop()
    assert not record.alive


def test_stop_kills_what_does_not_listen(children: list[subprocess.Popen[bytes]]) -> None:
    record = child_of(children, IGNORES_TERM)
    assert not record.stop(patience_s=0.2)
    assert not record.alive


def test_a_dead_child_that_nobody_waited_for_is_not_alive(
    children: list[subprocess.Popen[bytes]],
) -> None:
    record = child_of(children, WAITS)
    children[0].kill()
    assert record.stop()
    assert ProcessRecord.of(record.pid).born == ""


@pytest.fixture
def ended_by_signals() -> Iterator[None]:
    """All of them as Ctrl-C, as a command has it."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def signalled(number: signal.Signals, done: list[str]) -> None:
    os.kill(os.getpid(), number)
    done.append("all of it")


@pytest.mark.usefixtures("ended_by_signals")
@pytest.mark.parametrize("number", ENDING)
def test_a_signal_waits_until_the_block_is_over(number: signal.Signals) -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt), signals_put_off():
        signalled(number, done)
    assert done
    with pytest.raises(KeyboardInterrupt):  # later ones come at once
        signalled(number, done)
    assert len(done) == 1


def test_other_threads_put_nothing_off() -> None:
    handlers = []

    def work() -> None:
        with signals_put_off():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
