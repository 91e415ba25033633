from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local import cluster_config
from deploy.local.cluster_config import flink_home
from udfs import ranker
from udfs.assigned_gpu import (
    COORDINATION_FILE,
    ORDER,
    VISIBLE,
    ancestors,
    gpus_by_owner,
    use_assigned_gpu,
)

PLUGIN = flink_home() / "plugins" / "external-resource-gpu"
SECOND = {VISIBLE: "1", ORDER: "PCI_BUS_ID"}


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """TaskManager 40, its runner 50, its worker 60; all of them below 1."""
    for pid, name, parent in [
        (1, "init", 0),
        (30, "bash", 1),
        (40, "java", 30),
        (50, "a (b) c", 40),
        (60, "python", 50),
    ]:
        folder = tmp_path / "proc" / str(pid)
        folder.mkdir(parents=True)
        (folder / "stat").write_text(f"{pid} ({name}) S {parent} 0 0 0\n")
    return tmp_path / "proc"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "coordination"


class TestWhichGpu:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("0 39\n1 40\n", SECOND),  # of the TaskManager
            ("1 40\n0 30\n", SECOND),  # the nearest above us
            ("0 40\n1 40\n", SECOND),  # the first is of a dead one that had the same id
            ("0 1\n", {}),  # a container's
            ("0 60\n", {}),  # not of us: a worker asks for none
            ("0 41\n", {}),
            ("", {}),
        ],
    )
    def test_it_is_that_of_the_nearest_process_above(
        self, text: str, found: dict[str, str], proc: Path, file: Path
    ) -> None:
        file.write_text(text)
        environ: dict[str, str] = {}
        use_assigned_gpu(environ, 60, file, proc)
        assert environ == found

    @pytest.mark.parametrize("chosen", ["3", "", "GPU-5d5c"])
    def test_what_somebody_chose_stays(self, chosen: str, proc: Path, file: Path) -> None:
        file.write_text("1 40\n")
        environ = {VISIBLE: chosen}
        use_assigned_gpu(environ, 60, file, proc)
        assert environ == {VISIBLE: chosen}

    def test_numbers_are_those_of_nvidia_smi(self, proc: Path, file: Path) -> None:
        file.write_text("1 40\n")
        environ = {ORDER: "FASTEST_FIRST"}
        use_assigned_gpu(environ, 60, file, proc)
        assert environ == SECOND

    def test_without_the_file_nothing_is_said(
        self, proc: Path, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        environ: dict[str, str] = {}
        use_assigned_gpu(environ, 60, file, proc)
        assert (environ, caplog.text) == ({}, "")

    @pytest.mark.parametrize(
        "spoilt",
        [b"1 40\nrubbish\n", b"1 40 41\n", b"GPU-5d5c 40\n", b"1 40\n\n", b"\xff\n", b"-1 40\n"],
    )
    def test_a_spoilt_file_is_told_and_decides_nothing(
        self, spoilt: bytes, proc: Path, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file.write_bytes(spoilt)
        environ: dict[str, str] = {}
        use_assigned_gpu(environ, 60, file, proc)
        assert environ == {}
        [record] = caplog.records
        assert (record.levelno, str(file) in record.message) == (logging.WARNING, True)

    def test_a_file_that_cannot_be_read_is_told(
        self, proc: Path, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file.mkdir()
        use_assigned_gpu({}, 60, file, proc)
        assert "IsADirectory" in caplog.text or "Is a directory" in caplog.text

    def test_it_is_known_before_an_engine_is_opened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def chosen(environ: object) -> None:
            assert environ is os.environ
            raise InterruptedError  # before anything else, which would fail without settings

        monkeypatch.setattr(ranker, "use_assigned_gpu", chosen)
        with pytest.raises(InterruptedError):
            ranker.live_engine(None)  # type: ignore[arg-type]


class TestAncestors:
    def test_from_the_parent_up_without_the_first(self, proc: Path) -> None:
        assert list(ancestors(60, proc)) == [50, 40, 30]

    def test_what_is_gone_or_hidden_ends_them(self, proc: Path) -> None:
        (proc / "40" / "stat").unlink()
        assert list(ancestors(60, proc)) == [50, 40]
        assert list(ancestors(70, proc)) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
    def test_ours(self) -> None:
        assert next(ancestors(os.getpid())) == os.getppid()


class TestTheFile:
    @given(st.lists(st.tuples(st.integers(0, 15), st.integers(1, 2**22))))
    def test_the_last_line_of_a_process_counts(self, lines: list[tuple[int, int]]) -> None:
        text = "".join(f"{gpu} {pid}\n" for gpu, pid in lines)
        assert gpus_by_owner(text) == {pid: gpu for gpu, pid in lines}

    @given(st.text(st.characters(max_codepoint=127)))
    def test_nothing_but_its_lines_is_understood(self, text: str) -> None:
        if all(re.fullmatch("[0-9]+ [0-9]+", line) for line in text.splitlines()):
            gpus_by_owner(text)
        else:
            with pytest.raises(ValueError, match="expected <gpu> <process>"):
                gpus_by_owner(text)

    def test_workers_local_cluster_and_flinks_own_script_know_the_same(self) -> None:
        assert COORDINATION_FILE == cluster_config.GPU_COORDINATION
        script = (PLUGIN / "nvidia-gpu-discovery.sh").read_text()
        assert f'COORDINATION_FILE="{COORDINATION_FILE}"' in script


WORKER = """
import os, sys
from pathlib import Path
from udfs.assigned_gpu import VISIBLE, use_assigned_gpu
use_assigned_gpu(os.environ, file=Path(sys.argv[1]))
print(os.environ.get(VISIBLE, "none"))
"""
TASKMANAGER = """
import subprocess, sys
script, file, worker = sys.argv[1:]
options = ["1", "--enable-coordination-mode", "--coordination-file", file]
subprocess.run([script, *options], stdout=subprocess.DEVNULL)
subprocess.run(["bash", "-c", '"$0" -c "$1" "$2" | cat', sys.executable, worker, file])
sys.stdin.read()
"""
"""A stand-in that asks as Flink does, starts a worker, and lives until its input ends."""


@pytest.mark.skipif(sys.platform != "linux", reason="Flink's script needs Linux")
class TestFlinksOwnScript:
    @pytest.fixture
    def taskmanager(
        self, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Callable[[], tuple[subprocess.Popen[str], str]]]:
        """Starts one on a machine with two GPUs: it, and what its worker found."""
        smi = tmp_path / "bin" / "nvidia-smi"
        smi.parent.mkdir()
        smi.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
        smi.chmod(0o755)
        monkeypatch.setenv("PATH", str(smi.parent), prepend=os.pathsep)
        monkeypatch.delenv(VISIBLE, raising=False)
        command = [sys.executable, "-c", TASKMANAGER]
        command += [str(PLUGIN / "nvidia-gpu-discovery.sh"), str(file), WORKER]
        started: list[subprocess.Popen[str]] = []

        def start() -> tuple[subprocess.Popen[str], str]:
            one = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            started.append(one)
            assert one.stdout is not None
            return one, one.stdout.readline().strip()

        yield start
        for one in started:
            one.communicate()

    def test_each_worker_finds_its_taskmanagers_gpu(
        self, taskmanager: Callable[[], tuple[subprocess.Popen[str], str]], file: Path
    ) -> None:
        first, gpu = taskmanager()
        assert gpu == "0"
        second, gpu = taskmanager()
        assert gpu == "1"
        _, gpu = taskmanager()
        assert gpu == "none"  # there is no third
        assert file.read_text() == f"0 {first.pid}\n1 {second.pid}\n"

        first.communicate()
        third, gpu = taskmanager()
        assert gpu == "0"  # the dead one's
        assert file.read_text() == f"1 {second.pid}\n0 {third.pid}\n"

        ours: dict[str, str] = {}
        use_assigned_gpu(ours, file=file)
        assert ours == {}  # who descends from none has none
