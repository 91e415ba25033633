"""The reference: lists of PyTorch are those of ONNX Runtime, apart from near ties."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from engines.backends.onnx import OnnxBackend
from engines.bundle import Bundle
from engines.compress.steps import compressed
from engines.models import encoder
from engines.parity import parity
from schemas.errors import EngineError
from tests.engines.backends.conftest import ITEMS, opened
from tests.engines.examples import (
    copied,
    inputs,
    random_blend,
    random_content,
    random_model,
    random_profiles,
    random_sasrec,
)

torch = pytest.importorskip("torch")
from engines.backends.torch_ import TorchBackend  # noqa: E402

NEAR = 1e-4


@pytest.fixture(scope="module")
def sasrec(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return opened(tmp_path_factory.mktemp("store"), random_sasrec(ITEMS).draft(batch=16))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An engine of so many items that they are searched in groups."""
    return opened(tmp_path_factory.mktemp("store"), random_content(900).draft(batch=16))


@pytest.fixture(scope="module")
def blend(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return opened(tmp_path_factory.mktemp("store"), random_blend(ITEMS).draft(batch=16))


@pytest.fixture(params=["sasrec", "many", "blend", "encoding"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """One of every model that has a module."""
    found: Bundle = request.getfixturevalue(request.param)
    return found


def test_lists_are_those_of_onnx_runtime_apart_from_near_ties(bundle: Bundle) -> None:
    tensors = inputs(random_profiles(500, len(bundle.catalogue)), bundle)
    with OnnxBackend(bundle) as backend:
        theirs = backend.run(tensors)
    with TorchBackend(bundle) as backend:
        backend.warm_up()  # and rows do not mix
        ours = backend.run(tensors)
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=NEAR, atol=NEAR)
    assert parity(ours, theirs).widest_gap <= NEAR
    assert parity(ours, theirs).equal_lists > 0.9
    ended = ours.scores == -np.inf
    assert (ours.channels == theirs.channels)[~ended].all()


def test_other_vectors_make_other_lists(content: Bundle, tmp_path: Path) -> None:
    """The negative control."""
    vectors = np.roll(content.tables["item_vectors"], 1, axis=0)
    other = copied(content, tmp_path, {**content.tables, "item_vectors": vectors})
    tensors = inputs(random_profiles(100, ITEMS), content)
    with OnnxBackend(content) as backend:
        theirs = backend.run(tensors)
    with TorchBackend(other) as backend:
        found = parity(backend.run(tensors), theirs)
    assert found.equal_lists < 0.5
    assert found.widest_gap > 100 * NEAR


def test_compiled_lists_are_those_of_the_module(content: Bundle) -> None:
    tensors = inputs(random_profiles(100, ITEMS), content)
    with TorchBackend(content) as backend:
        theirs = backend.run(tensors)
    with TorchBackend(content, compiled=True) as backend:
        backend.warm_up()
        ours = backend.run(tensors)
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=NEAR, atol=NEAR)
    assert parity(ours, theirs).widest_gap <= NEAR


def test_without_a_compiler_torch_compile_is_an_error(
    content: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    before = torch.get_num_threads()
    monkeypatch.setattr(config.cpp, "cxx", ("/nowhere/c++",))
    with pytest.raises(EngineError, match=r"cannot compile test@1[\s\S]*a C\+\+ compiler"):
        TorchBackend(content, threads=before + 1, compiled=True).activate()
    assert torch.get_num_threads() == before


def test_a_failure_of_pytorch_is_an_error(content: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = inputs(random_profiles(3, ITEMS), content)
    with TorchBackend(content) as backend:
        narrow = {"item_popularity": torch.zeros(1, 3)}
        monkeypatch.setattr(backend, "_tables", {**backend._tables, **narrow})  # type: ignore[attr-defined]
        with pytest.raises(EngineError, match=r"PyTorch fails on test@1[\s\S]*received: "):
            backend.run(tensors)


@pytest.mark.parametrize("step", ["fp16", "int8-items"])
def test_a_compressed_engine_has_no_module(content: Bundle, tmp_path: Path, step: str) -> None:
    smaller = opened(tmp_path, compressed(content, step))
    with pytest.raises(EngineError, match=r"no PyTorch module[\s\S]*content, (float16|int8)"):
        TorchBackend(smaller).activate()


def test_an_engine_that_was_compressed_has_no_weights(sasrec: Bundle, tmp_path: Path) -> None:
    smaller = opened(tmp_path, compressed(sasrec, "int8-weights"))
    with pytest.raises(EngineError, match=r"no PyTorch module[\s\S]*take its parent test@1"):
        TorchBackend(smaller).activate()


def test_an_engine_of_another_kind_has_no_module(tmp_path: Path) -> None:
    bundle = opened(tmp_path, random_model(ITEMS).draft(batch=4))
    with pytest.raises(EngineError, match=r"no PyTorch module[\s\S]*cooccurrence, float32"):
        TorchBackend(bundle).activate()


def test_threads_are_those_of_before_in_the_end(sasrec: Bundle) -> None:
    before = torch.get_num_threads()
    with TorchBackend(sasrec, threads=before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_modes_are_told_apart(sasrec: Bundle) -> None:
    plain, compiled = TorchBackend(sasrec), TorchBackend(sasrec, compiled=True)
    assert (plain.runtime, compiled.runtime) == ("torch", "torch.compile")
    assert plain.runtime_digest != compiled.runtime_digest


def test_weights_of_an_encoder_come_from_their_seed(encoding: Bundle) -> None:
    assert encoding.manifest.history_slots == 128
    values = [dict(encoder.of_bundle(encoding).named_parameters()) for _ in range(2)]
    assert all(torch.equal(values[0][name], values[1][name]) for name in values[0])
    first, second = (values[0][f"layers.{n}.linear1.weight"] for n in range(2))
    assert not torch.equal(first, second)  # or they would be stored once


def test_without_pytorch_the_extra_is_named(
    content: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineError, match=r"PyTorch is missing[\s\S]*headrace\[train\]"):
        TorchBackend(content)
