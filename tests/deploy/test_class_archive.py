from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.local import class_archive
from deploy.local.class_archive import CLASS_LIST, KINDS, archive, archive_options, class_path, make
from deploy.local.java import find_java
from schemas.errors import FlinkError

FEW = "java/lang/Object\norg/apache/flink/configuration/Configuration\nno/longer/There\n"
HALFWAY = """#!/bin/sh
for option; do
    case $option in -XX:SharedArchiveFile=*) file=${option#*=} ;; esac
done
touch "$file" && echo "begun $(basename "$file"), no space left" >&2
exit 1
"""
"""A Java that gives up when it has begun an archive."""


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


@pytest.mark.real
@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_fits_its_class_path_and_no_other(kind: str, names: Path) -> None:
    make(kind, names)
    assert fits(kind, class_path(kind))
    assert not fits(kind, class_path(kind)[::-1])


@pytest.mark.real
def test_an_archive_that_does_not_fit_says_nothing_where_results_are_read(names: Path) -> None:
    make("client", names)
    jars = os.pathsep.join(map(str, class_path("client")[::-1]))
    command = [find_java(), "-Xshare:auto", *archive_options("client"), "-cp", jars, "-version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not done.stdout


def test_without_an_archive_java_is_told_nothing() -> None:
    assert archive_options("cluster") == []


def test_a_path_that_flinks_scripts_would_split_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, told in (("plain", True), ("a space", False)):
        monkeypatch.setattr(class_archive, "ARCHIVES", tmp_path / folder)
        archive("cluster").parent.mkdir()
        archive("cluster").touch()
        assert bool(archive_options("cluster")) == told


def test_a_refusal_of_java_is_told_and_leaves_nothing(
    names: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text(HALFWAY)
    java.chmod(0o755)
    monkeypatch.setattr(class_archive, "find_java", lambda: str(java))
    with pytest.raises(FlinkError, match="no archive") as error:
        make("cluster", names)
    assert error.value.received == "begun cluster.partial, no space left\n"
    assert "-m deploy.local.class_archive" in error.value.fix
    assert not list(class_archive.ARCHIVES.iterdir())


def test_the_list_is_of_the_class_path_and_not_of_a_job() -> None:
    listed = gzip.decompress(CLASS_LIST.read_bytes()).decode().splitlines()
    assert "org/apache/flink/runtime/taskexecutor/TaskManagerRunner" in listed
    assert not [line for line in listed if "io/headrace/" in line]


def test_the_distribution_comes_last_of_flinks_jars_on_a_cluster() -> None:
    names = [jar.name for jar in class_path("cluster")]
    assert names[-3].startswith("flink-dist-")
    assert names[:-3] == sorted(names[:-3])
