"""The names and versions of the bundles in a store, without a look into them."""

from __future__ import annotations

import re
from pathlib import Path

from engines.manifest import MANIFEST, NAME_PATTERN
from schemas.errors import EngineError


def bundles(store: Path) -> list[tuple[str, str]]:
    """(name, version) of every bundle, by name, then in counting order."""
    folders = [manifest.parent for manifest in store.glob(f"*/*/{MANIFEST}")]
    pairs = [(folder.parent.name, folder.name) for folder in folders]
    visible = [pair for pair in pairs if not pair[1].startswith(".")]
    return sorted(visible, key=lambda pair: (pair[0], _counting(pair[1])))


def versions(store: Path, name: str) -> list[str]:
    """The versions of one name, in counting order: "b", "2", "10"."""
    return [version for known, version in bundles(store) if known == name]


def next_version(store: Path, name: str) -> str:
    """The whole number after the highest one of this name; "1" if there is none."""
    numbers = [int(version) for version in versions(store, name) if version.isdecimal()]
    return str(max(numbers, default=0) + 1)


def _counting(version: str) -> tuple[int, str]:
    return (int(version) if version.isdecimal() else -1, version)


def check_name(what: str, name: str) -> None:
    """Refuse what is no plain name of a folder; ``what`` says what it was to be the name of."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise EngineError(
            f"not a usable {what}",
            expected="1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or digit",
            received=repr(name),
        )
