"""Finds a Java that is new enough: ``java`` on PATH, whatever JAVA_HOME says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from schemas.errors import FlinkError

JAVA_VERSION = 17
INSTALL_JAVA = "apt install openjdk-17-jre-headless"


def find_java(minimum: int = JAVA_VERSION) -> str:
    """The path of ``java``.

    Raises:
        FlinkError: there is none on PATH, or it is older than ``minimum``.
    """
    java = shutil.which("java")
    expected = f"Java {minimum} or newer as `java` on PATH"
    if java is None:
        raise FlinkError(
            "Java was not found", expected=expected, received="no java", fix=INSTALL_JAVA
        )
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = java_version(told)
    if version < minimum:
        first_line = told.partition("\n")[0]
        raise FlinkError(
            f"{java} is too old",
            expected=expected,
            received=first_line or "no version",
            fix=f"{INSTALL_JAVA}, and put it first on PATH (JAVA_HOME is not looked at)",
        )
    return java


def java_home(minimum: int = JAVA_VERSION) -> Path:
    """What JAVA_HOME must say for programs that look there; errors as `find_java`.

    Java itself is asked: what stands on PATH may be a script that chooses among several.
    """
    java = find_java(minimum)
    command = [java, "-XshowSettings:properties", "-version"]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    found = re.search(r"^\s*java\.home = (.+)$", told, re.MULTILINE)
    return Path(found.group(1)) if found else Path(java).resolve().parent.parent


def java_version(told: str) -> int:
    """The major version in what ``java -version`` says; 0 if it says none.

    >>> java_version('openjdk version "17.0.15" 2025-04-15')
    17
    >>> java_version('java version "1.8.0_402"')
    8
    """
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(found.group(1)) if found else 0
