"""Product quantisation of a catalogue that has more items than a codebook has centroids."""

from __future__ import annotations

import sys
from pathlib import Path

import faiss
import numpy as np
import onnx
import onnxruntime
import pytest

from engines.backends.base import RankedBatch
from engines.backends.constants import with_tables
from engines.backends.onnx import OnnxBackend
from engines.bundle import Bundle
from engines.compress.graph import load, shapes_of
from engines.compress.product import fitted_codebooks
from engines.compress.steps import compressed
from engines.models import top_k
from engines.product_codes import MOST, codebooks_of
from engines.registry import Registry
from engines.vectors import rows_of
from schemas.errors import EngineError
from tests.engines.examples import copied, inputs, random_content, random_profiles

ITEMS = 1500
BYTES = 8
WIDTH = 16


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def parent(store: Registry) -> Bundle:
    return store.add(random_content(ITEMS).draft(batch=16), "shop")


@pytest.fixture(scope="module")
def child(store: Registry, parent: Bundle) -> Bundle:
    return store.add(compressed(parent, "product-items", (), f"{BYTES}"), "shop")


def ranked(bundle: Bundle) -> RankedBatch:
    with OnnxBackend(bundle) as backend:
        backend.warm_up()
        return backend.run(inputs(random_profiles(300, ITEMS), bundle))


def overlap(ours: RankedBatch, theirs: RankedBatch) -> float:
    pairs = zip(ours.items, theirs.items, strict=True)
    return float(np.mean([np.isin(one, other).mean() for one, other in pairs]))


def test_lists_are_like_the_parents_and_those_of_shuffled_codes_are_not(
    parent: Bundle, child: Bundle, tmp_path: Path
) -> None:
    wanted = ranked(parent)
    codes = child.tables["item_vectors"].copy()
    known = slice(1, ITEMS + 1)
    codes[known] = np.random.default_rng(0).permutation(codes[known])
    shuffled = copied(child, tmp_path, {**child.tables, "item_vectors": codes})
    assert overlap(ranked(child), wanted) > 0.75
    assert overlap(ranked(shuffled), wanted) < 0.2


def test_an_item_takes_so_many_bytes_and_256_centroids_a_part_are_all(
    parent: Bundle, child: Bundle
) -> None:
    codes = child.tables["item_vectors"]
    assert (codes.dtype, codes.shape[1]) == (np.int8, BYTES)
    assert child.tables[codebooks_of("item_vectors")].shape == (BYTES * MOST, WIDTH // BYTES)
    sizes = [sum(table.nbytes for table in one.tables.values()) for one in (child, parent)]
    assert sizes[0] < sizes[1] / 2


def test_vectors_stay_near_of_length_1_and_those_of_no_item_zero(
    parent: Bundle, child: Bundle
) -> None:
    vectors, stored = (rows_of(one.tables, "item_vectors", slice(None)) for one in (parent, child))
    known = slice(1, ITEMS + 1)
    np.testing.assert_allclose(np.linalg.norm(stored[known], axis=1), 1, atol=1e-5)
    assert (vectors * stored)[known].sum(1).mean() > 0.97
    assert not stored[0].any()
    assert not stored[ITEMS + 1 :].any()


def test_who_has_no_known_item_has_the_parents_list(parent: Bundle, child: Bundle) -> None:
    tensors = inputs(random_profiles(20, ITEMS), child)
    tensors["item"] = np.zeros_like(tensors["item"])
    found = []
    for bundle in (parent, child):
        with OnnxBackend(bundle) as backend:
            found.append(backend.run(tensors))
    assert (found[0].items == found[1].items).all()
    assert (found[0].scores == found[1].scores).all()
    assert (found[0].channels == found[1].channels).all()


def test_codebooks_are_the_same_in_every_byte_whatever_the_threads(parent: Bundle) -> None:
    vectors = parent.tables["item_vectors"][:400]
    before = faiss.omp_get_max_threads()
    found = set()
    for threads in (1, 1, 2):
        faiss.omp_set_num_threads(threads)
        found.add(fitted_codebooks(vectors, BYTES).tobytes())
    faiss.omp_set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("known", [1, 2, 100, 255])
def test_fewer_vectors_than_centroids_are_kept_as_they_are(known: int) -> None:
    from engines.product_codes import decoded, encoded

    vectors = np.zeros((known + 20, 4), np.float32)
    drawn = np.random.default_rng(known).normal(size=(known, 4))
    vectors[1 : known + 1] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    books = fitted_codebooks(vectors, 2)
    assert books.shape == (2 * (known + 1), 2)
    np.testing.assert_allclose(decoded(encoded(vectors, books), books), vectors, atol=1e-6)


def test_a_table_without_any_vector_stays_zero() -> None:
    books = fitted_codebooks(np.zeros((9, 4), np.float32), 2)
    assert books.shape == (2, 2)
    assert not books.any()


def test_onnx_runtime_restores_all_vectors_when_it_loads_the_engine(
    parent: Bundle, child: Bundle, tmp_path: Path
) -> None:
    """So the product finds what it finds in the parent: a float32 constant of D rows."""
    path = tmp_path / "loaded.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    columns = [WIDTH, len(parent.tables["item_vectors"])]
    model, constants = with_tables(child, fed=True)
    values = list(map(onnxruntime.OrtValue.ortvalue_from_numpy, constants.values()))
    options.add_external_initializers(list(constants), values)
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(path).graph
    assert columns in [list(tensor.dims) for tensor in graph.initializer]
    lengths = [node for node in graph.node if node.op_type == "ReduceL2"]
    assert len(lengths) == 1  # of the history's


def test_tiles_and_histories_are_restored_by_themselves(
    store: Registry, monkeypatch: pytest.MonkeyPatch, parent: Bundle, child: Bundle
) -> None:
    monkeypatch.setattr(top_k, "TILE", 512)
    monkeypatch.setattr(top_k, "TILE_STEP", 8)
    tiled = store.add(random_content(ITEMS).draft(batch=16), "tiled")
    small = store.add(compressed(tiled, "product-items", (), f"{BYTES}"), "tiled")
    count = len(small.tables["item_vectors"])
    assert [count, WIDTH] in shapes_of(load(tiled)).values()
    assert [count, WIDTH] not in shapes_of(load(small)).values()
    np.testing.assert_allclose(ranked(small).scores, ranked(child).scores, atol=1e-5)


@pytest.mark.parametrize("parts", [3, 32])
def test_vectors_are_cut_into_equal_parts(parent: Bundle, parts: int) -> None:
    with pytest.raises(EngineError, match=rf"1, 2, 4, 8, 16 bytes[\s\S]*received: {parts}"):
        compressed(parent, "product-items", (), f"{parts}")


def test_without_faiss_the_extra_is_named(parent: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(EngineError, match=r"package faiss[\s\S]*headrace\[train\]"):
        compressed(parent, "product-items", (), f"{BYTES}")


def test_vectors_of_no_item_do_not_move_a_centroid(parent: Bundle, tmp_path: Path) -> None:
    table = parent.tables["item_vectors"]
    longer = np.concatenate([table, np.zeros_like(table)])
    assert (fitted_codebooks(longer, BYTES) == fitted_codebooks(table, BYTES)).all()
