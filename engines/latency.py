"""How long engines take for a batch, measured by turns so that a noisy machine hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import EngineBackend, Tensors
from engines.bundle import Bundle
from engines.evaluate import EventLists, profiles_from_histories
from engines.features import Histories, features

Clock = Callable[[], float]
"""Seconds since any moment."""

DIFFERENT = 16
"""Batches of different users; then the first comes again."""


def full_batches(
    bundle: Bundle,
    histories: EventLists,
    excluded: Sequence[Sequence[int]],
    users_at_once: int | None = None,
) -> list[Tensors]:
    """Inputs of exactly ``manifest.batch`` users each, as the job gives them in a full bundle.

    Args:
        histories, excluded: of n users, see `profiles_from_histories`; taken again from the start
            where they do not fill a batch.
        users_at_once: instead of ``manifest.batch``.
    """
    rows = users_at_once or bundle.manifest.batch
    count = min(DIFFERENT, -(-len(histories) // rows))
    users = [number % len(histories) for number in range(count * rows)]
    profiles = profiles_from_histories(
        [histories[user] for user in users], [excluded[user] for user in users]
    )
    shown = Histories.of(profiles, bundle.manifest.history_slots)
    tensors = features(shown, bundle.catalogue)
    return [
        {name: values[start : start + rows] for name, values in tensors.items()}
        for start in range(0, len(users), rows)
    ]


def by_turns(
    turns: Sequence[tuple[EngineBackend, Sequence[Tensors]]], rounds: int, clock: Clock
) -> NDArray[np.float64]:
    """Time of one batch of each engine, round after round, in ms, float64 [rounds, len(turns)].

    Args:
        turns: loaded and warm backends, and full batches for each.
        rounds: how often each has its turn.
        clock: read before and after each run.
    """
    took_ms = np.empty((rounds, len(turns)))
    for number in range(rounds):
        for place, (backend, batches) in enumerate(turns):
            batch = batches[number % len(batches)]
            began = clock()
            backend.run(batch)
            took_ms[number, place] = (clock() - began) * 1000
    return took_ms
