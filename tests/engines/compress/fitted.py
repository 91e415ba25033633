"""A little sasrec engine, fitted on a log with a rule, for the steps that fit on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engines.models.interactions import Event, Interactions
from engines.models.plan import FitSettings, Plan, Shape
from tests.engines.examples import CLICK

ITEMS = 30
PLAN = Plan(
    shape=Shape.of_width(16, blocks=2, dropout=0.1),
    fit=FitSettings(epochs=4, events=64, negatives=20, warm_up=10),
)
SMALLER = replace(PLAN, shape=Shape.of_width(8, dropout=0.1))


def round_trips(step: int = 1, users: int = 60, length: int = 12) -> list[Event]:
    """After item n comes n + ``step``, or now and then any."""
    random = np.random.default_rng(0)
    log = []
    for user in range(users):
        item = int(random.integers(ITEMS))
        for place in range(length):
            log.append((f"user-{user}", f"item-{item:02}", CLICK, place * 1000))
            chance = int(random.integers(ITEMS))
            item = (item + step) % ITEMS if random.random() < 0.8 else chance
    return log


SEEN = Interactions.read(round_trips())
