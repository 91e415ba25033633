"""``active.json``: which engine of a store is active, since when, and which one was before it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.bundle import Bundle
from engines.disk import replace_flushed
from engines.manifest import Name
from schemas.errors import EngineError


class EngineRef(BaseModel):
    """An engine, down to its last byte."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: Name
    version: Name
    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def label(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @classmethod
    def of(cls, bundle: Bundle) -> EngineRef:
        """The engine of a bundle."""
        manifest = bundle.manifest
        return cls(
            name=manifest.name, version=manifest.version, manifest_sha256=bundle.digest.hex()
        )


class Active(EngineRef):
    """The content of ``active.json``."""

    engine_seq: Annotated[int, Field(ge=1)]  # one more at every activation, roll-backs too
    activated_at: str  # ISO 8601, UTC
    forced: bool = False  # no gate had passed it, and it was activated all the same
    previous: EngineRef | None = None  # the last other one, which a roll-back activates

    @property
    def engine(self) -> EngineRef:
        """Which one it is, without when and how it was activated."""
        return EngineRef(name=self.name, version=self.version, manifest_sha256=self.manifest_sha256)


def read_active(path: Path) -> Active | None:
    """What is active; None if there is no such file.

    Raises:
        EngineError: it is damaged.
    """
    try:
        return Active.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        # Not taken for "none": engine_seq would start again and old lists would win.
        raise EngineError(
            f"{path} cannot be read",
            expected="name, version, manifest_sha256, engine_seq, activated_at",
            received=str(error).splitlines()[0],
            fix="restore it; engine_seq must be at least what the last lists carry",
        ) from error


def write_active(path: Path, active: Active) -> None:
    """Replace the file, whole or not at all."""
    replace_flushed(path, (active.model_dump_json(indent=2) + "\n").encode())
