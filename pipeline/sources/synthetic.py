"""A seeded shop: items with titles, categories and prices, and users with planted taste.

    user ── prefers ──▶ 2 of the categories (one is exchanged now and then: taste drifts)
    next item = a companion of the user's last item   (COMPANION_SHARE of the time)
              | an item of a preferred category        (popular ones more often)

So there is something to learn: a list from co-occurrence must beat the popularity list, and a list
from fresh events must beat one from yesterday. The same seed gives the same log.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from pipeline.sources.base import OPEN, Item, UserEvent, Window
from pipeline.sources.source import Source
from schemas.errors import SourceError

WORDS = {
    "Lighting": ("Lamp", "Lantern", "Candle", "Spotlight", "Chandelier"),
    "Kitchen": ("Kettle", "Teapot", "Bowl", "Ladle", "Jar"),
    "Garden": ("Trowel", "Planter", "Birdhouse", "Hose", "Bench"),
    "Stationery": ("Notebook", "Pen", "Stamp", "Folder", "Calendar"),
    "Textiles": ("Cushion", "Throw", "Curtain", "Apron", "Towel"),
    "Toys": ("Puzzle", "Kite", "Robot", "Marble Run", "Doll"),
    "Music": ("Record", "Metronome", "Ukulele", "Songbook", "Drum"),
    "Outdoors": ("Tent", "Flask", "Compass", "Rucksack", "Hammock"),
    "Bath": ("Soap", "Brush", "Mirror", "Mat", "Basket"),
    "Art": ("Easel", "Palette", "Print", "Frame", "Clay"),
}
STYLES = (
    "Oak",
    "Copper",
    "Blue",
    "Vintage",
    "Nordic",
    "Folding",
    "Tiny",
    "Striped",
    "Glass",
    "Red",
)
TYPES = (
    ("impression", 15),
    ("view", 40),
    ("click", 28),
    ("cart", 8),
    ("purchase", 5),
    ("like", 2),
    ("hide", 1),
    ("rating", 1),
)
START_MS = 1_767_225_600_000  # 2026-01-01, so that the same seed gives the same times
INTERVAL_MS = 5_000.0
EVENTS = 100_000
COMPANION_SHARE = 0.6
COMPANIONS = 4
DRIFT_SHARE = 0.01


@dataclass(slots=True)
class Shopper:
    """One user: the categories preferred now, and the item acted on last."""

    user_id: str
    liked: list[int]
    last: int | None = None


@dataclass(frozen=True)
class Shop:
    """The whole shop, made from a seed.

    Attributes:
        seed: same seed, same shop and same log.
        users: number of users.
        items_per_category: items in each of the ten categories.
        activity: exponent of Zipf's law by which users act; 0: all alike.
        types: event types and how often each comes, relative to the others.
    """

    seed: int = 7
    users: int = 1500
    items_per_category: int = 60
    activity: float = 0.6
    types: tuple[tuple[str, int], ...] = TYPES
    categories: tuple[str, ...] = field(default=tuple(WORDS))

    @cached_property
    def catalogue(self) -> list[Item]:
        """All items, those of one category side by side."""
        chance = random.Random(f"{self.seed} items")  # noqa: S311 - a seeded log, not a secret
        return [
            self._item(chance, category, place)
            for category in self.categories
            for place in range(self.items_per_category)
        ]

    def _item(self, chance: random.Random, category: str, place: int) -> Item:
        noun = WORDS[category][place % len(WORDS[category])]
        style = STYLES[place // len(WORDS[category]) % len(STYLES)]
        edition = place // (len(WORDS[category]) * len(STYLES))
        return Item(
            item_id=f"{category[:3].lower()}-{place:03d}",
            title=f"{style} {noun}" + (f" No. {edition + 1}" if edition else ""),
            category=category,
            price=round(chance.lognormvariate(3, 0.7), 2),
            provider=f"maker-{chance.randrange(40):02d}",
        )

    def events(self, count: int, start_ms: int, interval_ms: float) -> Iterator[UserEvent]:
        """The log: ``count`` events, evenly spaced in time.

        Args:
            count: number of events.
            start_ms: time of the first one, ms since 1970.
            interval_ms: time between two.
        """
        chance = random.Random(f"{self.seed} events")  # noqa: S311
        shoppers = [
            Shopper(f"user-{at:05d}", chance.sample(range(len(self.categories)), 2))
            for at in range(self.users)
        ]
        activity = zipf(self.users, self.activity)
        popularity = zipf(self.items_per_category, 0.8)
        kinds, weights = zip(*self.types, strict=True)
        for at in range(count):
            shopper = chance.choices(shoppers, cum_weights=activity)[0]
            item = self._next_item(chance, shopper, popularity)
            kind = chance.choices(kinds, weights)[0]
            if kind != "impression":
                shopper.last = item
            yield UserEvent(
                event_id=f"shop-{self.seed}-{at:08d}",
                user_id=shopper.user_id,
                item_id=self.catalogue[item].item_id,
                event_type=kind,
                event_time=round(start_ms + at * interval_ms),
                value=self._value(chance, kind, item),
                surface="shop",
            )

    def _next_item(self, chance: random.Random, shopper: Shopper, popularity: list[float]) -> int:
        if chance.random() < DRIFT_SHARE:
            shopper.liked = [shopper.liked[1], chance.randrange(len(self.categories))]
        size = self.items_per_category
        if shopper.last is not None and chance.random() < COMPANION_SHARE:
            category, place = divmod(shopper.last, size)
            # Companions: the same few neighbours of an item for everybody.
            return category * size + (place * 7 + chance.randint(1, COMPANIONS)) % size
        place = chance.choices(range(size), cum_weights=popularity)[0]
        return chance.choice(shopper.liked) * size + place

    def _value(self, chance: random.Random, kind: str, item: int) -> float | None:
        if kind == "rating":
            return float(chance.randint(1, 5))
        return self.catalogue[item].price if kind in ("cart", "purchase") else None


class SyntheticSource(Source):
    """The log of a shop.

    Args:
        path: none; there is no file.
        window: as for every source.
        shop: whose log.
        count, start_ms, interval_ms: as for ``Shop.events``.
    """

    def __init__(
        self,
        path: Path | None = None,
        window: Window = OPEN,
        *,
        shop: Shop | None = None,
        count: int = EVENTS,
        start_ms: int = START_MS,
        interval_ms: float = INTERVAL_MS,
    ) -> None:
        if path is not None:
            raise SourceError(
                "the synthetic log is made up",
                expected="no path",
                received=str(path),
                fix="leave the path out, or choose the --source that fits the file",
            )
        super().__init__(window)
        self.shop = shop or Shop()
        self.total = count
        self._count = count
        self._start_ms = start_ms
        self._interval_ms = interval_ms

    def read(self, counts: Counter[str]) -> Iterator[UserEvent]:
        return self.shop.events(self._count, self._start_ms, self._interval_ms)

    def in_order(self) -> bool:
        return True

    def items(self) -> Iterator[Item]:
        return iter(self.shop.catalogue)


def zipf(size: int, exponent: float) -> list[float]:
    """Cumulative weights of Zipf's law: the n-th of ``size`` weighs ``n ** -exponent``."""
    return list(accumulate((rank + 1) ** -exponent for rank in range(size)))
