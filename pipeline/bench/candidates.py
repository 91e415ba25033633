"""The engines that are to be timed: of the store, or made up, compressed and planned here.

model, items, batch ─▶ made up ─▶ compressed ─▶ a store that goes away after its turn
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path

from engines.backends.tensorrt.gpu import find_gpu
from engines.bundle import Bundle
from engines.compress.steps import STEPS, compressed
from engines.registry import Registry
from engines.roofline import Work, work_of
from pipeline.bench.made_up import batches, made_up
from pipeline.build import with_plan
from schemas.errors import EngineError

PlanOf = Callable[[Bundle], Bundle]
"""An engine with a plan of TensorRT; raises EngineError where it cannot have one."""
Tell = Callable[[str, int, int], None]
"""Told the stage, how much is done, and of how much."""

PRECISIONS = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
"""What a manifest calls them; but for the first, steps of `headrace compress`."""
CALIBRATING = 4
"""Batches: noise is as wide in few as in many."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An engine that is to be timed.

    Args:
        bundle: it; of one that could not be made, what it was to be made from.
        precision: as manifests call it.
        missing: why it could not be made; empty if it was.
    """

    bundle: Bundle
    precision: str
    missing: str = ""

    @cached_property
    def work(self) -> Work:
        """Of one batch."""
        return work_of(self.bundle)


@dataclass(frozen=True, eq=False)
class Group:
    """Engines that take turns.

    Args:
        candidates: they.
        users_at_once: how many users each is asked for.
        plan_of: one of them with a plan of TensorRT.
    """

    candidates: Sequence[Candidate]
    users_at_once: int
    plan_of: PlanOf


def stored(store: Registry, names: Sequence[str], users_at_once: Sequence[int]) -> Iterator[Group]:
    """Engines of the store, NAME or NAME@VERSION, with the plans that they have.

    Raises:
        EngineError: there is no such engine.
    """
    bundles = [store.open_named(name) for name in names]
    found = [Candidate(bundle, bundle.manifest.precision) for bundle in bundles]
    for number in users_at_once:
        yield Group(found, number, lambda bundle: bundle)


def made(
    models: Sequence[str],
    precisions: Sequence[str],
    items: Sequence[int],
    users_at_once: Sequence[int],
    tell: Tell,
) -> Iterator[Group]:
    """Made-up engines; one of each model and precision for each number of items and users.

    Args:
        models: in `made_up.KINDS`.
        precisions: in PRECISIONS.
        items: of the catalogue.
        users_at_once: the batch shape too.
        tell: told of exporting and building.
    """
    for size, number in product(items, users_at_once):
        with tempfile.TemporaryDirectory() as folder:
            store, found = Registry(Path(folder)), []
            for done, model in enumerate(models):
                tell("exporting", done, len(models))
                plain = store.add(made_up(model, size, number), model)
                found += [_in_precision(store, plain, precision) for precision in precisions]
            yield Group(found, number, _planner(store, tell))


def _in_precision(store: Registry, plain: Bundle, precision: str) -> Candidate:
    named = PRECISIONS[precision]
    if precision not in STEPS:
        return Candidate(plain, named)
    shown = batches(plain, plain.manifest.batch)[:CALIBRATING]
    try:
        draft = compressed(plain, precision, shown)
    except EngineError as error:
        return Candidate(plain, named, why(error))
    return Candidate(store.add(draft, plain.manifest.name), named)


def _planner(store: Registry, tell: Tell) -> PlanOf:
    @cache
    def plan_of(bundle: Bundle) -> Bundle:
        find_gpu()  # or nothing could run the plan
        return with_plan(store, bundle, tell)[0]

    return plan_of


def why(error: EngineError) -> str:
    """An error in one line."""
    return ": ".join(filter(None, (error.message, error.received)))
