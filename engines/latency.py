"""How long engines take for a batch, measured by turns so that a noisy machine hits all alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import EngineBackend, RankedBatch, Tensors
from engines.bundle import Bundle
from engines.evaluate import EventLists, profiles_from_histories
from engines.features import Histories, features

Clock = Callable[[], float]
"""Seconds since any moment."""

DIFFERENT = 16
"""Batches of different users; then the first comes again."""
LEAST_ROUNDS = 5
"""Fewer would have no median to speak of."""


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


@dataclass(frozen=True, eq=False)
class Turns:
    """What came of the turns of some engines.

    Args:
        took_ms: of one batch each, float64 [rounds, engines].
        lists: what each ranked in its first round through its batches, a batch after the other.
    """

    took_ms: NDArray[np.float64]
    lists: list[list[RankedBatch]]


def by_turns(
    turns: Sequence[tuple[EngineBackend, Sequence[Tensors]]],
    rounds: int,
    clock: Clock,
    *,
    within_s: float = math.inf,
    told: Callable[[int], None] = lambda done: None,
) -> Turns:
    """Time of one batch of each engine, round after round.

    Args:
        turns: loaded and warm backends, and full batches for each.
        rounds: how often each has its turn, at most.
        clock: read before and after each run.
        within_s: no round begins once all have taken so long; but LEAST_ROUNDS there are.
        told: how many rounds are done.
    """
    took_ms = np.zeros((rounds, len(turns)))
    lists: list[list[RankedBatch]] = [[] for _ in turns]
    done = 0
    while done < rounds and (done < LEAST_ROUNDS or took_ms.sum() < within_s * 1000):
        for place, (backend, batches) in enumerate(turns):
            batch = batches[done % len(batches)]
            began = clock()
            ranked = backend.run(batch)
            took_ms[done, place] = (clock() - began) * 1000
            if done < len(batches):
                lists[place].append(ranked)
        done += 1
        told(done)
    return Turns(took_ms[:done], lists)
