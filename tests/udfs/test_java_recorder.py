"""JVMs that die amid a record, really: the functions' own flight recorder finds it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.udfs.harness import OPTIONS, Harness

pytestmark = pytest.mark.real

RECORDS = 6
KILLER = 4


@pytest.fixture(scope="module")
def command(harness: Harness) -> list[str]:
    return ["java", *OPTIONS, "-cp", harness.class_path, "io.headrace.FlightHarness"]


def run(command: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)


def strikes(folder: Path) -> dict[str, int]:
    """Name of the file → failures, each line of it checked."""
    found = {}
    for file in (folder / "strikes").iterdir():
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            place = (line["where"], line["stage"], line["partition"], line["offset"])
            assert file.name == "{}-{}-{}-{}.jsonl".format(*place)
        found[file.name] = len(lines)
    return found


def test_a_record_that_kills_the_jvm_has_a_strike_for_each_time(
    command: list[str], tmp_path: Path
) -> None:
    name = f"profile-events-3-{KILLER}.jsonl"
    counts = []
    for _ in range(3):
        died = run(command, "profile", tmp_path, RECORDS, KILLER, "halt")
        assert died.returncode == 137
        counts.append(strikes(tmp_path).get(name, 0))
    # The first death is known when the next JVM opens, which raises the count before it tries.
    assert counts == [0, 2, 3]
    assert list(strikes(tmp_path)) == [name]
    passed = run(command, "profile", tmp_path, RECORDS, -1, "halt")
    assert passed.stdout == f"{RECORDS}\n"
    assert strikes(tmp_path) == {}


def test_an_exception_counts_at_once(command: list[str], tmp_path: Path) -> None:
    for count in (1, 2):
        thrown = run(command, "profile", tmp_path, RECORDS, KILLER, "throw")
        assert "ArithmeticException: deadly" in thrown.stderr
        assert strikes(tmp_path) == {f"profile-events-3-{KILLER}.jsonl": count}


@contextmanager
def registry(status_of: Callable[[int], int]) -> Iterator[str]:
    """A schema registry that knows nothing; asked for an id, it answers with this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.path.startswith("/schemas/ids/")
            code = 40403 if asked else 40401
            self.send_response(status_of(int(self.path.rpartition("/")[2])) if asked else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"error_code": code}).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def decode_and_die(command: list[str], folder: Path) -> None:
    """A JVM that is killed in the middle of decoding the record KILLER."""
    started: list[subprocess.Popen[bytes]] = []

    def kill(schema_id: int) -> int:
        if schema_id == KILLER:
            started[0].send_signal(signal.SIGKILL)
        return 404

    with registry(kill) as url:
        started.append(subprocess.Popen([*command, "decode", folder, str(RECORDS), "3", url]))
        assert started[0].wait() == -signal.SIGKILL


def test_decoding_is_recorded_and_the_quarantined_record_is_a_dead_letter(
    command: list[str], tmp_path: Path
) -> None:
    for _ in range(3):
        decode_and_die(command, tmp_path)
    assert strikes(tmp_path) == {f"decode-events-3-{KILLER}.jsonl": 3}
    with registry(lambda schema_id: 404) as url:
        decoded = run(command, "decode", tmp_path, RECORDS, 3, url)
    verdicts = [line.split(", ") for line in decoded.stdout.splitlines()]
    assert [reason for reason, _ in verdicts] == [
        "QUARANTINED" if offset == KILLER else "UNKNOWN_SCHEMA" for offset in range(RECORDS)
    ]
    assert verdicts[KILLER][1] == "the job failed at it 3 times in a row"


def test_negative_control_one_failure_less_is_decoded(command: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        decode_and_die(command, tmp_path)
    with registry(lambda schema_id: 404) as url:
        decoded = run(command, "decode", tmp_path, RECORDS, 3, url)
    assert decoded.stdout.count("UNKNOWN_SCHEMA") == RECORDS
    assert strikes(tmp_path) == {}


def test_what_the_worker_quarantined_is_never_decoded(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "strikes").mkdir()
    (tmp_path / f"strikes/rank-events-3-{KILLER}.jsonl").write_text("{}\n{}\n{}\n")
    (tmp_path / f"strikes/rank-control-3-{KILLER - 1}.jsonl").write_text("{}\n{}\n{}\n")
    with registry(lambda schema_id: 404) as url:
        decoded = run(command, "decode", tmp_path, RECORDS, 3, url)
    assert decoded.stdout.count("QUARANTINED") == 1


def test_a_registry_without_an_answer_is_not_the_records_fault(
    command: list[str], tmp_path: Path
) -> None:
    with registry(lambda schema_id: 403 if schema_id == KILLER else 404) as url:
        thrown = run(command, "decode", tmp_path, RECORDS, 3, url)
    assert "received status 403" in thrown.stderr
    assert strikes(tmp_path) == {}
