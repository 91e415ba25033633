"""A record that ends the TaskManager's JVM, again and again: found by its offset and set aside.

The job's jar is a test's own: its RollingProfile halts the JVM at an event of a certain item.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.local.cluster_config import JARS, flink_home
from deploy.local.java import java_home
from engines.catalogue import item_hash
from pipeline import kafka
from pipeline.flink import NEEDED_JARS
from schemas.errors import FlinkError
from schemas.reasons import Reason
from tests.chaos.conftest import Acted
from tests.chaos.play import FAULT_AT, Play
from tests.chaos.stage import Stage, headrace
from tests.integration import scenario
from tests.integration.conftest import START_MS
from tests.integration.reference import Place

if TYPE_CHECKING:
    from confluent_kafka import Message

pytestmark = [pytest.mark.real, pytest.mark.chaos, pytest.mark.timeout(900)]

FAILURES = 3
SET_ASIDE_WITHIN_S = 300.0
SOURCE = Path(__file__).parents[2] / "udfs/java/src/main/java/io/headrace/RollingProfile.java"
BEGIN = "recorder.begin(FlightRecorder.EVENTS, input.getInt(8), input.getLong(9));"


@pytest.fixture(scope="module")
def deadly_jars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the job's jars, one of them deadly."""
    folder = tmp_path_factory.mktemp("jars")
    for name in NEEDED_JARS:
        shutil.copy(JARS / name, folder)
    source, classes = folder / SOURCE.name, folder / "classes"
    source.write_text(deadly(SOURCE.read_text()))
    jar = folder / NEEDED_JARS[0]
    class_path = f"{jar}:{flink_home() / 'lib'}/*"
    java("javac", "-proc:none", "-parameters", "-cp", class_path, "-d", classes, source)
    java("jar", "uf", jar, "-C", classes, ".")
    return folder


def deadly(source: str) -> str:
    assert source.count(BEGIN) == 1
    item = f'Long.parseUnsignedLong("{item_hash(scenario.DEADLY_ITEM)}")'
    halt = f"if (input.getLong(4) == {item}) Runtime.getRuntime().halt(137);"
    return source.replace(BEGIN, f"{BEGIN} {halt}")


def java(tool: str, *arguments: str | Path) -> None:
    done = subprocess.run(
        [java_home() / "bin" / tool, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_record_that_ends_the_jvm(
    stage: Stage,
    acted: Acted,
    deadly_jars: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Python runs a file of this name at its start: `headrace submit` sends the deadly jar.
    patch = f"import pathlib, pipeline.flink as flink; flink.JARS = pathlib.{deadly_jars!r}"
    (tmp_path / "sitecustomize.py").write_text(patch)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    values = {"job.quarantine_after": FAILURES}
    with acted(stage, "a record that ends the TaskManager's JVM, three times", **values) as play:
        monkeypatch.undo()
        play.reach()
        killer = play.send(scenario.deadly(START_MS + FAULT_AT * scenario.INTERVAL_MS))
        play.quarantined.append(killer)
        assert replaced_until_set_aside(killer, play) == FAILURES
    [found] = headrace(play.settings, "quarantine").result["quarantined"]
    assert found["record"] == f"{killer.stage}:{killer.partition}:{killer.offset}"
    assert (found["where"], found["failures"]) == ("profile", FAILURES)
    letters = kafka.read_to_end(play.settings, play.settings.kafka.dead_letters_topic)
    assert {set_aside(letter) for letter in letters} == {None, killer}


def replaced_until_set_aside(killer: Place, play: Play) -> int:
    """Replace TaskManagers that end until the record is a dead letter; how many ended."""
    ended = 0
    deadline = time.monotonic() + SET_ASIDE_WITHIN_S
    letters = kafka.reader(play.settings, [play.settings.kafka.dead_letters_topic])
    try:
        # All that is there at once: the log is full of other dead letters.
        while killer not in map(set_aside, letters.consume(1000, 0.5)):
            assert time.monotonic() < deadline, f"not set aside after {ended} TaskManagers"
            ended += replaced(play.stage)
    finally:
        letters.close()
    return ended + replaced(play.stage)


def replaced(stage: Stage) -> int:
    """Replace TaskManagers that ended; how many, with one that ends before it is registered."""
    gone = stage.status().note.count(" is gone")
    try:
        return stage.replace()
    except FlinkError:  # the job was quick to go on there
        return gone + 1


def set_aside(letter: Message) -> Place | None:
    """Which record was quarantined, if this dead letter tells of one."""
    if letter.error() is not None:
        return None
    told = {name: value.decode() for name, value in letter.headers()}
    if told["dlq.reason"] != Reason.QUARANTINED:
        return None
    return Place(told["dlq.stage"], int(told["dlq.partition"]), int(told["dlq.offset"]))
