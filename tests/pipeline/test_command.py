from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipeline.command import Call, register
from schemas.errors import BrokerError


def answer(call: Call, times: int = 1) -> dict[str, Any]:
    """Answer."""
    return {"a": {"b": "x" * times, "c": [{"d": 1}, {"d": None}]}, "e": [1, 2], "f": "two\nlines"}


def fail(call: Call) -> dict[str, Any]:
    raise BrokerError("It broke", expected="whole", received="broken", fix="mend it")


def show(call: Call) -> dict[str, Any]:
    call.shown.add("a")
    return {"a": 1, "b": 2}


def touch(call: Call) -> dict[str, Any]:
    Path("/proc/x").mkdir()
    return {}


def measure(call: Call) -> dict[str, Any]:
    return {"rate": float("nan")}


def interrupt(call: Call) -> dict[str, Any]:
    raise KeyboardInterrupt


def partitions(call: Call) -> dict[str, Any]:
    return {"partitions": call.settings.kafka.partitions}


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    for body in (answer, show, fail, touch, measure, interrupt, partitions):
        register(made, body)
    return made


def test_a_result_is_printed_as_lines(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["answer", "--times", "2"])
    assert result.exit_code == 0
    assert result.stdout == "a.b = xx\na.c.1.d = 1\na.c.2.d = null\ne = [1, 2]\ntwo\nlines\n"


def test_or_as_one_line_of_json(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["answer", "--json"])
    assert json.loads(result.stdout) == answer(Call(None, [], True))


def test_what_was_shown_already_is_repeated_in_json_only(app: typer.Typer) -> None:
    assert CliRunner().invoke(app, ["show"]).stdout == "b = 2\n"
    assert json.loads(CliRunner().invoke(app, ["show", "--json"]).stdout) == {"a": 1, "b": 2}


def test_an_error_says_expected_received_and_fix_on_stderr(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["fail"])
    assert result.exit_code == BrokerError.exit_code
    assert result.stdout == ""
    assert result.stderr == (
        "error: It broke\n  expected: whole\n  received: broken\n  fix: mend it\n"
    )


def test_with_json_an_error_is_the_last_line_too(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["fail", "--json"])
    assert result.exit_code == BrokerError.exit_code
    assert json.loads(result.stdout)["fix"] == "mend it"


def test_what_the_operating_system_refuses_is_no_traceback(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["touch", "--json"])
    assert result.exit_code == 1
    lines = [line.split(":")[0].strip() for line in result.stderr.splitlines()]
    assert lines == ["error", "expected", "received", "fix"]
    told = json.loads(result.stdout)
    assert "/proc/x" in told["received"]
    assert "/proc/x" in told["fix"]


def test_nan_is_never_printed_as_json(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["measure", "--json"])
    assert isinstance(result.exception, ValueError)
    assert result.stdout == ""


def test_ctrl_c_ends_without_a_traceback(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["interrupt"])
    assert result.exit_code == 130
    assert result.output == ""


def test_set_wins_and_is_read_by_type(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["partitions", "--set", "kafka.partitions = 9"])
    assert result.stdout == "partitions = 9\n"
    result = CliRunner().invoke(app, ["partitions", "--set", "kafka.partitions"])
    assert (result.exit_code, "NAME=VALUE" in result.stderr) == (2, True)
    assert "fix: " in result.stderr
