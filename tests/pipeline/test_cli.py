from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from deploy.local import broker
from pipeline import kafka
from pipeline.cli import app

_TOP = get_command(app).commands  # type: ignore[attr-defined]
COMMANDS = [
    words
    for name, command in sorted(_TOP.items())
    for words in ([f"{name} {sub}" for sub in getattr(command, "commands", [])] or [name])
]
SHARED = ("--config", "--set", "--json", "--help")


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_and_the_shared_options(name: str) -> None:
    told = CliRunner().invoke(app, [*name.split(), "--help"]).stdout
    assert f"Example: headrace {name}" in told
    assert all(option in told for option in SHARED)


def test_help_loads_nothing_heavy() -> None:
    heavy = ("numpy", "pandas", "pyarrow", "pydantic", "rich", "confluent_kafka", "pyflink", "onnx")
    program = f"import sys, pipeline.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_validate_lists_every_problem_and_fails() -> None:
    Path("headrace.toml").write_text("[kafka]\npartitions = 0\ntopic = 'x'\n")
    result = CliRunner().invoke(app, ["validate", "--json"])
    told = json.loads(result.stdout)
    assert (result.exit_code, told["valid"]) == (2, False)
    assert [problem["setting"] for problem in told["problems"]] == [
        "kafka.topic",
        "kafka.partitions",
    ]
    Path("headrace.toml").unlink()
    result = CliRunner().invoke(app, ["validate"])
    assert (result.exit_code, result.stdout) == (0, "valid = true\nproblems = []\n")


def test_settings_are_printed_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2")
    Path("headrace.toml").write_text(
        "[kafka]\nsecurity_protocol = 'SASL_SSL'\nsasl_mechanism = 'PLAIN'\n"
        "sasl_username = 'ranker'\nsasl_password = '${env:PASSWORD}'\n"
    )
    for arguments in (["settings"], ["settings", "--json"]):
        output = CliRunner().invoke(app, arguments).output
        assert "**********" in output
        assert "hunter2" not in output


def test_up_refuses_to_start_a_broker_that_clients_would_not_use() -> None:
    result = CliRunner().invoke(app, ["up", "--set", "kafka.bootstrap_servers=elsewhere:9092"])
    assert result.exit_code == 2
    assert "127.0.0.1:19092" in result.stderr


def test_no_java_is_three_lines_and_no_traceback(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path), "HEADRACE_RUN_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "up", "--json"],
        env=environ,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 8
    assert [line.split(":")[0].strip() for line in done.stderr.splitlines()] == [
        "error",
        "expected",
        "received",
        "fix",
    ]
    assert json.loads(done.stdout)["error"] == "FlinkError"


def test_no_broker_is_told_with_its_fix(
    free_ports: Callable[[int], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "ANSWER_S", 0.5)
    (port,) = free_ports(1)
    Path("log.jsonl").touch()
    arguments = [
        "produce",
        "--source",
        "jsonl",
        "log.jsonl",
        "--set",
        f"kafka.bootstrap_servers=127.0.0.1:{port}",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 6
    assert "headrace up" in result.stderr


def test_a_folder_that_cannot_be_written_is_named(
    free_ports: Callable[[int], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "find_java", lambda: "java")
    monkeypatch.setattr(broker, "_jars", lambda lib: lib)
    port, controller_port = free_ports(2)
    given = {
        "run_dir": "/proc/x",
        "local.port": port,
        "local.controller_port": controller_port,
        "kafka.bootstrap_servers": f"127.0.0.1:{port}",
    }
    flags = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    result = CliRunner().invoke(app, ["up", *flags])
    assert result.exit_code == 1
    assert "/proc/x" in result.stderr
    assert "run_dir" in result.stderr


def test_a_store_without_an_engine_says_how_to_make_one() -> None:
    assert CliRunner().invoke(app, ["engines"]).stdout == "engines = []\n"
    result = CliRunner().invoke(app, ["activate", "shop"])
    assert result.exit_code == 5
    assert "headrace train" in result.stderr
