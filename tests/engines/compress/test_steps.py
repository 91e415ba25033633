"""A compressed engine keeps the laws of engines, and its lists stay close to its parent's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import quantize_dynamic

from engines.backends.base import RankedBatch, Tensors
from engines.backends.onnx import OnnxBackend
from engines.bundle import Bundle
from engines.compress import steps
from engines.compress.calibrated import written
from engines.compress.steps import STEPS
from engines.draft import Draft, draft_of
from engines.models.interactions import Interactions
from engines.registry import Registry
from schemas.errors import BundleRefused, EngineError
from tests.engines.compress.conftest import BATCH, ITEMS
from tests.engines.examples import CLICK, VALUES, inputs, random_profiles

LIKENESS = {
    "fp16": 0.995,
    "int8": 0.95,
    "int8-weights": 0.97,
    "int8-items": 0.97,
    "product-items": 0.995,  # so few items have a centroid each
}
"""Least share of a list that is the parent's too. The vectors of these engines are noise, so
neighbouring scores lie closer than those of a fitted one."""
VECTOR_STEPS = [("int8-items", "product-items"), ("product-items", "int8-items")]
VECTOR_STEPS += [("product-items", step) for step in ("fp16", "int8", "product-items")]
WITH_LAYERS = ("sasrec", "blend")
CASES = [
    (name, step)
    for name in ("content", "sasrec", "blend")
    for step in STEPS
    if step != "int8-weights" or name in WITH_LAYERS
]


def compressed(bundle: Bundle, step: str, batches: Sequence[Tensors] = ()) -> Draft:
    return steps.compressed(bundle, step, batches, VALUES.get(step, ""))


def batches(bundle: Bundle, seed: int = 1) -> list[dict[str, NDArray[Any]]]:
    tensors = inputs(random_profiles(8 * BATCH, ITEMS, seed), bundle)
    return [
        {name: values[start : start + BATCH] for name, values in tensors.items()}
        for start in range(0, 8 * BATCH, BATCH)
    ]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def pair(
    request: pytest.FixtureRequest, engines: dict[str, Bundle], registry: Registry
) -> tuple[Bundle, Bundle]:
    """An engine, and what a step made of it."""
    name, step = request.param
    parent = engines[name]
    return parent, registry.add(compressed(parent, step, batches(parent)), f"{name}-{step}")


def step_of(bundle: Bundle) -> str:
    return str(bundle.manifest.parameters["compression"]).split()[0]


def ranked(bundle: Bundle, tensors: dict[str, NDArray[Any]]) -> RankedBatch:
    with OnnxBackend(bundle) as backend:
        backend.warm_up()
        return backend.run(tensors)


def rows(found: RankedBatch) -> list[bytes]:
    lists = zip(found.items, found.scores, found.channels, strict=True)
    return [b"".join(part.tobytes() for part in parts) for parts in lists]


def test_lists_are_the_same_in_any_order_and_company(pair: tuple[Bundle, Bundle]) -> None:
    bundle = pair[1]
    tensors = inputs(random_profiles(2_000, ITEMS), bundle)
    order = np.random.default_rng(1).permutation(2_000)
    straight = rows(ranked(bundle, tensors))
    shuffled = rows(ranked(bundle, {name: values[order] for name, values in tensors.items()}))
    with OnnxBackend(bundle) as backend:
        parts = [
            row
            for part in np.array_split(np.arange(2_000), 137)
            for row in rows(backend.run({name: values[part] for name, values in tensors.items()}))
        ]
    assert [straight[place] for place in order] == shuffled
    assert straight == parts
    assert len(set(straight)) > 1_800


def test_lists_are_well_formed_and_leave_out_what_is_excluded(
    pair: tuple[Bundle, Bundle],
) -> None:
    tensors = inputs(random_profiles(500, ITEMS), pair[1])
    found = ranked(pair[1], tensors)
    for items, scores, excluded in zip(found.items, found.scores, tensors["excluded"], strict=True):
        listed = items[scores > -np.inf].tolist()
        assert len(set(listed)) == len(listed) == min(10, ITEMS - len(set(excluded[excluded > 0])))
        assert not set(listed) & {0, *excluded.tolist()}
        assert (np.diff(scores[: len(listed)]) <= 0).all()


def test_what_is_not_available_is_not_listed(pair: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    bundle = pair[1]
    available = np.full_like(bundle.tables["available"], -np.inf)
    available[0, [7, 30, 41]] = 0
    draft = replace(draft_of(bundle), tables={**bundle.tables, "available": available})
    tensors = inputs(random_profiles(100, ITEMS), bundle)
    tensors["excluded"] = np.zeros_like(tensors["excluded"])
    found = ranked(Registry(tmp_path).add(draft, "few"), tensors)
    for items, scores in zip(found.items, found.scores, strict=True):
        assert sorted(items[:3].tolist()) == [7, 30, 41]
        assert not items[3:].any()
        assert np.isneginf(scores[3:]).all()


def test_lists_are_much_like_the_parents(
    pair: tuple[Bundle, Bundle], request: pytest.FixtureRequest
) -> None:
    tensors = inputs(random_profiles(500, ITEMS), pair[0])
    ours, theirs = (ranked(bundle, tensors).items for bundle in pair)
    shared = [np.isin(mine, its).mean() for mine, its in zip(ours, theirs, strict=True)]
    assert np.mean(shared) >= LIKENESS[step_of(pair[1])]


def test_the_manifest_names_parent_precision_and_step(pair: tuple[Bundle, Bundle]) -> None:
    parent, bundle = pair
    assert bundle.manifest.parent == parent.label
    assert bundle.manifest.precision == ("float16" if step_of(bundle) == "fp16" else "int8")
    assert bundle.manifest.training == parent.manifest.training


def test_its_numbers_take_fewer_bytes(pair: tuple[Bundle, Bundle]) -> None:
    if step_of(pair[1]) == "product-items":
        pytest.skip("codebooks as long as the catalogue save nothing: see test_product")
    parent, bundle = (number_bytes(one) for one in pair)
    assert bundle < parent


def number_bytes(bundle: Bundle) -> int:
    """Of tables and constants; the graph of an engine as small as these is more than they."""
    constants = onnx.load_model_from_string(bundle.model).graph.initializer
    arrays = [*bundle.tables.values(), *map(numpy_helper.to_array, constants)]
    return sum(array.nbytes for array in arrays)


@pytest.mark.parametrize("step", STEPS)
def test_equal_input_gives_equal_bytes(engines: dict[str, Bundle], step: str) -> None:
    first, second = (
        compressed(engines["sasrec"], step, batches(engines["sasrec"])) for _ in range(2)
    )
    assert first.model == second.model
    assert all((first.tables[name] == second.tables[name]).all() for name in first.tables)


@pytest.mark.parametrize(
    "chain",
    [
        ("int8-items", "int8-weights"),
        ("product-items", "int8-weights"),
        ("int8-weights", "product-items"),
    ],
    ids="-".join,
)
def test_steps_can_follow_each_other(
    engines: dict[str, Bundle], registry: Registry, chain: tuple[str, str]
) -> None:
    first = registry.add(compressed(engines["sasrec"], chain[0]), "chain")
    second = registry.add(compressed(first, chain[1]), "chain")
    assert second.manifest.parent == first.label
    taken = [f"{step} {VALUES.get(step, '')}".strip() for step in chain]
    assert second.manifest.parameters["compression"] == "+".join(taken)
    tensors = inputs(random_profiles(100, ITEMS), second)
    assert ranked(second, tensors).items.shape == (100, 10)


@pytest.mark.parametrize(
    ("engine", "step"),
    [("cooccurrence", step) for step in STEPS] + [("content", "int8-weights")],
)
def test_an_engine_with_nothing_for_a_step_is_refused(
    engines: dict[str, Bundle], engine: str, step: str
) -> None:
    with pytest.raises(EngineError, match=f"nothing that {step} could"):
        compressed(engines[engine], step, batches(engines[engine]))


@pytest.mark.parametrize("step", STEPS)
def test_float16_is_not_compressed_further(
    engines: dict[str, Bundle], registry: Registry, step: str
) -> None:
    half = registry.add(compressed(engines["sasrec"], "fp16"), "half")
    with pytest.raises(EngineError, match=r"received: sasrec, float16[\s\S]*parent sasrec@1"):
        compressed(half, step, batches(half))


@pytest.mark.parametrize(("first", "second"), VECTOR_STEPS)
def test_vectors_are_compressed_once(
    engines: dict[str, Bundle], registry: Registry, first: str, second: str
) -> None:
    once = registry.add(compressed(engines["sasrec"], first), "once")
    with pytest.raises(EngineError, match=rf"nothing that {second} could[\s\S]*parent sasrec@1"):
        compressed(once, second)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("spoilt", ["item_vectors", "weights"])
def test_nan_is_refused(engines: dict[str, Bundle], tmp_path: Path, step: str, spoilt: str) -> None:
    parent = engines["sasrec"]
    tables = {name: table.copy() for name, table in parent.tables.items()}
    model = onnx.load_model_from_string(parent.model)
    if spoilt == "item_vectors":
        tables[spoilt][3, 1] = np.nan
    else:
        tensor = next(t for t in model.graph.initializer if list(t.dims) == [16, 64])
        weights = numpy_helper.to_array(tensor).copy()
        weights[0, 0] = np.nan
        tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    draft = replace(draft_of(parent), tables=tables, model=model.SerializeToString())
    bundle = Registry(tmp_path).add(draft, "spoilt")
    with pytest.raises(EngineError, match=r"not sound[\s\S]*1 NaN of"):
        compressed(bundle, step, batches(bundle))


@pytest.mark.parametrize("users", [0, 20])
def test_nobody_with_an_item_of_the_engine_calibrates_nothing(
    engines: dict[str, Bundle], users: int
) -> None:
    strangers = {
        name: np.zeros_like(values) for name, values in batches(engines["sasrec"])[0].items()
    }
    with pytest.raises(EngineError, match="nobody to calibrate"):
        compressed(engines["sasrec"], "int8", [strangers] * users)


@pytest.mark.parametrize("step", ["fp16", "int8-items", "product-items"])
def test_a_student_begins_with_the_vectors_of_a_compressed_teacher(
    engines: dict[str, Bundle], registry: Registry, step: str
) -> None:
    from engines.compress.fitted_on import vectors_of

    seen = Interactions.read(("user", str(item), CLICK, item) for item in range(ITEMS))
    small = registry.add(compressed(engines["sasrec"], step), "teacher")
    found, wanted = (vectors_of(one, seen, 16)[1:] for one in (small, engines["sasrec"]))
    np.testing.assert_allclose(found, wanted, atol=0.01)


def test_long_gaps_do_not_overflow_float16(engines: dict[str, Bundle], registry: Registry) -> None:
    """A float16 ends at 18 hours of seconds; a sandwich of casts around each node made NaN."""
    half = registry.add(compressed(engines["sasrec"], "fp16"), "gaps")
    tensors = inputs(random_profiles(200, ITEMS), half)
    assert (tensors["gap_s"] > 65_504).any()
    found = [ranked(bundle, tensors).scores for bundle in (engines["sasrec"], half)]
    np.testing.assert_allclose(found[1], found[0], rtol=0.01, atol=0.05)


def test_scores_keep_float32s_fineness(engines: dict[str, Bundle], registry: Registry) -> None:
    half = registry.add(compressed(engines["sasrec"], "fp16"), "fine")
    scores = ranked(half, inputs(random_profiles(200, ITEMS), half)).scores
    finite = scores[np.isfinite(scores)]
    assert (finite != finite.astype(np.float16).astype(np.float32)).mean() > 0.9


def test_a_scale_over_the_batch_makes_a_list_depend_on_its_neighbours(
    engines: dict[str, Bundle], registry: Registry, tmp_path: Path
) -> None:
    parent = engines["sasrec"]
    quantize_dynamic(written(parent, tmp_path), tmp_path / "dynamic.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "dynamic.onnx")
    names = [tensor.name for tensor in parent.manifest.inputs]
    first, *others = ({name: batch[name] for name in names} for batch in batches(parent))
    answers = set()
    for other in others:
        company = {name: np.concatenate([first[name][:1], other[name][1:]]) for name in names}
        answers.add(b"".join(out[0].tobytes() for out in session.run(None, company)))
    assert len(answers) > 1

    (tmp_path / "model.onnx").write_bytes(parent.model)
    quantize_dynamic(tmp_path / "model.onnx", tmp_path / "model.dynamic.onnx")
    draft = replace(draft_of(parent), model=(tmp_path / "model.dynamic.onnx").read_bytes())
    with pytest.raises(BundleRefused, match=r"mixes the rows[\s\S]*DynamicQuantizeLinear"):
        registry.add(draft, "dynamic")
