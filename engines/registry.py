"""The store of engine bundles, and which one of them is active.

    <store>/<name>/<version>/   bundles, never changed once written
    <store>/active.json         names the active one; replaced atomically
    <store>/.lock               held by a writer

Only the command line writes; workers read.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.bundle import Bundle
from engines.disk import flush_folder, write_flushed
from engines.draft import TEMPORARY, Draft, write_bundle
from engines.manifest import MANIFEST, NAME_PATTERN, Name
from schemas.errors import BundleRefused, EngineError


class Active(BaseModel):
    """The content of ``active.json``."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: Name
    version: Name
    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    engine_seq: Annotated[int, Field(ge=1)]  # one more at every activation, roll-backs too
    activated_at: str  # ISO 8601, UTC

    @property
    def label(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Entry:
    """One bundle of the store."""

    name: str
    version: str
    active: bool


class Registry:
    """The bundles under one folder.

    Args:
        store: the folder; made when the first bundle is added.
    """

    def __init__(self, store: Path) -> None:
        self.store = store

    def list(self) -> list[Entry]:
        """All bundles by name, then version (numbers in counting order). They are not verified."""
        active = self._read_active()
        chosen = (active.name, active.version) if active else None
        return [Entry(*pair, pair == chosen) for pair in _bundles(self.store)]

    def add(self, draft: Draft, name: str, version: str | None = None) -> Bundle:
        """Write a new bundle and open it again, verified. It is not activated.

        Args:
            version: by default the next whole number of this name: "1", "2", ...

        Raises:
            EngineError: a bad name, or the version exists.
        """
        _check_name("engine name", name)
        with self._locked():
            self._sweep(name)
            version = _next_version(self.store, name) if version is None else version
            _check_name("engine version", version)
            folder = self._folder(name, version)
            write_bundle(folder, draft, name, version)
        return Bundle.open(folder)

    def open(self, name: str, version: str | None = None) -> Bundle:
        """A verified bundle; by default the version with the highest number.

        Raises:
            EngineError: there is none of this name.
            BundleRefused: it is there, but not sound.
        """
        versions = _versions(self.store, name)
        if not versions or (version is not None and version not in versions):
            wanted = name if version is None else f"{name}@{version}"
            known = ", ".join("@".join(pair) for pair in _bundles(self.store))
            raise EngineError(
                f"there is no engine {wanted} in {self.store}",
                expected=f"one of {known}" if known else "an engine, but the store is empty",
                received=wanted,
                fix="make one with `headrace train`",
            )
        return self._open(name, version or versions[-1])

    def activate(self, name: str | None = None, version: str | None = None) -> Active:
        """Make a bundle the active one, once it was verified.

        Args:
            name: by default that of the bundle that was added last, and then that bundle.
            version: by default the one with the highest number.

        Raises:
            EngineError, BundleRefused: as ``open``; then the old one stays active.
        """
        if name is None:
            name, version = self._added_last()
        bundle = self.open(name, version)
        with self._locked():
            before = self._read_active()
            active = Active(
                name=bundle.manifest.name,
                version=bundle.manifest.version,
                manifest_sha256=bundle.digest.hex(),
                engine_seq=before.engine_seq + 1 if before else 1,
                activated_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            )
            temporary = self.store / ".active.json.tmp"
            write_flushed(temporary, (active.model_dump_json(indent=2) + "\n").encode())
            temporary.replace(self._active_path)
            flush_folder(self.store)
        return active

    def _added_last(self) -> tuple[str, str]:
        if not (bundles := _bundles(self.store)):
            raise EngineError(
                f"there is no engine in {self.store}",
                expected="an engine to activate",
                received="an empty store",
                fix="make one with `headrace train`",
            )
        return max(bundles, key=lambda pair: self._folder(*pair).stat().st_mtime_ns)

    def open_exactly(self, active: Active) -> Bundle:
        """The bundle that was active when ``active`` was read, whatever is active now.

        Raises:
            EngineError, BundleRefused: it is gone, or was changed since.
        """
        return self._open(active.name, active.version, active.manifest_sha256)

    def active(self) -> Active:
        """Which bundle is active.

        Raises:
            EngineError: none is, or ``active.json`` is damaged.
        """
        active = self._read_active()
        if active is None:
            raise EngineError(
                "no engine is active",
                expected=f"a readable {self._active_path}",
                received="no such file",
                fix="`headrace train` makes an engine, `headrace activate NAME` activates it",
            )
        return active

    def open_active(self) -> tuple[Bundle, Active]:
        """The active bundle, verified against the hash that ``active.json`` holds."""
        active = self.active()
        return self._open(active.name, active.version, active.manifest_sha256), active

    def _open(self, name: str, version: str, sha256: str | None = None) -> Bundle:
        bundle = Bundle.open(self._folder(name, version), sha256)
        if bundle.label != f"{name}@{version}":
            raise BundleRefused(
                "the engine bundle is refused: it lies in the folder of another",
                expected=f"{name}@{version}",
                received=bundle.label,
                fix="move it to the folder that its manifest names",
            )
        return bundle

    @property
    def _active_path(self) -> Path:
        return self.store / "active.json"

    def _folder(self, name: str, version: str) -> Path:
        return self.store / name / version

    def _read_active(self) -> Active | None:
        try:
            return Active.model_validate_json(self._active_path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            # Not taken for "none": engine_seq would start again and old lists would win.
            raise EngineError(
                f"{self._active_path} cannot be read",
                expected="name, version, manifest_sha256, engine_seq, activated_at",
                received=str(error).splitlines()[0],
                fix="restore it; engine_seq must be at least what the last lists carry",
            ) from error

    def _sweep(self, name: str) -> None:
        """Remove what a crashed writer left; the lock says that none is writing."""
        for left in (self.store / name).glob(TEMPORARY + "*"):
            shutil.rmtree(left, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time; the lock goes with the process, whatever its end."""
        self.store.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.store / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _bundles(store: Path) -> list[tuple[str, str]]:
    """(name, version) of every bundle, by name, then in counting order."""
    folders = [manifest.parent for manifest in store.glob(f"*/*/{MANIFEST}")]
    pairs = [(folder.parent.name, folder.name) for folder in folders]
    visible = [pair for pair in pairs if not pair[1].startswith(".")]
    return sorted(visible, key=lambda pair: (pair[0], _counting(pair[1])))


def _versions(store: Path, name: str) -> list[str]:
    return [version for known, version in _bundles(store) if known == name]


def _next_version(store: Path, name: str) -> str:
    numbers = [int(version) for version in _versions(store, name) if version.isdecimal()]
    return str(max(numbers, default=0) + 1)


def _counting(version: str) -> tuple[int, str]:
    return (int(version) if version.isdecimal() else -1, version)


def _check_name(what: str, name: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise EngineError(
            f"not a usable {what}",
            expected="1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or digit",
            received=repr(name),
        )
