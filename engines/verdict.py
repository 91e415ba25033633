"""What a gate found of one engine against another, kept in the store until the next gate.

    <store>/.gates/<name>@<version>.json    of the candidate

A pass counts for exactly the two engines that were compared, byte for byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.active import EngineRef
from engines.disk import replace_flushed
from schemas.errors import EngineError

GATES = ".gates"


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Check(_Strict):
    """One figure against its bound."""

    name: Annotated[str, Field(pattern=r"^(min|max)_[a-z_]+$")]  # as in the settings of the gate
    value: Annotated[float, Field(allow_inf_nan=False)]
    bound: Annotated[float, Field(allow_inf_nan=False)]
    passed: bool

    @classmethod
    def of(cls, name: str, value: float, bound: float) -> Check:
        """Holds the figure against the bound, which belongs to what it allows.

        >>> Check.of("min_overlap", 0.5, 0.5).passed, Check.of("max_latency_ms", 2.1, 2).passed
        (True, False)
        """
        passed = value >= bound if name.startswith("min_") else value <= bound
        return cls(name=name, value=value, bound=bound, passed=passed)


class Verdict(_Strict):
    """The outcome of one gate."""

    candidate: EngineRef
    against: EngineRef
    passed: bool
    checks: list[Check]
    gated_at: str  # ISO 8601, UTC

    @property
    def told(self) -> str:
        """The outcome in a few words.

        Such as "a pass against shop@1", or "failed against shop@1: max_ndcg_drop".
        """
        if self.passed:
            return f"a pass against {self.against.label}"
        failed = ", ".join(check.name for check in self.checks if not check.passed)
        return f"failed against {self.against.label}: {failed}"


def verdict_path(store: Path, candidate: EngineRef) -> Path:
    """Where the verdict on an engine is kept."""
    return store / GATES / f"{candidate.label}.json"


def write_verdict(store: Path, verdict: Verdict) -> None:
    """Keep a verdict in place of the last one on its candidate. The caller holds the lock."""
    path = verdict_path(store, verdict.candidate)
    path.parent.mkdir(exist_ok=True)
    replace_flushed(path, (verdict.model_dump_json(indent=2) + "\n").encode())


def read_verdict(store: Path, candidate: EngineRef) -> Verdict | None:
    """The last verdict on an engine of this name and version; None if there is none.

    Raises:
        EngineError: it is damaged.
    """
    path = verdict_path(store, candidate)
    try:
        return Verdict.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise EngineError(
            f"{path} cannot be read",
            expected="the verdict of a gate",
            received=str(error).splitlines()[0],
            fix=f"headrace gate {candidate.label} --source KIND LOG",
        ) from error


def check_passed(store: Path, candidate: EngineRef, active: EngineRef) -> None:
    """Refuse a candidate that no gate has passed against the active engine.

    Raises:
        EngineError: there is no pass, or it is of other bytes on either side.
    """
    verdict = read_verdict(store, candidate)
    if verdict and verdict.passed and (verdict.candidate, verdict.against) == (candidate, active):
        return
    received = "no verdict" if verdict is None else verdict.told
    if verdict and verdict.candidate != candidate:
        received += ", of a bundle that was changed since"
    elif verdict and verdict.passed and verdict.against.label == active.label:
        received += ", which was changed since"
    raise EngineError(
        f"{candidate.label} was not passed by a gate against the active engine",
        expected=f"a pass against {active.label}",
        received=received,
        fix=f"headrace gate {candidate.label} --source KIND LOG; or activate it with --force, "
        "which is recorded",
    )
