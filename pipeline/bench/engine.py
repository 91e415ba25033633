"""How long engines take, and how many lists one core makes in a second.

engines ─▶ the same made-up users ─▶ by turns, so that a noisy machine hits all alike
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.backends import open_backend
from engines.backends.base import EngineBackend, Tensors
from engines.bundle import Bundle
from engines.evaluate import EventLists
from engines.latency import DIFFERENT, Clock, by_turns, full_batches
from engines.registry import Registry
from pipeline.bench.made_up import KINDS, made_up
from pipeline.bench.measure import machine
from pipeline.console import stages
from schemas.profile import HISTORY_SLOTS

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings

ROUNDS = 200
CLICK = 3
SEED = 7


def engine(
    settings: Settings,
    engines: Sequence[str],
    items: int,
    users_at_once: Sequence[int],
    threads: Sequence[int],
    console: Console | None = None,
    *,
    rounds: int = ROUNDS,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Times engines on full batches of made-up users.

    Args:
        settings: where the store is, and what is to run engines (``engine.backend``).
        engines: NAME or NAME@VERSION each; none: a made-up one of each of KINDS, exported for each
            of ``users_at_once`` as its batch shape.
        items: of made-up engines.
        users_at_once: how many users are asked for at once. An engine's batch shape is filled up,
            or looped over.
        threads: of one engine call.
        console: shows progress; None shows none.
        rounds: how often each is timed.
        clock: in seconds.

    Returns:
        ``engines`` with ``engine``, ``model``, ``precision``, ``runtime``, ``batch``, ``items``,
        ``size_bytes`` of all files, ``users_at_once``, ``threads``, ``p50_ms``, ``p99_ms``,
        ``lists_per_s_core``; ``rounds`` and ``machine``.

    Raises:
        EngineError: there is no such engine, or PyTorch is missing for a made-up one.
    """
    with tempfile.TemporaryDirectory() as folder, stages(console) as tell:
        if engines:
            registry = Registry(settings.engine.store)
            found = [registry.open_named(name) for name in engines]
            runs = [(number, found) for number in users_at_once]
        else:
            runs = []
            for done, number in enumerate(users_at_once):
                tell("exporting", done, len(users_at_once))
                store = Registry(Path(folder) / str(number))
                made = [store.add(made_up(kind, items, number), kind) for kind in KINDS]
                runs.append((number, made))
        rows = []
        steps = [(number, bundles, count) for count in threads for number, bundles in runs]
        for done, (number, bundles, count) in enumerate(steps):
            tell("ranking", done, len(steps))
            with ExitStack() as loaded:
                backends = [
                    loaded.enter_context(open_backend(bundle, count, settings.engine.backend))
                    for bundle in bundles
                ]
                rows += _timed(backends, number, rounds, clock)
    return {"engines": rows, "rounds": rounds, "machine": machine()}


def _timed(
    backends: Sequence[EngineBackend], users_at_once: int, rounds: int, clock: Clock
) -> list[dict[str, Any]]:
    turns = []
    for backend in backends:
        backend.warm_up()
        turns.append((backend, _batches(backend.bundle, users_at_once)))
    took_ms = by_turns(turns, rounds, clock)
    p50_ms, p99_ms = np.quantile(took_ms, [0.5, 0.99], axis=0)
    return [
        {
            **_described(backend),
            "users_at_once": users_at_once,
            "p50_ms": round(float(p50), 3),
            "p99_ms": round(float(p99), 3),
            "lists_per_s_core": round(users_at_once / backend.threads / max(p50, 1e-9) * 1000),
        }
        for backend, p50, p99 in zip(backends, p50_ms, p99_ms, strict=True)
    ]


def _batches(bundle: Bundle, users_at_once: int) -> list[Tensors]:
    histories = _histories(bundle, DIFFERENT * users_at_once)
    nothing: list[list[int]] = [[]] * len(histories)
    return full_batches(bundle, histories, nothing, users_at_once)


def _described(backend: EngineBackend) -> dict[str, Any]:
    bundle, manifest = backend.bundle, backend.bundle.manifest
    return {
        "engine": bundle.label,
        "model": manifest.model,
        "precision": manifest.precision,
        "runtime": backend.runtime,
        "threads": backend.threads,
        "batch": manifest.batch,
        "items": len(bundle.catalogue),
        "size_bytes": sum(entry.size_bytes for entry in manifest.files.values()),
    }


def _histories(bundle: Bundle, users: int) -> EventLists:
    """Clicks of made-up users, 1 to 50 each, on items of the engine a minute apart."""
    random = np.random.default_rng(SEED)
    hashes = bundle.catalogue.table["item_hash"].to_pylist()
    lengths = random.integers(1, HISTORY_SLOTS + 1, users).tolist()
    items = [random.integers(0, len(hashes), length).tolist() for length in lengths]
    return [[(hashes[item], CLICK, n * 60_000) for n, item in enumerate(one)] for one in items]
