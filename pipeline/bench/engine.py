"""How long engines take, and how many lists one core makes in a second, by one runtime or several.

engines x runtimes ─▶ the same made-up users ─▶ by turns, so that a noisy machine hits all alike
                                                 ├─▶ times, beside the roofline
                                                 └─▶ lists, held against the first runtime's
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.latency import LEAST_ROUNDS, Clock, by_turns
from engines.registry import Registry
from engines.roofline import measured_peak
from pipeline.bench.candidates import Group, Tell, made, stored
from pipeline.bench.made_up import batches
from pipeline.bench.measure import machine
from pipeline.bench.rows import rows_of
from pipeline.bench.runtimes import load
from pipeline.console import stages

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings

ROUNDS = 200
WITHIN_S = 20.0


@dataclass(frozen=True)
class Grid:
    """What is to be timed: each with each.

    Args:
        users_at_once: how many users are asked for at once. The batch shape of an engine of the
            store is filled up, or looped over; made-up ones have it for theirs.
        threads: of one engine call.
        runtimes: in `runtimes.RUNTIMES`; lists are compared with those of the first that works.
        items, models, precisions: of made-up engines, see `candidates.made`.
    """

    users_at_once: Sequence[int]
    threads: Sequence[int]
    runtimes: Sequence[str]
    items: Sequence[int] = (12_000,)
    models: Sequence[str] = ("sasrec",)
    precisions: Sequence[str] = ("fp32",)


@dataclass(frozen=True)
class Limits:
    """How often an engine is timed: so many rounds, and none after so long, but LEAST_ROUNDS."""

    rounds: int = ROUNDS
    within_s: float = WITHIN_S
    clock: Clock = time.perf_counter


def engine(
    settings: Settings,
    engines: Sequence[str],
    grid: Grid,
    console: Console | None = None,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Times engines on full batches of made-up users.

    Args:
        settings: where the store is.
        engines: NAME or NAME@VERSION each; none: made-up ones.
        grid: what with what.
        console: shows progress; None shows none.
        limits: how often.

    Returns:
        ``engines``, one for each engine, runtime, number of users and threads: ``engine``,
        ``model``, ``precision``, ``runtime``, ``batch``, ``items``, ``size_bytes`` of all files,
        ``users_at_once``, ``threads``; ``device`` and ``ran_by``; ``missing``, why there are no
        figures; and these, None where there are none: ``rounds``, ``p50_ms``, ``p99_ms``,
        ``lists_per_s_core`` (a GPU counts as ``threads`` cores),
        ``compared_with``, the runtime whose lists are the measure, ``equal_lists`` and
        ``widest_gap`` (see `engines.parity`), ``roofline_ms`` (see `engines.roofline`) and
        ``roofline_share``, of p50. Beside them ``limits``, ``peaks`` and ``machine``.

    Raises:
        EngineError: there is no such engine, or the only runtime that is asked for cannot run one.
    """
    limits = limits or Limits()
    rows: list[dict[str, Any]] = []
    with stages(console) as tell:
        if engines:
            groups = stored(Registry(settings.engine.store), engines, grid.users_at_once)
        else:
            groups = made(grid.models, grid.precisions, grid.items, grid.users_at_once, tell)
        for group in groups:
            for threads in grid.threads:
                rows += _timed(group, threads, grid.runtimes, limits, tell)
    return {
        "engines": rows,
        "limits": {
            "rounds": limits.rounds,
            "seconds_each": limits.within_s,
            "least_rounds": LEAST_ROUNDS,
        },
        "peaks": _peaks(rows),
        "machine": machine(),
    }


def _timed(
    group: Group, threads: int, runtimes: Sequence[str], limits: Limits, tell: Tell
) -> list[dict[str, Any]]:
    given = {one: batches(one.bundle, group.users_at_once) for one in group.candidates}
    with ExitStack() as loaded:
        runs = load(group, runtimes, threads, loaded, tell)
        turns = [(run.backend, given[run.candidate]) for run in runs if run.backend]
        found = by_turns(
            turns,
            limits.rounds,
            limits.clock,
            within_s=limits.within_s * len(turns),
            told=lambda done: tell(f"ranking {group.users_at_once}", done, limits.rounds),
        )
        return rows_of(runs, found, group.users_at_once, threads)


def _peaks(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the devices of the rows can do; nothing without PyTorch to measure it."""
    used = sorted({(row["device"], row["threads"]) for row in rows if row["device"]})
    return [
        {
            "device": device,
            "threads": threads,
            "gflop_per_s": round(peak.flop_per_s / 1e9, 1),
            "gb_per_s": round(peak.bytes_per_s / 1e9, 1),
        }
        for device, threads in used
        if (peak := measured_peak(device, threads))
    ]
