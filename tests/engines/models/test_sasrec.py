"""The exported engine against the network it was made of."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.backends.onnx import OnnxBackend
from engines.bundle import Bundle
from engines.catalogue import item_hash
from engines.evaluate import profiles_from_histories
from engines.models import kinds, sasrec
from engines.models.interactions import Interactions
from engines.models.network import NewestScorer
from engines.models.plan import FitSettings, Plan, Shape
from engines.models.sasrec import POPULARITY, SasrecModel
from engines.models.windows import Windows
from engines.registry import Registry
from schemas.errors import EngineError
from tests.engines.examples import CLICK, events, inputs, random_profiles, random_sasrec
from tests.engines.rule import PLAN, SEEN, following, round_trips

ITEMS = 60
HIDE = 10


@pytest.fixture(scope="module")
def model() -> SasrecModel:
    return random_sasrec(ITEMS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def bundle(store: Path, model: SasrecModel) -> Bundle:
    return Registry(store).add(model.draft(batch=16), "sasrec")


def test_the_engine_lists_by_the_scores_of_the_network(model: SasrecModel, bundle: Bundle) -> None:
    tensors = inputs(random_profiles(400, ITEMS), bundle)
    with OnnxBackend(bundle) as backend:
        ranked = backend.run(tensors)
    with torch.no_grad():
        shown = (torch.from_numpy(tensors[name]) for name in ("item", "event_type", "gap_s"))
        told, known = NewestScorer(model.network)(*shown, torch.from_numpy(model.vectors))
    scores = (
        told * known
    ).numpy() @ model.vectors.T + POPULARITY * model.popularity / model.popularity.max()
    scores[:, 0] = -np.inf
    np.put_along_axis(scores, tensors["excluded"], -np.inf, axis=1)
    listed = ranked.scores > -np.inf
    found = np.take_along_axis(scores, ranked.items, axis=1)
    assert ranked.scores[listed] == pytest.approx(found[listed], abs=1e-4)
    best = -np.sort(-scores, axis=1)[:, :10]
    assert ranked.scores[listed] == pytest.approx(best[listed], abs=1e-4)


RESTARTED = """
import sys
from pathlib import Path
from engines.backends.onnx import OnnxBackend
from engines.registry import Registry
from tests.engines.examples import inputs, random_profiles

bundle = Registry(Path(sys.argv[1])).open("sasrec")
with OnnxBackend(bundle) as backend:
    ranked = backend.run(inputs(random_profiles(300, 60), bundle))
sys.stdout.buffer.write(ranked.items.tobytes() + ranked.scores.tobytes())
"""


def test_lists_are_the_same_after_a_restart(store: Path, bundle: Bundle) -> None:
    with OnnxBackend(bundle) as backend:
        ranked = backend.run(inputs(random_profiles(300, ITEMS), bundle))
    again = subprocess.run(
        [sys.executable, "-c", RESTARTED, store], check=True, capture_output=True
    )
    assert again.stdout == ranked.items.tobytes() + ranked.scores.tobytes()


def test_equal_weights_give_equal_bytes_that_name_no_folder(
    model: SasrecModel, bundle: Bundle
) -> None:
    again = random_sasrec(ITEMS).draft(batch=16)
    assert again.model == bundle.model
    assert str(Path(sasrec.__file__).parent).encode() not in again.model


def test_without_a_known_event_the_popular_come_first(bundle: Bundle) -> None:
    unknown = (item_hash("never seen"), CLICK, 0)
    hidden = (item_hash("7"), HIDE, 0)
    profiles = profiles_from_histories([[], [unknown], [hidden], [(item_hash("7"), CLICK, 0)]])
    with OnnxBackend(bundle) as backend:
        ranked = backend.run(inputs(profiles, bundle))
    names = np.array(bundle.manifest.channels)[ranked.channels]
    for place in range(3):  # all items are as popular: ties go to the lower index
        assert ranked.items[place].tolist() == list(range(1, 11))
        assert set(names[place]) == {"popularity"}
    assert set(names[3]) == {"sequence"}


def test_a_catalogue_shorter_than_a_list_is_padded(tmp_path: Path) -> None:
    bundle = Registry(tmp_path).add(random_sasrec(4).draft(batch=4), "short")
    profiles = profiles_from_histories([[(item_hash("1"), CLICK, 0)]], [[item_hash("2")]])
    with OnnxBackend(bundle) as backend:
        backend.warm_up()
        ranked = backend.run(inputs(profiles, bundle))
    listed = ranked.items[0, ranked.scores[0] > -np.inf]
    assert sorted(bundle.catalogue.item_ids[listed]) == ["0", "1", "3"]


def test_a_fit_says_how_it_was_made(tmp_path: Path) -> None:
    plan = Plan(
        seed=5,
        shape=Shape.of_width(8),
        fit=FitSettings(epochs=2, negatives=10),
        checkpoints=tmp_path,
    )
    manifest = (
        Registry(tmp_path / "store")
        .add(kinds.fit("sasrec", SEEN, plan).draft(batch=4), "shop")
        .manifest
    )
    assert manifest.model == "sasrec"
    assert manifest.parameters["width"] == 8
    assert manifest.parameters["seed"] == 5
    assert 0 <= manifest.metrics["validation_ndcg@100"] <= 1
    assert manifest.catalogue_size == 30


@pytest.mark.parametrize("histories", [["a"], ["ab"], ["aaaa"], ["abc", "z"]])
def test_the_smallest_logs_make_an_engine(tmp_path: Path, histories: list[str]) -> None:
    seen = Interactions.read(events(*histories))
    plan = Plan(fit=FitSettings(epochs=2, negatives=4), checkpoints=tmp_path)
    bundle = Registry(tmp_path / "store").add(
        kinds.fit("sasrec", seen, plan).draft(batch=2), "tiny"
    )
    with OnnxBackend(bundle) as backend:
        backend.warm_up()


def test_what_judged_the_fit_is_learnt_in_the_end() -> None:
    """Before a time n + 1 comes after n, and from then on n - 1."""
    begins = 100_000
    log = round_trips(1) + [
        (user, item, kind, begins + time_ms)
        for user, item, kind, time_ms in round_trips(-1, users=600)
    ]
    seen = Interactions.read(log)
    plan = replace(PLAN, validate_from_ms=begins)
    split = plan.split(seen)
    before = sasrec.fit_windows(split, Windows.of(split.train), plan)
    after = sasrec.gone_on(before, split, plan)
    assert following(after, -1) > 0.8 > 0.4 > following(before, -1)
    assert after.metrics == before.metrics


def test_where_nothing_was_held_out_there_is_nothing_more_to_learn() -> None:
    split = replace(PLAN, validate_from_ms=10**12).split(SEEN)
    model = random_sasrec(5)
    assert sasrec.gone_on(model, split, PLAN) is model


def test_without_pytorch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("engines.models.fitting")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(EngineError, match=r"needs the package torch[\s\S]*headrace\[train\]"):
        kinds.fit("sasrec", SEEN, Plan())


def test_the_streaming_path_never_imports_pytorch() -> None:
    code = "import sys, udfs.rank, pipeline.cli, pipeline.train; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
