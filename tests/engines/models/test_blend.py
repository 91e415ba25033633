"""Candidates from every channel, each once, ranked by what users did next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engines.backends.base import RankedBatch
from engines.backends.onnx import OnnxBackend
from engines.bundle import Bundle
from engines.catalogue import item_hash
from engines.evaluate import profiles_from_histories
from engines.models import blend, channels, kinds, sasrec
from engines.models.blend import BlendModel
from engines.models.channels import CHANNELS, FEATURES, SIZES, BlendLister
from engines.models.interactions import Interactions
from engines.models.plan import FitSettings, Plan, Shape
from engines.models.ranker import Examples, Ranker, fit_ranker
from engines.models.sasrec import SasrecModel
from engines.registry import Registry
from tests.engines.examples import CLICK, inputs, random_profiles

ITEMS = 300
EVEN = {"click": 1.0, "cart": 1.0, "purchase": 1.0}


def walks(users: int = 150, length: int = 14) -> Interactions:
    """After item n comes n + 1, or now and then any; the title says the tens of n."""
    random = np.random.default_rng(0)
    log = []
    for user in range(users):
        item = int(random.integers(ITEMS))
        for place in range(length):
            log.append((f"user-{user}", str(item), CLICK, place * 3_600_000))
            item = (item + 1) % ITEMS if random.random() < 0.7 else int(random.integers(ITEMS))
    log += [("everything", str(item), CLICK, item) for item in range(ITEMS)]
    titles = {str(item): {"title": f"shelf {item // 10}"} for item in range(ITEMS)}
    return Interactions.read(log, titles)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> BlendModel:
    plan = Plan(
        shape=Shape.of_width(16),
        fit=FitSettings(epochs=3, negatives=50),
        checkpoints=tmp_path_factory.mktemp("checkpoints"),
    )
    fitted = kinds.fit("blend", walks(), plan)
    assert isinstance(fitted, BlendModel)
    return fitted


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, model: BlendModel) -> Bundle:
    return Registry(tmp_path_factory.mktemp("store")).add(model.draft(batch=16), "blend")


def ranked_by(bundle: Bundle, tensors: dict[str, NDArray[Any]]) -> RankedBatch:
    with OnnxBackend(bundle) as backend:
        return backend.run(tensors)


def test_the_engine_lists_what_the_model_lists(
    model: BlendModel, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def best(score: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ties to the lower index, as the engine has it and PyTorch's ``topk`` has not."""
        values, places = score.sort(dim=1, descending=True, stable=True)
        return values[:, :k], places[:, :k]

    monkeypatch.setattr(channels, "best", best)
    tensors = inputs(random_profiles(400, ITEMS), bundle)
    ranked = ranked_by(bundle, tensors)
    lister = BlendLister(model.channels, model.ranker, k=10).eval()
    given = {name: torch.from_numpy(array) for name, array in {**tensors, **model.tables}.items()}
    with torch.no_grad():
        scores, items, reasons = (output.numpy() for output in lister(**given))
    assert ranked.scores == pytest.approx(scores, abs=1e-3)
    same = (ranked.items == items) & (scores > -np.inf)
    assert same.mean() > 0.99  # the rest are near ties
    assert (ranked.channels[same] == reasons[same]).mean() > 0.99


def test_every_candidate_is_there_once_and_named_by_its_best_channel(model: BlendModel) -> None:
    profiles = random_profiles(100, ITEMS)
    catalogue = model.catalogue
    from engines.features import Histories, features

    tensors = features(Histories.of(profiles), catalogue)
    given = {name: torch.from_numpy(array) for name, array in {**tensors, **model.tables}.items()}
    with torch.no_grad():
        found = model.channels(**given)
    assert found.item.shape == (100, sum(SIZES.values()))
    named = set()
    for item, channel, excluded in zip(
        found.item.numpy(), found.channel.numpy(), tensors["excluded"], strict=True
    ):
        listed = item[item > 0]
        assert len(listed) == len(set(listed))
        assert not set(listed) & set(excluded[excluded > 0])
        named |= {CHANNELS[number] for number in channel[item > 0]}
    assert named == set(CHANNELS)
    assert torch.isfinite(found.feature).all()


def test_the_rule_of_the_log_is_found(bundle: Bundle) -> None:
    histories = [[(item_hash(str(item)), CLICK, 0)] for item in range(100)]
    own = [[item_hash(str(item))] for item in range(100)]
    ranked = ranked_by(bundle, inputs(profiles_from_histories(histories, own), bundle))
    ids = bundle.catalogue.item_ids[ranked.items]
    found = [str(item + 1) in row[:3] for item, row in enumerate(ids)]
    assert np.mean(found) > 0.7


def test_a_new_user_gets_what_is_in_trend_and_popular(bundle: Bundle) -> None:
    stranger = [(item_hash("never seen"), CLICK, 0)]
    ranked = ranked_by(bundle, inputs(profiles_from_histories([[], stranger]), bundle))
    assert (ranked.scores > -np.inf).all()
    names = set(np.array(CHANNELS)[ranked.channels].ravel())
    assert names <= {"trend", "popularity"}


def changed(bundle: Bundle, folder: Path, **tables: NDArray[Any]) -> Bundle:
    """The engine with other tables: the model stays the same, byte for byte."""
    from tests.engines.examples import copied

    return copied(bundle, folder, {**bundle.tables, **tables})


