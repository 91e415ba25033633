"""The three places a setting may come from, laid over each other.

    file < environment < flags

Knows no setting itself: it is told the known names and their defaults.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "HEADRACE_"


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the settings. ``received`` never holds a secret."""

    setting: str
    expected: str
    received: str
    fix: str


@dataclass(frozen=True)
class Given:
    """A value and where it was found: a file, an environment variable or a flag."""

    value: object
    origin: str


def read_layers(
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    defaults: Mapping[str, object],
) -> tuple[dict[str, Given], list[Problem]]:
    """What was given, by dotted name, and what was given under no known name.

    Args:
        file: a TOML file; None if there is none.
        environ: environment variables; those without ``HEADRACE_`` are not looked at.
        flags: dotted names; values of None were not given.
        defaults: every known setting by its dotted name.
    """
    text, problems = _read_file(file) if file else ({}, [])
    given: dict[str, Given] = {}
    for name, value, origin in (
        *((name, value, str(file)) for name, value in _flatten(text)),
        *_environment(environ, defaults),
        *((name, value, "a flag") for name, value in flags.items() if value is not None),
    ):
        if name not in defaults:
            problems.append(_unknown(name, origin, defaults))
        elif isinstance(value, str) and origin != str(file):
            given[name] = Given(_from_text(value, defaults[name]), origin)
        else:
            given[name] = Given(value, origin)
    return given, problems


def env_name(setting: str) -> str:
    """The environment variable of a setting.

    >>> env_name("kafka.partitions")
    'HEADRACE_KAFKA__PARTITIONS'
    """
    return PREFIX + setting.replace(".", "__").upper()


def _read_file(file: Path) -> tuple[dict[str, Any], list[Problem]]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")), []
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        fix = "name an existing file, or leave --config out" if isinstance(error, OSError) else ""
        return {}, [
            Problem(str(file), "a readable TOML file", str(error), fix or "mend the line named")
        ]


def _flatten(tables: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", below) for inner, below in value.items())
        else:
            yield name, value


def _environment(
    environ: Mapping[str, str], defaults: Mapping[str, object]
) -> Iterator[tuple[str, str, str]]:
    """Variables that mean a setting, well or badly spelt.

    Others may share the prefix (Kubernetes sets HEADRACE_SERVICE_HOST for a service of our name),
    so a variable without ``__`` that resembles no setting is left alone.
    """
    known = {env_name(setting): setting for setting in defaults}
    for name, value in environ.items():
        if name in known:
            yield known[name], value, name
        elif name.startswith(PREFIX):
            near = difflib.get_close_matches(name, known, 1, cutoff=0.9)
            if near or "__" in name:
                yield name.removeprefix(PREFIX).lower().replace("__", "."), value, name


def _from_text(text: str, default: object) -> object:
    """Reads what an environment variable means; what it cannot read stays text, to be refused."""
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(default, int) and re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if isinstance(default, float) and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return float(text)
    return text


def _unknown(name: str, origin: str, known: Mapping[str, object]) -> Problem:
    """Suggests the setting of the same last name, or else the one spelt most alike."""
    last = name.rpartition(".")[2]
    same = [setting for setting in known if setting.rpartition(".")[2] == last]
    near = (same or difflib.get_close_matches(name, known, 1) or [""])[0]
    spelt = env_name(near) if origin.startswith(PREFIX) else near
    return Problem(
        name,
        "the name of a setting",
        f"{name} in {origin}",
        f"did you mean {spelt}?" if near else "`headrace settings` lists them all",
    )
