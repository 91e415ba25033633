"""Figures out of measurements: rates, percentiles, histograms, medians of repeats."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from pipeline.bench.measure import machine
from pipeline.config import Settings

HISTOGRAM_MS = (5, 10, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000)
"""Upper bounds of the histogram's buckets; the last bucket has none."""


def middle_rate(times_ms: Sequence[int]) -> float:
    """Events a second between the 10th and the 90th percentile of sorted times.

    >>> middle_rate([0, *range(1000, 1010), 5000])
    1000.0
    """
    first, last = len(times_ms) // 10, len(times_ms) * 9 // 10
    return (last - first) * 1000 / max(times_ms[last] - times_ms[first], 1)


def percentiles(delays_ms: Sequence[int]) -> dict[str, int]:
    """p50, p90, p99 and max, in whole ms.

    >>> percentiles(range(101))
    {'p50_ms': 50, 'p90_ms': 90, 'p99_ms': 99, 'max_ms': 100}
    """
    values = np.percentile(delays_ms, (50, 90, 99, 100)).round().astype(int).tolist()
    return dict(zip(("p50_ms", "p90_ms", "p99_ms", "max_ms"), values, strict=True))


def histogram(delays_ms: Sequence[int]) -> list[dict[str, int | None]]:
    """How many delays lie below each bound and not below the one before; empty ones left out.

    >>> histogram([3, 4, 12, 9_000])[-1]
    {'below_ms': None, 'lists': 1}
    """
    buckets = np.searchsorted(HISTOGRAM_MS, delays_ms, side="right")
    counts = np.bincount(buckets, minlength=len(HISTOGRAM_MS) + 1).tolist()
    bounds = [*HISTOGRAM_MS, None]
    return [{"below_ms": b, "lists": n} for b, n in zip(bounds, counts, strict=True) if n]


def medians(runs: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """The median of each figure over the repeats.

    >>> medians([{"a": 1}, {"a": 5}, {"a": 2}], ["a"])
    {'a': 2}
    """
    return {name: median(run[name] for run in runs) for name in names}


def circumstances(settings: Settings, engine: str) -> dict[str, Any]:
    """Machine, engine and job settings, to stand beside every figure."""
    return {"machine": machine(), "engine": engine, "job": settings.job.model_dump()}
