"""A list depends on its own profile alone, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from engines.backends.onnx import OnnxBackend, instruction_set
from engines.bundle import Bundle
from engines.draft import Draft
from engines.evaluate import profiles_from_histories
from schemas.errors import EngineError
from tests.engines.backends.conftest import ITEMS, opened, rows
from tests.engines.examples import inputs, random_model, random_profiles, scorer, scorer_draft

node = helper.make_node


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return opened(tmp_path_factory.mktemp("store"), random_model(ITEMS).draft(batch=16))


def test_ten_thousand_lists_are_the_same_in_any_order_and_company(each: Bundle) -> None:
    profiles = random_profiles(10_000, ITEMS)
    order = np.random.default_rng(1).permutation(len(profiles))
    with OnnxBackend(each) as backend:
        straight = rows(backend.run(inputs(profiles, each)))
        shuffled = rows(backend.run(inputs(profiles[order], each)))
        parts = [
            row
            for part in np.array_split(profiles, 137)
            for row in rows(backend.run(inputs(part, each)))
        ]
    assert [straight[place] for place in order] == shuffled
    assert straight == parts
    assert len(set(straight)) > 9_000


def test_every_list_is_ranked_without_what_is_excluded(each: Bundle) -> None:
    profiles = random_profiles(500, ITEMS)
    tensors = inputs(profiles, each)
    with OnnxBackend(each) as backend:
        ranked = backend.run(tensors)
    for items, scores, excluded in zip(
        ranked.items, ranked.scores, tensors["excluded"], strict=True
    ):
        listed = items[scores > -np.inf].tolist()
        assert len(set(listed)) == len(listed) == min(10, ITEMS - len(set(excluded[excluded > 0])))
        assert not set(listed) & set(excluded.tolist())
        assert 0 not in listed
        assert (np.diff(scores[: len(listed)]) <= 0).all()


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 32])
def test_any_number_of_rows_is_ranked(bundle: Bundle, n: int) -> None:
    tensors = inputs(random_profiles(40, ITEMS), bundle)
    with OnnxBackend(bundle) as backend:
        whole = rows(backend.run(tensors))
        ranked = backend.run({name: tensor[:n] for name, tensor in tensors.items()})
    assert ranked.items.shape == ranked.scores.shape == ranked.channels.shape == (n, 10)
    assert rows(ranked) == whole[:n]


def test_results_stay_after_the_next_run(bundle: Bundle) -> None:
    tensors = inputs(random_profiles(20, ITEMS), bundle)
    with OnnxBackend(bundle) as backend:
        ranked = backend.run(tensors)
        before = rows(ranked)
        backend.run({name: tensor[::-1] for name, tensor in tensors.items()})
    assert rows(ranked) == before


def test_warm_up_takes_a_sound_engine(each: Bundle) -> None:
    with OnnxBackend(each) as backend:
        backend.warm_up()


def test_warm_up_catches_rows_that_mix_behind_a_transpose(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", ["start"], ["turned"], perm=[1, 0]),
        node("ReduceMax", ["turned", "columns"], ["most"], keepdims=1),
        node("Sub", ["turned", "most"], ["scaled"]),
        node("Transpose", ["scaled"], ["x"], perm=[1, 0]),
    ]
    model = scorer(nodes, constants={"columns": np.array([1])})
    with (
        OnnxBackend(opened(tmp_path, scorer_draft(model))) as backend,
        pytest.raises(EngineError, match="mixes the rows of a batch"),
    ):
        backend.warm_up()


@pytest.mark.parametrize("swapped", [(5, 6), (1, 6), (0, 7)])
def test_warm_up_catches_two_rows_that_change_places(
    tmp_path: Path, swapped: tuple[int, int]
) -> None:
    order = np.arange(8)
    order[list(swapped)] = swapped[::-1]
    with (
        OnnxBackend(opened(tmp_path, gathered(order))) as backend,
        pytest.raises(EngineError, match="mixes the rows of a batch"),
    ):
        backend.warm_up()


def test_warm_up_takes_rows_that_are_gathered_where_they_were(tmp_path: Path) -> None:
    with OnnxBackend(opened(tmp_path, gathered(np.arange(8)))) as backend:
        backend.warm_up()


def gathered(order: NDArray[np.int64]) -> Draft:
    """An engine of batch 8 that lists in row n what belongs in row ``order[n]``."""
    swap = node("Gather", ["start", "order"], ["x"], axis=0)
    return scorer_draft(scorer([swap], items=40, batch=8, constants={"order": order}), 40, 8)


def test_scores_that_are_not_numbers_are_an_error(tmp_path: Path) -> None:
    model = scorer([node("Log", ["start"], ["log"]), node("Mul", ["log", "start"], ["x"])])
    bundle = opened(tmp_path, scorer_draft(model))
    with OnnxBackend(bundle) as backend:
        assert not np.isnan(backend.run({"item": np.ones((1, 50), np.int64)}).scores).any()
        with pytest.raises(EngineError, match=r"not numbers[\s\S]*NaN in 1 of 2 lists"):
            backend.run({"item": np.repeat([[1], [0]], 50, axis=1)})


def test_items_outside_the_catalogue_are_an_error(tmp_path: Path) -> None:
    unmasked = {"mask": np.zeros(5, np.float32)}
    model = scorer([node("Neg", ["start"], ["x"])], constants=unmasked)
    bundle = opened(tmp_path, scorer_draft(model))
    with (
        OnnxBackend(bundle) as backend,
        pytest.raises(EngineError, match=r"unknown items[\s\S]*1\.\.4[\s\S]*0\.\.2"),
    ):
        backend.run({"item": np.ones((1, 50), np.int64)})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"item": None}, r"item does not fit[\s\S]*nothing"),
        ({"item": np.zeros((3, 9), np.int64)}, r"item[\s\S]*\[3, 9\]"),
        ({"item": np.zeros((3, 8), np.int32)}, r"item[\s\S]*int32"),
        ({"item": np.zeros((2, 8), np.int64)}, "different length"),
    ],
)
def test_features_that_do_not_fit_are_an_error(
    bundle: Bundle, change: dict[str, NDArray[Any]], match: str
) -> None:
    tensors = inputs(random_profiles(3, ITEMS), bundle)
    given = {k: v for k, v in {**tensors, **change}.items() if v is not None}
    with OnnxBackend(bundle) as backend, pytest.raises(EngineError, match=match):
        backend.run(given)


def test_a_backend_that_is_not_loaded_says_so(bundle: Bundle) -> None:
    backend = OnnxBackend(bundle)
    tensors = inputs(random_profiles(1, ITEMS), bundle)
    with pytest.raises(EngineError, match="not loaded"):
        backend.run(tensors)
    with backend:
        backend.run(tensors)
    with pytest.raises(EngineError, match="not loaded"):
        backend.run(tensors)


def test_a_model_that_the_runtime_refuses_is_an_error(tmp_path: Path) -> None:
    model = onnx.load_from_string(scorer([node("Neg", ["start"], ["x"])]))
    bundle = opened(tmp_path, scorer_draft(model.SerializeToString()))
    spoiled = Bundle(
        bundle.folder, bundle.manifest, bundle.digest, b"junk", bundle.catalogue, {}, b""
    )
    with pytest.raises(EngineError, match="cannot load the engine test@1"):
        OnnxBackend(spoiled).activate()


def test_int8_is_multiplied_exactly(tmp_path: Path) -> None:
    """ONNX Runtime's own int8 product adds two of these in 16 bits, where AVX2 is all there is."""
    constants = {
        "one": np.float32(1),
        "none": np.int8(0),
        "numbers": np.full((5, 5), 127, np.int8),
        "scales": np.array([1, 1.5, 2, 2.5, 3], np.float32),
        "nones": np.zeros(5, np.int8),
    }
    nodes = [
        node("QuantizeLinear", ["start", "one", "none"], ["rounded"]),
        node("DequantizeLinear", ["rounded", "one", "none"], ["left"]),
        node("DequantizeLinear", ["numbers", "scales", "nones"], ["right"], axis=1),
        node("MatMul", ["left", "right"], ["product"]),
        node("Abs", ["product"], ["x"]),
    ]
    bundle = opened(tmp_path, scorer_draft(scorer(nodes, constants=constants)))
    with OnnxBackend(bundle) as backend:
        ranked = backend.run({"item": np.full((2, 50), 127)})
    assert ranked.items[0].tolist() == [4, 3, 2]
    assert ranked.scores[0].tolist() == [5 * 127 * 127 * scale for scale in (3, 2.5, 2)]


def test_no_threads_are_refused(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="threads"):
        OnnxBackend(bundle, threads=0)


def test_the_runtime_digest_tells_shapes_and_threads_apart(tmp_path: Path, bundle: Bundle) -> None:
    other = opened(tmp_path, random_model(ITEMS).draft(batch=8))
    digests = {
        OnnxBackend(bundle).runtime_digest,
        OnnxBackend(bundle, threads=2).runtime_digest,
        OnnxBackend(other).runtime_digest,
    }
    assert len(digests) == 3
    assert {len(digest) for digest in digests} == {8}
    assert OnnxBackend(bundle).runtime_digest in digests


def test_the_instruction_set_names_the_machine() -> None:
    assert instruction_set()[0]
    assert instruction_set() == instruction_set()


def test_an_idle_user_gets_a_list(bundle: Bundle) -> None:
    with OnnxBackend(bundle) as backend:
        ranked = backend.run(inputs(profiles_from_histories([[]]), bundle))
    assert ranked.items[0].tolist() == list(range(1, 11))
    assert not ranked.channels.any()
