from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.local import class_archive
from deploy.local.class_archive import KINDS, LIST, archive, archive_options, class_path, make
from deploy.local.java import find_java
from schemas.errors import FlinkError

FEW = "java/lang/Object\norg/apache/flink/configuration/Configuration\nno/longer/There\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_archive, "ARCHIVES", tmp_path / "archives")


@pytest.fixture
def names(tmp_path: Path) -> Path:
    file = tmp_path / "names.txt"
    file.write_text(FEW)
    return file


def fits(kind: str, jars: Sequence[Path]) -> bool:
    """Whether Java, made to insist on the archive, starts with these jars."""
    command = [find_java(), "-Xshare:on", "-XX:+UseSerialGC", *archive_options(kind)]
    command += ["-cp", os.pathsep.join(map(str, jars)), "-version"]
    return not subprocess.run(command, capture_output=True, check=False).returncode


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_fits_its_class_path_and_no_other(kind: str, names: Path) -> None:
    make(kind, names)
    assert fits(kind, class_path(kind))
    assert not fits(kind, class_path(kind)[::-1])


def test_without_an_archive_java_is_told_nothing() -> None:
    assert archive_options("cluster") == []


def test_a_path_that_flinks_scripts_would_split_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, options in (("plain", 1), ("a space", 0)):
        monkeypatch.setattr(class_archive, "ARCHIVES", tmp_path / folder)
        archive("cluster").parent.mkdir()
        archive("cluster").touch()
        assert len(archive_options("cluster")) == options


def test_a_refusal_of_java_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FlinkError, match="no archive") as error:
        make("cluster", tmp_path / "no list")
    assert "make setup" in error.value.fix
    assert archive_options("cluster") == []


def test_the_list_is_of_the_class_path_and_not_of_a_job() -> None:
    listed = gzip.decompress(LIST.read_bytes()).decode().splitlines()
    assert "org/apache/flink/runtime/taskexecutor/TaskManagerRunner" in listed
    assert not [line for line in listed if "io/headrace/" in line]


def test_the_distribution_comes_last_of_flinks_jars_on_a_cluster() -> None:
    names = [jar.name for jar in class_path("cluster")]
    assert names[-3].startswith("flink-dist-")
    assert names[:-3] == sorted(names[:-3])
