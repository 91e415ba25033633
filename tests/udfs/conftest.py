"""The jar under test, built once if a source is newer."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.udfs.harness import Harness

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "udfs/java"
JAR = ROOT / "udfs/jars/headrace-udfs.jar"
TEST_CLASSES = PROJECT / "target/test-classes"


@pytest.fixture(scope="session")
def udf_jar() -> Path:
    """The path of an up-to-date ``udfs/jars/headrace-udfs.jar``."""
    if not _is_fresh():
        maven = shutil.which("mvn")
        if maven is None:
            pytest.skip("the jar is older than its sources and there is no Maven to build it")
        command = [maven, "-q", "-B", "-f", str(PROJECT / "pom.xml"), "package"]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stdout + built.stderr
    return JAR


def _is_fresh() -> bool:
    sources = [PROJECT / "pom.xml", *(PROJECT / "src").rglob("*.java")]
    sources += (ROOT / "schemas").glob("*.avsc")
    newest = max(source.stat().st_mtime for source in sources)
    return JAR.exists() and TEST_CLASSES.exists() and JAR.stat().st_mtime >= newest


@pytest.fixture(scope="session")
def harness(udf_jar: Path) -> Harness:
    """The shipped jar behind the test program in ``udfs/java/src/test``."""
    pyflink = importlib.util.find_spec("pyflink")
    assert pyflink is not None
    assert pyflink.origin is not None
    flink = Path(pyflink.origin).parent / "lib"
    return Harness([udf_jar, TEST_CLASSES, flink / "*"])
