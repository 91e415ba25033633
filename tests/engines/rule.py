"""A log with a rule, a plan that learns it in a second, and how well it is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from engines.models.interactions import Event, Interactions
from engines.models.plan import FitSettings, Plan, Shape
from engines.models.sasrec import SasrecModel
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


def following(model: SasrecModel, step: int) -> float:
    """How often the item ``step`` further is among the first three after an item."""
    ids = [f"item-{number:02}" for number in range(ITEMS)]
    index = {item: place for place, item in enumerate(model.catalogue.item_ids.tolist())}
    vectors = torch.from_numpy(model.vectors)
    hits = 0
    for number, item in enumerate(ids):
        shown = torch.tensor([[index[item]]])
        with torch.no_grad():
            told = model.network(
                vectors[shown], shown, torch.full((1, 1), 3), torch.zeros(1, 1), 1
            )[0, 0]
        best = (vectors @ told)[1:].topk(3).indices + 1
        hits += index[ids[(number + step) % ITEMS]] in best.tolist()
    return hits / ITEMS
