"""Tables as constants: nothing is copied, and the lists are those of tables inside the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from engines.backends.constants import with_tables
from engines.backends.onnx import OUTPUTS, OnnxBackend
from engines.bundle import Bundle
from engines.compress.steps import compressed
from engines.models import top_k
from tests.engines.backends.conftest import opened
from tests.engines.examples import inputs, random_content, random_profiles

BATCH = 16
ITEMS = 600
TILES = 3


@pytest.fixture(scope="module", params=["float32", "fp16", "int8-items"])
def tiled(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_k, "TILE", 256)
        patch.setattr(top_k, "TILE_STEP", 8)
        draft = random_content(ITEMS).draft(batch=BATCH)
    folder = tmp_path_factory.mktemp("store")
    bundle = opened(folder, draft)
    if request.param == "float32":
        return bundle
    return opened(folder, compressed(bundle, request.param))


def ranked(session: Any, bundle: Bundle) -> list[bytes]:
    tensors = inputs(random_profiles(BATCH, ITEMS), bundle)
    known = tensors | bundle.tables
    asked = {value.name: known[value.name] for value in session.get_inputs()}
    return [output.tobytes() for output in session.run(OUTPUTS, asked)]


def inside(bundle: Bundle) -> Any:
    """A session of the model with the numbers of its tables inside."""
    model = onnx.load_model_from_string(bundle.model)
    known = [value for value in model.graph.input if value.name not in bundle.tables]
    del model.graph.input[:]
    model.graph.input.extend(known)
    for name, table in bundle.tables.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(table, name))
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def test_lists_are_those_of_tables_inside_the_model(tiled: Bundle) -> None:
    wanted = ranked(inside(tiled), tiled)
    with OnnxBackend(tiled) as backend:
        assert ranked(backend._session, tiled) == wanted
    for name in tiled.tables:  # the negative control: each of them counts
        turned = np.roll(tiled.tables[name], 9)
        other = replace(tiled, tables=tiled.tables | {name: turned})
        with OnnxBackend(other) as backend:
            assert ranked(backend._session, other) != wanted, name


def test_the_model_holds_no_numbers_of_tables(tiled: Bundle) -> None:
    whole, _ = with_tables(tiled, fed=True)
    assert len(whole) < len(tiled.model) + 100 * (len(tiled.tables) + 2 * TILES)


def test_tables_of_which_rows_are_read_are_given_to_every_run(tiled: Bundle) -> None:
    _, constants = with_tables(tiled, fed=True)
    vectors = {name for name in tiled.tables if name.startswith("item_vectors")}
    vectors -= {name for name in vectors if tiled.tables[name].dtype == np.float16}
    assert tiled.tables.keys() - constants == vectors
    assert constants.keys() >= {"available", "item_popularity"}
    _, everything = with_tables(tiled, fed=False)
    assert everything.keys() >= tiled.tables.keys()


def test_tiles_are_views_that_make_up_the_table(tiled: Bundle) -> None:
    _, constants = with_tables(tiled, fed=True)
    for name in ("item_vectors", "item_vectors_scale"):
        if name not in tiled.tables:
            continue
        table = tiled.tables[name]
        tiles = [
            array
            for key, array in constants.items()
            if key not in tiled.tables and array.dtype == table.dtype and array.ndim == table.ndim
        ]
        assert len(tiles) == TILES
        assert all(np.shares_memory(tile, table) for tile in tiles)
        assert np.array_equal(np.concatenate(tiles), table)


def test_a_whole_table_is_not_restored_where_tiles_are_read(tiled: Bundle) -> None:
    graph = onnx.load_model_from_string(tiled.model).graph
    restored = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    assert len(restored) == (TILES if tiled.manifest.precision == "int8" else 0)


def test_columns_of_a_table_are_cut_by_the_graph(tmp_path: Path) -> None:
    bundle = opened(tmp_path, random_content(20).draft(batch=2))
    assert "cut" in made_by(cut(bundle, axes=[1]))
    assert "cut" not in made_by(cut(bundle, axes=[0]))


def made_by(model: Any) -> set[str]:
    return {output for node in model.graph.node for output in node.output}


def cut(bundle: Bundle, axes: list[int]) -> Any:
    """``with_tables`` of a model that cuts places 0..1 of the item vectors."""
    model = onnx.load_model_from_string(bundle.model)
    numbers: dict[str, NDArray[np.int64]] = {
        "starts": np.array([0]), "ends": np.array([1]), "axes": np.array(axes)
    }  # fmt: skip
    for name, value in numbers.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    model.graph.node.insert(0, onnx.helper.make_node("Slice", ["item_vectors", *numbers], ["cut"]))
    whole, _ = with_tables(replace(bundle, model=model.SerializeToString()), fed=True)
    return onnx.load_model_from_string(whole)
