"""A student's ranker learns what the heads of its teacher know, and its own log hardly tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from engines.bundle import Bundle
from engines.catalogue import item_hash
from engines.compress.distill import taught
from engines.compress.fitted_on import network_of
from engines.compress.heads import TEMPERATURE, head_chances, passed_on
from engines.compress.prune import Kept, pruned
from engines.evaluate import profiles_from_histories
from engines.features import Histories, features
from engines.models import blend
from engines.models.blend import BlendModel
from engines.models.channels import FEATURES, BlendLister, Candidates
from engines.models.interactions import Event, Interactions
from engines.models.network import SequenceLister
from engines.models.plan import FitSettings, Plan, Shape
from engines.models.ranker import HEADS, Ranker
from engines.models.sasrec import POPULARITY, SasrecModel
from engines.models.tables import item_tables
from engines.registry import Registry
from schemas.errors import EngineError
from tests.engines.examples import CLICK, events, fit

ITEMS, PURCHASE = 120, 5
CLICKED, BOUGHT = 1, -2
"""After a click on n."""
PLAN = Plan(
    shape=Shape.of_width(16, dropout=0.1),
    fit=FitSettings(epochs=5, events=64, negatives=30, warm_up=10),
)
STUDENT = replace(
    PLAN,
    shape=Shape.of_width(8, dropout=0.1),
    head_weights={"click": 0.0, "cart": 0.0, "purchase": 1.0},
)


def shoppers(users: int, seed: int) -> list[Event]:
    """Who clicked n clicks n + 1 next, or now and then buys n - 2 first."""
    random = np.random.default_rng(seed)
    log = []
    for user in range(users):
        first = int(random.integers(ITEMS))
        for place in range(14):
            item = first + place
            log.append((f"user-{user}", str(item % ITEMS), CLICK, place * 1000))
            if place > 3 and random.random() < 0.3:
                bought = str((item + BOUGHT) % ITEMS)
                log.append((f"user-{user}", bought, PURCHASE, place * 1000 + 500))
    return log


SEEN = Interactions.read(shoppers(60, seed=1))
"""A student's log; six of its events are judged, and teach a ranker."""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One judged event of each of 100 users taught its ranker."""
    seen = Interactions.read(shoppers(100, seed=0))
    model = blend.fit(seen, replace(PLAN, validate_from_ms=9_250))
    return Registry(tmp_path_factory.mktemp("store")).add(model.draft(batch=32), "shop")


def with_heads(bundle: Bundle, order: list[int]) -> Bundle:
    """The engine with its heads in another order; its lists are of equal weights, and so stay."""
    weights = load(bundle.weights)
    weights["ranker.heads.weight"] = weights["ranker.heads.weight"][order].contiguous()
    return replace(bundle, weights=save(weights))


def found(model: BlendModel | SasrecModel, step: int) -> float:
    """How often the item ``step`` further is among the first three after six clicks."""
    clicks = [[(first + place) % ITEMS for place in range(6)] for first in range(ITEMS)]
    histories = [
        [(item_hash(str(item)), CLICK, place * 1000) for place, item in enumerate(row)]
        for row in clicks
    ]
    shown = features(Histories.of(profiles_from_histories(histories), 50), model.catalogue)
    if isinstance(model, BlendModel):
        lister, tables = BlendLister(model.channels, model.ranker, 3), model.tables
    else:
        lister = SequenceLister(model.network, 3, POPULARITY)
        tables = item_tables(model.vectors, model.popularity, 160)
    given = {name: torch.from_numpy(array) for name, array in {**shown, **tables}.items()}
    with torch.no_grad():
        items = lister.eval()(**given)[1].numpy()
    listed = model.catalogue.item_ids[items].tolist()
    wanted = [str((row[-1] + step) % ITEMS) for row in clicks]
    return float(np.mean([item in row for item, row in zip(wanted, listed, strict=True)]))


