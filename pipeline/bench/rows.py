"""What the bench of engines says of one engine, runtime, number of users and threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import RankedBatch
from engines.latency import Turns
from engines.parity import parity
from engines.roofline import measured_peak
from pipeline.bench.candidates import Candidate
from pipeline.bench.runtimes import Run

FIGURES = (
    "rounds",
    "p50_ms",
    "p99_ms",
    "lists_per_s_core",
    "compared_with",
    "equal_lists",
    "widest_gap",
    "roofline_ms",
    "roofline_share",
)
"""What a run that is missing has none of."""


def rows_of(
    runs: Sequence[Run], turns: Turns, users_at_once: int, threads: int
) -> list[dict[str, Any]]:
    """A row for each run; what is in it says `pipeline.bench.engine.engine`.

    Args:
        runs: engine after engine.
        turns: of those that have a backend.
        users_at_once, threads: that they had.
    """
    rows = []
    results = zip(turns.took_ms.T, turns.lists, strict=True)
    measures: dict[Candidate, tuple[str, RankedBatch]] = {}
    for run in runs:
        row = _described(run, users_at_once, threads) | dict.fromkeys(FIGURES)
        if run.backend:
            took_ms, lists = next(results)
            ranked = _joined(lists)
            row |= _speed(took_ms, users_at_once, threads)
            row |= _roofline(run, row["p50_ms"], users_at_once, threads)
            row |= _likeness(ranked, *measures.setdefault(run.candidate, (run.runtime, ranked)))
        rows.append(row)
    return rows


def _described(run: Run, users_at_once: int, threads: int) -> dict[str, Any]:
    bundle, manifest = run.candidate.bundle, run.candidate.bundle.manifest
    return {
        "engine": bundle.label,
        "model": manifest.model,
        "precision": run.candidate.precision,
        "runtime": run.runtime,
        "device": run.backend.device if run.backend else None,
        "ran_by": run.backend.runtime if run.backend else None,
        "missing": run.missing,
        "threads": threads,
        "batch": manifest.batch,
        "items": len(bundle.catalogue),
        "size_bytes": manifest.size_bytes,
        "users_at_once": users_at_once,
    }


def _speed(took_ms: NDArray[np.float64], users_at_once: int, threads: int) -> dict[str, Any]:
    p50_ms, p99_ms = np.quantile(took_ms, [0.5, 0.99]).tolist()
    lists_per_s = users_at_once / threads / max(p50_ms, 1e-9) * 1000
    return {
        "rounds": len(took_ms),
        "p50_ms": round(p50_ms, 3),
        "p99_ms": round(p99_ms, 3),
        "lists_per_s_core": round(lists_per_s) if lists_per_s >= 10 else round(lists_per_s, 3),
    }


def _roofline(run: Run, p50_ms: float, users_at_once: int, threads: int) -> dict[str, Any]:
    assert run.backend
    peak = measured_peak(run.backend.device, threads)
    if peak is None:
        return {}
    batches = -(-users_at_once // run.candidate.bundle.manifest.batch)
    least_ms = peak.least_ms(run.candidate.work) * batches
    return {
        "roofline_ms": float(f"{least_ms:.3g}"),
        "roofline_share": round(least_ms / max(p50_ms, 1e-9), 4),
    }


def _likeness(ours: RankedBatch, measure: str, theirs: RankedBatch) -> dict[str, Any]:
    """Nothing for what the others are measured by."""
    if ours is theirs:
        return {}
    found = parity(ours, theirs)
    return {
        "compared_with": measure,
        "equal_lists": found.equal_lists,
        "widest_gap": found.widest_gap,
    }


def _joined(lists: Sequence[RankedBatch]) -> RankedBatch:
    names = [field.name for field in fields(RankedBatch)]
    return RankedBatch(*(np.concatenate([getattr(one, name) for one in lists]) for name in names))
