from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.java import find_java, java_home
from schemas.errors import FlinkError


def fake_java(folder: Path, told: str) -> Path:
    java = folder / "home" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho '{told}' >&2\n")
    java.chmod(0o755)
    return java


def test_java_is_found_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = fake_java(tmp_path, 'openjdk version "21.0.1" 2023-10-17')
    monkeypatch.setenv("PATH", str(java.parent))
    assert find_java() == str(java)
    assert java_home() == tmp_path / "home"


def test_a_script_on_path_tells_the_home_of_the_java_that_it_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = 'openjdk version "17.0.1" 2021-10-19\n    java.home = /opt/jdk 17\n'
    monkeypatch.setenv("PATH", str(fake_java(tmp_path, told).parent))
    monkeypatch.setenv("JAVA_HOME", "/another")
    assert java_home() == Path("/opt/jdk 17")


def test_no_java_tells_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FlinkError, match="apt install openjdk-17"):
        find_java()


@pytest.mark.parametrize("told", ['java version "1.8.0_402"', 'openjdk version "11.0.2"', "what?"])
def test_an_old_java_is_refused_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    monkeypatch.setenv("PATH", str(fake_java(tmp_path, told).parent))
    with pytest.raises(FlinkError, match="too old") as error:
        find_java()
    assert error.value.received == told
