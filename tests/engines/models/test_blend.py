"""Candidates from every channel, each once, ranked by what users did next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from engines.backends.base import RankedBatch
from engines.backends.onnx import OnnxBackend
from engines.bundle import Bundle
from engines.catalogue import item_hash
from engines.compress.graph import load
from engines.evaluate import profiles_from_histories
from engines.features import Histories, features
from engines.models import blend, kinds, sasrec, top_k
from engines.models.blend import BlendModel
from engines.models.channels import CHANNELS, FEATURES, SIZES
from engines.models.interactions import Interactions
from engines.models.plan import FitSettings, Plan, Shape
from engines.models.ranker import Examples, Ranker, fit_ranker
from engines.models.sasrec import SasrecModel
from engines.registry import Registry
from schemas.errors import EngineError
from tests.engines.examples import CLICK, inputs, random_blend, random_profiles
from tests.engines.models import plain_blend

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


def scattered(items: int, tiles: int, monkeypatch: pytest.MonkeyPatch) -> BlendModel:
    """A model whose weights are all noise, so that every feature of a candidate moves its score."""
    if tiles > 1:
        monkeypatch.setattr(top_k, "TILE", 256)
        monkeypatch.setattr(top_k, "TILE_STEP", 8)
    model = random_blend(items)
    assert top_k.tiles_of(len(model.tables["item_vectors"])) == tiles
    torch.manual_seed(1)
    for parameter in model.ranker.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    ranker = cast(Ranker, model.ranker)
    ranker.mean.normal_()
    ranker.scale.uniform_(0.5, 2)
    return model


@pytest.mark.parametrize("tiles", [1, 3])
def test_the_engine_lists_what_plain_numpy_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiles: int
) -> None:
    model = scattered(600, tiles, monkeypatch)
    gone = np.arange(1, 600, 9)
    model.tables["available"][0, gone] = -np.inf
    made = Registry(tmp_path).add(model.draft(batch=16), "blend")
    whole_row = [16, len(model.tables["item_vectors"])]
    assert (whole_row in shapes(made)) == (tiles == 1)
    tensors = inputs(random_profiles(300, 600), made)
    ranked = ranked_by(made, tensors)
    for place, wanted in enumerate(plain_blend.named(model, tensors)):
        best = np.lexsort((wanted.items, -wanted.scores))[:10]
        assert ranked.scores[place] == pytest.approx(wanted.scores[best], abs=1e-4)
        same = ranked.items[place] == wanted.items[best]
        assert same.all() or near_tie(wanted.scores)
        assert (ranked.channels[place] == wanted.channels[best])[same].all()
        assert not np.isin(ranked.items[place], gone).any()


def shapes(bundle: Bundle) -> list[list[int]]:
    """Of all values that the model makes on its way."""
    graph = onnx.shape_inference.infer_shapes(load(bundle), data_prop=True).graph
    values = [value.type.tensor_type.shape.dim for value in graph.value_info]
    return [[dim.dim_value for dim in dims] for dims in values]


def near_tie(scores: NDArray[np.float32]) -> bool:
    """Whether two of the 11 best are as near as a last bit can bring them together."""
    return bool(np.diff(np.sort(scores)[-11:]).min() < 1e-5)


@pytest.mark.parametrize("tiles", [1, 3])
def test_the_features_of_candidates_are_what_plain_numpy_has(
    monkeypatch: pytest.MonkeyPatch, tiles: int
) -> None:
    model = scattered(600, tiles, monkeypatch)
    tensors = dict(features(Histories.of(random_profiles(200, 600)), model.catalogue))
    given = {name: torch.from_numpy(array) for name, array in {**tensors, **model.tables}.items()}
    with torch.no_grad():
        found = model.channels(**given)
    assert found.item.shape == (200, sum(SIZES.values()))
    assert torch.isfinite(found.feature).all()
    for item, feature, wanted in zip(
        found.item.numpy(),
        found.feature.numpy(),
        plain_blend.named(model, tensors),
        strict=True,
    ):
        both = np.isin(item, wanted.items)
        named = item[item > 0]
        assert len(named) == len(set(named))
        assert both.sum() > 0.95 * max(len(named), len(wanted.items))  # PyTorch breaks ties anyhow
        at = np.searchsorted(wanted.items, item[both])
        assert feature[both] == pytest.approx(wanted.features[at], abs=1e-4)


def test_the_engine_gives_its_model_back(bundle: Bundle) -> None:
    manifest = bundle.manifest
    again = blend.of_bundle(bundle).draft(batch=manifest.batch)
    assert again.model == bundle.model
    assert again.weights == bundle.weights
    assert (again.parameters, again.metrics) == (manifest.parameters, manifest.metrics)
    assert again.tables.keys() == bundle.tables.keys()
    assert all((again.tables[name] == bundle.tables[name]).all() for name in again.tables)


def spoilt(bundle: Bundle, **changes: Any) -> Bundle:
    return replace(bundle, manifest=bundle.manifest.model_copy(update=changes))


def test_weights_that_do_not_fit_are_refused(bundle: Bundle) -> None:
    wider = {**bundle.manifest.parameters, "width": 32}
    without = {k: v for k, v in bundle.manifest.parameters.items() if k != "heads"}
    for wrong, why in (
        (replace(bundle, weights=b""), r"a blend engine: .*header"),
        (replace(bundle, weights=bundle.weights[:-8]), "a blend engine: "),
        (spoilt(bundle, parameters=wider), "a blend engine: .*state_dict"),
        (spoilt(bundle, parameters=without), "a blend engine: 'heads'"),
        (spoilt(bundle, model="sasrec"), "a sasrec engine"),
    ):
        with pytest.raises(EngineError, match=f"cannot be taken up[\\s\\S]*{why}"):
            blend.of_bundle(wrong)
    with pytest.raises(EngineError, match=r"train sasrec`[\s\S]*a blend engine"):
        sasrec.of_bundle(bundle)


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


def examples(n: int = 400, slots: int = 12, rule: str = "content", head: int = 0) -> Examples:
    """The right candidate is the one with the highest feature ``rule``."""
    torch.manual_seed(0)
    feature = torch.randn(n, slots, len(FEATURES))
    place = feature[:, :, FEATURES.index(rule)].argmax(1)
    valid = torch.ones(n, slots, dtype=torch.bool)
    return Examples.of_events(feature, valid, place, torch.full((n,), head))


def hits(ranker: Ranker, found: Examples) -> float:
    with torch.no_grad():
        own = found.chance.sum(2).gather(1, ranker(found.feature).argmax(1, keepdim=True))
        return float(own.mean())


def test_the_ranker_learns_which_feature_tells() -> None:
    found = examples()
    assert hits(Ranker(EVEN), found) < 0.3
    assert hits(fit_ranker(found, EVEN, seed=0), found) > 0.8


def test_the_loss_by_hand() -> None:
    """A purchase for certain, and what a teacher says of clicks at a temperature of 2."""
    event = examples(n=1, slots=3, head=2)
    valid = torch.tensor([[True, False, True]])
    chance = torch.zeros(1, 3, 3)
    chance[0, [0, 2], 0] = torch.tensor([0.3, 0.7])
    lesson = Examples(event.feature, valid, chance, torch.tensor([2.0]))
    ranker = Ranker(EVEN)
    torch.nn.init.normal_(ranker.heads.weight)
    scores = ranker.by_head(event.feature)[0].double()
    clicks = (scores[[0, 2], 0] / 2).log_softmax(0)
    wanted = -scores[:, 2].log_softmax(0)[event.chance[0, :, 2].argmax()]
    wanted -= 4 * (0.3 * clicks[0] + 0.7 * clicks[1])
    found = ranker.loss(Examples.joined([event, lesson]))
    torch.testing.assert_close(found.double(), wanted / 2, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("users", "candidates"), [(0, 12), (1, 1)])
def test_without_a_choice_it_ranks_by_the_sum_it_begins_with(users: int, candidates: int) -> None:
    ranker = fit_ranker(examples(users, candidates), EVEN, seed=0)
    feature = torch.zeros(1, 2, len(FEATURES))
    feature[0, 0, FEATURES.index("sequence")] = 3.0
    feature[0, 1, FEATURES.index("cooccurrence")] = 1.0
    assert ranker(feature)[0].tolist() == pytest.approx(
        [3.0 + float(ranker(feature * 0)[0, 0]), 2.0 + float(ranker(feature * 0)[0, 0])]
    )


def test_the_weights_of_the_heads_decide() -> None:
    """Clicked is what is popular, bought is what the content says."""
    clicked, bought = examples(rule="popularity"), examples(rule="content", head=2)
    both = Examples.joined([clicked, bought])
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
