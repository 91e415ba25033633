"""The store of engine bundles, and which one of them is active.

    <store>/<name>/<version>/                bundles, never changed once written
    <store>/active.json                      names the active one; replaced atomically
    <store>/.gates/<name>@<version>.json     the last verdict on each that went through a gate
    <store>/.lock                            held by a writer

Only the command line writes; workers read.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from engines.active import Active, EngineRef, read_active, write_active
from engines.bundle import Bundle
from engines.draft import TEMPORARY, Draft, write_bundle
from engines.verdict import Verdict, check_passed, write_verdict
from engines.versions import bundles, check_name, next_version, versions
from schemas.errors import BundleRefused, EngineError


@dataclass(frozen=True)
class Entry:
    """One bundle of the store."""

    name: str
    version: str
    active: bool


def parted(engine: str) -> tuple[str, str | None]:
    """Name and version of NAME@VERSION; None, which stands for the newest, of NAME.

    >>> parted("shop@3"), parted("shop")
    (('shop', '3'), ('shop', None))
    """
    name, _, version = engine.partition("@")
    return name, version or None


class Registry:
    """The bundles under one folder.

    Args:
        store: the folder; made when the first bundle is added.
    """

    def __init__(self, store: Path) -> None:
        self.store = store

    def list(self) -> list[Entry]:
        """All bundles by name, then version (numbers in counting order). They are not verified."""
        active = read_active(self.active_path)
        chosen = (active.name, active.version) if active else None
        return [Entry(*pair, pair == chosen) for pair in bundles(self.store)]

    def add(self, draft: Draft, name: str, version: str | None = None) -> Bundle:
        """Write a new bundle and open it again, verified. It is not activated.

        Args:
            version: by default the next whole number of this name: "1", "2", ...

        Raises:
            EngineError: a bad name, or the version exists.
        """
        check_name("engine name", name)
        with self._locked():
            self._sweep(name)
            version = next_version(self.store, name) if version is None else version
            check_name("engine version", version)
            folder = self._folder(name, version)
            write_bundle(folder, draft, name, version)
        return Bundle.open(folder)

    def open(self, name: str, version: str | None = None) -> Bundle:
        """A verified bundle; by default the version with the highest number.

        Raises:
            EngineError: there is none of this name.
            BundleRefused: it is there, but not sound.
        """
        present = versions(self.store, name)
        if not present or (version is not None and version not in present):
            wanted = name if version is None else f"{name}@{version}"
            known = ", ".join("@".join(pair) for pair in bundles(self.store))
            raise EngineError(
                f"there is no engine {wanted} in {self.store}",
                expected=f"one of {known}" if known else "an engine, but the store is empty",
                received=wanted,
                fix="make one with `headrace train`",
            )
        return self._open(name, version or present[-1])

    def open_named(self, engine: str) -> Bundle:
        """The bundle NAME@VERSION, or the newest NAME.

        Raises:
            EngineError, BundleRefused: as `open`.
        """
        return self.open(*parted(engine))

    def activate(
        self, name: str | None = None, version: str | None = None, force: bool = False
    ) -> Active:
        """Make a bundle the active one, once it was verified.

        If another one is active, a gate must have passed it against exactly that one.

        Args:
            name: by default that of the bundle that was added last, and then that bundle.
            version: by default the one with the highest number.
            force: activate it without a pass too; ``active.json`` then says so.

        Raises:
            EngineError, BundleRefused: as ``open``, or it lacks a pass; the old one stays active.
        """
        if name is None:
            name, version = self._added_last()
        chosen = EngineRef.of(self.open(name, version))
        with self._locked():
            before = read_active(self.active_path)
            return self._activate(chosen, before, forced=self._forced(chosen, before, force))

    def rollback(self) -> Active:
        """Activate the engine that was active before, verified; it needs no pass.

        Rolled back twice, the first one is active again.

        Raises:
            EngineError, BundleRefused: there is none, or it is gone or was changed since.
        """
        with self._locked():
            before = self.active()
            if before.previous is None:
                raise EngineError(
                    "there is nothing to roll back to",
                    expected=f"an engine that was active before {before.label}",
                    received="none",
                    fix="`headrace engines` lists the engines, `headrace activate` activates one",
                )
            self.open_exactly(before.previous)
            return self._activate(before.previous, before)

    def keep(self, verdict: Verdict) -> None:
        """Keep the verdict of a gate, in place of the last one on this candidate."""
        with self._locked():
            write_verdict(self.store, verdict)

    def _activate(self, chosen: EngineRef, before: Active | None, forced: bool = False) -> Active:
        """Write ``active.json``; the caller holds the lock."""
        previous = before.engine if before else None
        if before and previous == chosen:  # activated again
            previous = before.previous
        active = Active(
            **chosen.model_dump(),
            engine_seq=before.engine_seq + 1 if before else 1,
            activated_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            forced=forced,
            previous=previous,
        )
        write_active(self.active_path, active)
        return active

    def _forced(self, chosen: EngineRef, before: Active | None, force: bool) -> bool:
        """Whether it lacks a pass that it needs.

        Raises:
            EngineError: it does, and is not to be forced.
        """
        if before is None or before.engine == chosen:
            return False
        try:
            check_passed(self.store, chosen, before.engine)
        except EngineError:
            if not force:
                raise
            return True
        return False

    def _added_last(self) -> tuple[str, str]:
        if not (known := bundles(self.store)):
            raise EngineError(
                f"there is no engine in {self.store}",
                expected="an engine to activate",
                received="an empty store",
                fix="make one with `headrace train`",
            )
        return max(known, key=lambda pair: self._folder(*pair).stat().st_mtime_ns)

    def open_exactly(self, engine: EngineRef) -> Bundle:
        """The bundle of an engine that was active once, whatever is active now.

        Raises:
            EngineError, BundleRefused: it is gone, or was changed since.
        """
        return self._open(engine.name, engine.version, engine.manifest_sha256)

    def active(self) -> Active:
        """Which bundle is active.

        Raises:
            EngineError: none is, or ``active.json`` is damaged.
        """
        active = read_active(self.active_path)
        if active is None:
            raise EngineError(
                "no engine is active",
                expected=f"a readable {self.active_path}",
                received="no such file",
                fix="`headrace train` makes an engine, `headrace activate NAME` activates it",
            )
        return active

    def open_active(self) -> tuple[Bundle, Active]:
        """The active bundle, verified against the hash that ``active.json`` holds."""
        active = self.active()
        return self.open_exactly(active), active

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
    def active_path(self) -> Path:
        """Of ``active.json``."""
        return self.store / "active.json"

    def _folder(self, name: str, version: str) -> Path:
        return self.store / name / version

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
