"""Flink's classes, read and verified beforehand: its JVMs start in two thirds of the time.

    class_list.txt.gz ── python -m deploy.local.class_archive ──▶ archives/cluster.jsa, client.jsa

Java calls it class data sharing. An archive fits one class path in its order, and jars and a Java
that did not change since; another one is passed over by Java, which then reads the jars as ever.
`make setup` makes the archives. The list names what a cluster and `headrace run` load, and needs to
be made anew only for another Flink or connector (names that are gone do no harm):

    export JAVA_TOOL_OPTIONS=-XX:DumpLoadedClassList=/tmp/classes/%p
    ... headrace run, cluster up, submit, cluster down ...
    python -m deploy.local.class_archive /tmp/classes/*
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.local.cluster_config import added_jars, flink_home
from deploy.local.java import find_java
from schemas.errors import FlinkError

CLASS_LIST = Path(__file__).parent / "class_list.txt.gz"
ARCHIVES = Path(__file__).parent / "archives"
KINDS = ("cluster", "client")


def archive(kind: str) -> Path:
    """The file of an archive, which may not be there: ``cluster`` or ``client``."""
    return ARCHIVES / f"{kind}.jsa"


def archive_options(kind: str) -> list[str]:
    """What Java is told, for a class path of that kind; nothing without an archive."""
    file = archive(kind)
    # Flink's scripts split what they hand to Java at spaces.
    usable = file.is_file() and not any(letter.isspace() for letter in str(file))
    # Newer Javas warn on stdout, where results are read, of an archive that does not fit.
    return [f"-XX:SharedArchiveFile={file}", "-Xlog:cds=off"] if usable else []


def class_path(kind: str) -> list[Path]:
    """The jars in the order of Flink's scripts (cluster), or of its Python package (client)."""
    jars = list((flink_home() / "lib").glob("*.jar"))
    if kind == "cluster":
        jars.sort(key=lambda jar: (jar.name.startswith("flink-dist"), jar))
    return [*jars, *added_jars()]


def make(kind: str, names: Path) -> None:
    """Makes an archive of the classes in a list.

    Raises:
        FlinkError: Java is missing, or refuses.
    """
    ARCHIVES.mkdir(exist_ok=True)
    partial = archive(kind).with_suffix(".partial")
    command = [find_java(), "-Xshare:dump", "-XX:+UseSerialGC", "-Xlog:cds=off"]
    command += [f"-XX:SharedClassListFile={names}", f"-XX:SharedArchiveFile={partial}"]
    command += ["-cp", os.pathsep.join(map(str, class_path(kind)))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not partial.is_file():
        partial.unlink(missing_ok=True)
        raise FlinkError(
            f"Java made no archive of Flink's classes for a {kind}",
            expected=str(archive(kind)),
            received=(done.stderr or done.stdout)[-500:],
            fix=f"{sys.executable} -m deploy.local.class_archive; "
            "without it everything works, and starts more slowly",
        )
    partial.replace(archive(kind))


def make_all() -> None:
    """Makes all archives, at once."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        names = Path(folder) / "class_list.txt"
        names.write_bytes(gzip.decompress(CLASS_LIST.read_bytes()))
        for made in [pool.submit(make, kind, names) for kind in KINDS]:
            made.result()


def merged(lists: Iterable[str]) -> str:
    """One list of several; without comments, and without classes that a job brings.

    >>> merged(["# of Java\\njava/lang/Object\\nio/headrace/Decay\\n", "java/lang/Object\\n"])
    'java/lang/Object\\n'
    """
    lines = {line for text in lists for line in text.splitlines()}
    return "".join(f"{line}\n" for line in sorted(lines) if wanted(line))


def wanted(line: str) -> bool:
    """Whether a line of a list is about a class on the class path."""
    return bool(line) and not line.startswith("#") and "io/headrace/" not in line


def main(recorded: Sequence[str]) -> None:
    if recorded:
        text = merged(Path(file).read_text(encoding="utf-8") for file in recorded)
        CLASS_LIST.write_bytes(gzip.compress(text.encode(), mtime=0))
    make_all()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FlinkError as refusal:
        sys.exit(str(refusal))
