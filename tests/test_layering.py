"""Imports go one way: pipeline → udfs → engines → schemas; deploy knows schemas only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "schemas": {"schemas"},
    "deploy": {"deploy", "schemas"},
    "engines": {"engines", "schemas"},
    "udfs": {"udfs", "engines", "schemas"},
    "pipeline": {"pipeline", "udfs", "engines", "deploy", "schemas"},
}
KAFKA = "confluent_kafka"
KNOWS_KAFKA = {"pipeline", "deploy"}
MODULES = sorted(path for name in MAY_IMPORT for path in (ROOT / name).rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level names of what a module imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def wrong_imports(package: str, source: str) -> set[str]:
    names = set(imported(ast.parse(source)))
    wrong = (names & MAY_IMPORT.keys()) - MAY_IMPORT[package]
    return wrong | (names & {KAFKA} if package not in KNOWS_KAFKA else set())


def environment_reads(source: str) -> list[int]:
    """Lines that read a variable of the environment by its name."""
    texts = ("os.environ[", "os.environ.get(", "os.getenv(", "environ.setdefault(")
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call | ast.Subscript)
        and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
        and ast.unparse(node).startswith(texts)
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert not wrong_imports(package, path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_settings_read_the_environment(path: Path) -> None:
    if path != ROOT / "pipeline" / "config.py":
        assert not environment_reads(path.read_text())


def test_every_package_was_looked_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == MAY_IMPORT.keys()


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("engines", "import pipeline.config"),
        ("udfs", "def f():\n    from pipeline import kafka"),
        ("schemas", "from engines.registry import Registry"),
        ("deploy", "from pipeline.config import Settings"),
        ("udfs", "import confluent_kafka"),
    ],
)
def test_a_wrong_import_would_be_found(package: str, source: str) -> None:
    assert wrong_imports(package, source)


@pytest.mark.parametrize(
    "source", ["import os\nx = os.environ['A']", "import os\nx = os.environ.get('A')"]
)
def test_a_read_of_the_environment_would_be_found(source: str) -> None:
    assert environment_reads(source) == [2]


def test_setting_a_variable_for_another_program_is_no_read() -> None:
    assert not environment_reads("import os\nos.environ['A'] = 'b'\nos.environ |= {'A': 'b'}")