def test_a_student_of_many_tasks_lists_what_will_be_bought(teacher: Bundle) -> None:
    """Its own log has too few purchases, and lists alone do not tell them from clicks."""
    many = taught(teacher, "blend", SEEN, STUDENT)
    one = taught(teacher, "sasrec", SEEN, STUDENT)
    alone = blend.fit(SEEN, STUDENT)
    assert found(many, BOUGHT) > 0.4 > 0.2 > max(found(one, BOUGHT), found(alone, BOUGHT))


def test_that_is_what_the_head_says_that_counts(teacher: Bundle) -> None:
    """With click and purchase exchanged in the teacher's heads it lists what will be clicked."""
    misled = taught(with_heads(teacher, [2, 1, 0]), "blend", SEEN, STUDENT)
    assert found(misled, CLICKED) > 0.8 > 0.2 > found(misled, BOUGHT)


def test_a_teacher_without_heads_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    other = Registry(tmp_path).add(fit(events("abc", "abd")).draft(), "other")
    with pytest.raises(EngineError, match=r"cannot be taken up[\s\S]*train blend[\s\S]*a cooc"):
        taught(other, "blend", SEEN, replace(STUDENT, fit=FitSettings(epochs=10_000)))


def test_a_pruned_blend_is_a_whole_one(teacher: Bundle, tmp_path: Path) -> None:
    plan = replace(STUDENT, fit=replace(PLAN.fit, epochs=1))
    draft = pruned(teacher, SEEN, plan, Kept(heads=1, hidden=40))
    child = Registry(tmp_path).add(draft, "child")
    assert (child.manifest.model, child.manifest.parent) == ("blend", teacher.label)
    shape = network_of(child).shape
    assert (shape.width, shape.heads, shape.hidden) == (16, 1, 40)
    model = blend.of_bundle(child)
    assert model.ranker.weights == blend.of_bundle(teacher).ranker.weights
    assert found(model, CLICKED) > 0.8


def candidates(item: list[list[int]], seed: int = 0) -> Candidates:
    torch.manual_seed(seed)
    slots = torch.tensor(item)
    return Candidates(slots, slots * 0, torch.randn(*slots.shape, len(FEATURES)))


def test_chances_are_the_softmax_of_each_head_over_candidates() -> None:
    torch.manual_seed(0)
    ranker = Ranker(dict.fromkeys(HEADS, 1.0))
    torch.nn.init.normal_(ranker.heads.weight)
    shown = candidates([[4, 0, 7], [0, 0, 0]])
    chance = head_chances(ranker, shown)
    scores = ranker.by_head(shown.feature)[0, [0, 2]]
    torch.testing.assert_close(chance[0, [0, 2]], (scores / TEMPERATURE).softmax(0).detach())
    assert not chance[0, 1].any()
    assert not chance[1].any()


@st.composite
def slots(draw: st.DrawFn, size: int) -> Tensor:
    """Candidates of one user, each once, with void slots."""
    item = draw(st.permutations(range(1, 9)).map(lambda order: order[:size]))
    return torch.tensor(item) * torch.tensor(
        draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    )


@given(slots(6), slots(4), st.integers(0, 99))
def test_what_both_have_keeps_its_odds(theirs: Tensor, ours: Tensor, seed: int) -> None:
    chance = torch.rand(1, 6, 3, generator=torch.Generator().manual_seed(seed)) + 0.1
    chance *= (theirs > 0)[None, :, None]
    learnt = passed_on(theirs[None], chance, ours[None])[0]
    of_item = {int(item): chance[0, place] for place, item in enumerate(theirs) if item > 0}
    wanted = torch.stack([of_item.get(int(item), torch.zeros(3)) for item in ours])
    assert ((learnt > 0) == (wanted > 0)).all()
    if (wanted > 0).any():
        torch.testing.assert_close(learnt, wanted / wanted.sum(0))