def test_what_is_not_available_is_not_listed(bundle: Bundle, tmp_path: Path) -> None:
    tensors = inputs(random_profiles(50, ITEMS), bundle)
    before = ranked_by(bundle, tensors)
    gone = before.items[:, 0].copy()
    available = bundle.tables["available"].copy()
    available[0, gone] = -np.inf
    other = changed(bundle, tmp_path, available=available)
    assert other.manifest.files["model.onnx"] == bundle.manifest.files["model.onnx"]
    after = ranked_by(other, tensors)
    assert not np.isin(after.items, gone[gone > 0]).any()
    assert (after.items > 0).all()


def examples(n: int = 400, slots: int = 12, rule: str = "content") -> Examples:
    """The right candidate is the one with the highest feature ``rule``."""
    torch.manual_seed(0)
    feature = torch.randn(n, slots, len(FEATURES))
    place = feature[:, :, FEATURES.index(rule)].argmax(1)
    return Examples(feature, torch.ones(n, slots, dtype=torch.bool), place, torch.zeros(n).long())


def hits(ranker: Ranker, found: Examples) -> float:
    with torch.no_grad():
        return float((ranker(found.feature).argmax(1) == found.place).float().mean())


def test_the_ranker_learns_which_feature_tells() -> None:
    found = examples()
    assert hits(Ranker(EVEN), found) < 0.3
    assert hits(fit_ranker(found, EVEN, seed=0), found) > 0.8


def test_without_examples_it_ranks_by_the_sum_it_begins_with() -> None:
    ranker = fit_ranker(examples(0), EVEN, seed=0)
    feature = torch.zeros(1, 2, len(FEATURES))
    feature[0, 0, FEATURES.index("sequence")] = 3.0
    feature[0, 1, FEATURES.index("cooccurrence")] = 1.0
    assert ranker(feature)[0].tolist() == pytest.approx(
        [3.0 + float(ranker(feature * 0)[0, 0]), 2.0 + float(ranker(feature * 0)[0, 0])]
    )


def test_the_weights_of_the_heads_decide() -> None:
    """Clicked is what is popular, bought is what the content says."""
    clicked, bought = examples(rule="popularity"), examples(rule="content")
    both = Examples(
        torch.cat([clicked.feature, bought.feature]),
        torch.cat([clicked.valid, bought.valid]),
        torch.cat([clicked.place, bought.place]),
        torch.cat([clicked.head, bought.head + 2]),
    )
    for weights, better, worse in (
        ({"click": 1.0, "cart": 0.0, "purchase": 0.0}, clicked, bought),
        ({"click": 0.0, "cart": 0.0, "purchase": 1.0}, bought, clicked),
    ):
        ranker = fit_ranker(both, weights, seed=0)
        assert hits(ranker, better) > 2 * hits(ranker, worse)


def test_tables_have_room_for_items_to_come(model: BlendModel) -> None:
    rows = {name: max(table.shape) for name, table in model.tables.items()}
    assert rows["popular"] == rows["trending"] == blend.LISTED
    assert len({rows[name] for name in rows if name not in ("popular", "trending")}) == 1
    assert rows["available"] >= ITEMS * 9 / 8
    assert np.isneginf(model.tables["available"][0, ITEMS + 1 :]).all()


@pytest.mark.parametrize("histories", [["a"], ["ab"], ["aaaa"], ["abc", "z", "abcd"]])
def test_the_smallest_logs_make_an_engine(tmp_path: Path, histories: list[str]) -> None:
    from tests.engines.examples import events

    seen = Interactions.read(events(*histories))
    plan = Plan(fit=FitSettings(epochs=2, negatives=4), checkpoints=tmp_path)
    made = Registry(tmp_path / "store").add(kinds.fit("blend", seen, plan).draft(batch=2), "tiny")
    with OnnxBackend(made) as backend:
        backend.warm_up()
        ranked = backend.run(inputs(profiles_from_histories([[]]), made))
    assert sorted(ranked.items[0][ranked.items[0] > 0]) == list(range(1, len(seen.catalogue) + 1))


def test_what_judged_the_fit_is_learnt_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two items that nobody had together before the validation began."""
    learnt = []
    gone_on = sasrec.gone_on

    def noting(*given: Any) -> SasrecModel:
        learnt.append(gone_on(*given))
        return learnt[-1]

    monkeypatch.setattr(sasrec, "gone_on", noting)
    old, begins = walks(), 1_000_000_000
    log = [
        *(
            (f"old-{user}", str(item), CLICK, place)
            for place, (user, item) in enumerate(pairs(old))
        ),
        *((f"new-{user}", item, CLICK, begins + user) for user in range(9) for item in ("3", "38")),
    ]
    plan = Plan(
        shape=Shape.of_width(16),
        fit=FitSettings(epochs=1, negatives=50),
        validate_from_ms=begins,
    )
    fitted = kinds.fit("blend", Interactions.read(log), plan)
    assert isinstance(fitted, BlendModel)
    index = {item: place for place, item in enumerate(fitted.catalogue.item_ids.tolist())}
    assert index["38"] in fitted.tables["neighbours"][index["3"]]
    assert index["3"] in fitted.tables["trending"][0, :2]
    assert fitted.channels.scorer.network is learnt[0].network


def pairs(seen: Interactions) -> list[tuple[int, str]]:
    """User and item of each event whose item is no "38" beside a "3"."""
    ids = seen.catalogue.item_ids[seen.item].tolist()
    with_38 = {user for user, item in zip(seen.user.tolist(), ids, strict=True) if item == "38"}
    events = zip(seen.user.tolist(), ids, strict=True)
    return [(user, item) for user, item in events if item != "3" or user not in with_38]
