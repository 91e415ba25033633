"""Retrieval from a large catalogue, tile by tile, against all scores at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from engines.backends.base import RankedBatch
from engines.backends.onnx import OnnxBackend
from engines.compress.graph import load, products
from engines.models import listing, top_k
from engines.models.exporting import IR_VERSION, OPSET, nodes_of
from engines.models.listing import best_products
from engines.registry import Registry
from tests.engines.examples import inputs, random_content, random_profiles, random_sasrec

ITEMS = 600


class Best(torch.nn.Module):
    def forward(self, score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return listing.best(score, k=100)


def chosen(score: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What `listing.best` is in ONNX Runtime, which breaks ties by index."""
    outputs = ["scores", "items"]
    nodes, constants = nodes_of(Best(), {"score": torch.from_numpy(score)}, outputs)
    value, kinds = onnx.helper.make_tensor_value_info, onnx.TensorProto
    graph = onnx.helper.make_graph(
        nodes,
        "best",
        [value("score", kinds.FLOAT, score.shape)],
        [value(outputs[0], kinds.FLOAT, None), value(outputs[1], kinds.INT64, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    scores, items = session.run(outputs, {"score": score})
    return scores, items


def many_ties() -> NDArray[np.float32]:
    """Rows of 2048 in which few, many or all scores tie, up to -inf."""
    random = np.random.default_rng(0)
    spread = (1, 2, 7, 300, 10**6)
    rows = [random.integers(-n, n, 2048) * scale for n in spread for scale in (1e-30, 1, 1e30)]
    score = np.array([*rows, np.zeros(2048)], np.float32)
    few = score.copy()
    few[:, 60:] = -np.inf
    return np.concatenate([score, few, np.full((1, 2048), -np.inf, np.float32)])


def test_the_best_are_by_score_then_by_index() -> None:
    score = many_ties()
    wanted = np.argsort(-score, axis=1, kind="stable")[:, :100]
    scores, items = chosen(score)
    assert (scores == np.take_along_axis(score, wanted, 1)).all()
    assert (items == wanted)[scores > -np.inf].all()


def test_a_bound_at_the_least_maximum_would_lift_others_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control of ``_below``."""
    monkeypatch.setattr(listing, "_below", lambda maxima: maxima.amin(1, keepdim=True))
    score = many_ties()
    assert (chosen(score)[1] != np.argsort(-score, axis=1, kind="stable")[:, :100]).any()


@pytest.mark.parametrize(("items", "tile"), [(4096, 1 << 17), (4096, 1024), (3 * 1024, 1024)])
def test_the_best_of_all_tiles_are_the_best_of_all(
    monkeypatch: pytest.MonkeyPatch, items: int, tile: int
) -> None:
    monkeypatch.setattr(top_k, "TILE", tile)
    torch.manual_seed(0)
    told, vectors, added = torch.randn(8, 16), torch.randn(items, 16), torch.randn(1, items)
    added[0, ::7] = -torch.inf
    score = told @ vectors.T + added
    excluded = score.topk(40).indices[:, 1::2]  # every other one of the best
    scores, found = best_products(told, vectors, added, excluded, k=10)
    wanted = score.scatter(1, excluded, -torch.inf).sort(dim=1, descending=True)
    assert found.tolist() == wanted.indices[:, :10].tolist()
    assert torch.allclose(scores, wanted.values[:, :10])


def test_a_user_who_excluded_the_best_of_a_tile_still_has_a_whole_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control of ``k + X``: with k best of each tile none would be left."""
    monkeypatch.setattr(top_k, "TILE", 512)
    vectors = torch.zeros(2048, 4)
    vectors[:, 0] = torch.arange(2048).flip(0)  # the first tile has all of the best
    excluded = torch.arange(64)[None]
    scores, found = best_products(torch.eye(1, 4), vectors, torch.zeros(1, 2048), excluded, k=64)
    assert found.tolist() == [list(range(64, 128))]
    assert scores[0, 0] == 2047 - 64


@pytest.mark.parametrize("make", [random_sasrec, random_content])
def test_an_engine_of_tiles_lists_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: type
) -> None:
    whole = listed(tmp_path / "whole", make, tiles=1)
    monkeypatch.setattr(top_k, "TILE", 256)
    monkeypatch.setattr(top_k, "TILE_STEP", 8)
    tiled = listed(tmp_path / "tiled", make, tiles=3)
    assert tiled.scores == pytest.approx(whole.scores, abs=1e-5)
    assert (tiled.items == whole.items).mean() > 0.999  # the rest are near ties
    assert (tiled.channels == whole.channels).all()


def listed(folder: Path, make: type, tiles: int) -> RankedBatch:
    bundle = Registry(folder).add(make(ITEMS).draft(batch=16), "test")
    assert len(products(load(bundle).graph)) == tiles
    widest = max(
        value.type.tensor_type.shape.dim[-1].dim_value
        for value in onnx.shape_inference.infer_shapes(load(bundle)).graph.value_info
        if value.name in {node.output[0] for node in products(load(bundle).graph)}
    )
    assert widest == len(bundle.tables["item_vectors"]) // tiles
    tensors = inputs(random_profiles(400, ITEMS), bundle)
    with OnnxBackend(bundle) as backend:
        backend.warm_up()
        ranked = backend.run(tensors)
    assert np.isfinite(ranked.scores).any()
    return ranked
