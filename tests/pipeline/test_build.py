"""``headrace build``: a version of an engine with a plan, and who asks for one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from engines.backends.tensorrt import build as building
from engines.backends.tensorrt import runner
from engines.backends.tensorrt.runner import TensorrtBackend
from engines.registry import Registry
from pipeline.build import build
from pipeline.cli import app
from pipeline.config import Settings, load_settings
from pipeline.job import rank_settings
from pipeline.run import check_engine
from schemas.errors import EngineError
from tests.engines.backends.conftest import rows
from tests.engines.backends.tensorrt.fake_gpu import GPU, FakeGpu, package, planned
from tests.engines.examples import inputs, random_model, random_profiles

ITEMS = 60


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A store with the engine ``shop``, active."""
    settings = load_settings(flags={"engine.store": tmp_path / "store"}, environ={})
    registry = Registry(settings.engine.store)
    registry.add(random_model(ITEMS).draft(batch=16), "shop")
    registry.activate("shop")
    return settings


@pytest.fixture
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="the extra rtx builds plans")


def command(settings: Settings, *arguments: str) -> Result:
    store = f"engine.store={settings.engine.store}"
    return CliRunner().invoke(app, ["build", *arguments, "--set", store, "--json"])


def test_a_version_with_a_plan_is_added(settings: Settings, rtx: Any) -> None:
    called = command(settings, "shop", "--backend", "tensorrt")
    assert called.exit_code == 0, called.output
    told = json.loads(called.stdout.splitlines()[-1])
    assert (told["engine"], told["gpu"]) == ("shop@2", "portable")
    assert told["tensorrt"] == f"tensorrt_rtx {rtx.__version__}"
    registry = Registry(settings.engine.store)
    before, after = registry.open("shop", "1"), registry.open("shop", "2")
    assert after.manifest.parent == "shop@1"
    assert after.model == before.model
    assert not before.plans
    assert len(after.plans["model.portable.plan"]) == told["plan_bytes"] > 100_000
    assert registry.active().label == "shop@1"


def test_what_is_built_runs(settings: Settings, rtx: Any) -> None:
    bundle = Registry(settings.engine.store).open(*build(settings, "shop")["engine"].split("@"))
    tensors = inputs(random_profiles(40, ITEMS), bundle)
    gpu = FakeGpu()
    found = gpu.hardware(package("tensorrt_rtx", rtx.__version__))
    with TensorrtBackend(bundle, hardware=found) as backend:
        backend.warm_up()
        assert len(set(rows(backend.run(tensors)))) > 30
    assert gpu.loaded == [*bundle.plans.values()]


def test_plans_for_other_gpus_stay(settings: Settings, rtx: Any) -> None:
    registry = Registry(settings.engine.store)
    registry.add(planned(registry.open("shop")), "shop")
    for version in ("3", "4"):  # the second takes the place of the first
        assert build(settings, "shop")["engine"] == f"shop@{version}"
    plans = registry.open("shop").manifest.plans
    assert [plan.gpu for plan in plans] == [GPU.slug, "portable"]


def test_a_build_that_fails_leaves_nothing(
    settings: Settings, rtx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "MAX_K", 1)
    called = command(settings, "shop")
    assert called.exit_code == 5
    error = json.loads(called.stdout.splitlines()[-1])
    assert error["error"] == "EngineError"
    assert (error["expected"], error["received"]) == ("at most 1", "10")
    assert error["fix"]
    assert [entry.version for entry in Registry(settings.engine.store).list()] == ["1"]


def test_without_tensorrt_the_extra_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Any:
        raise EngineError("TensorRT cannot be used", fix="pip install 'headrace[tensorrt]'")

    monkeypatch.setattr(building, "installed", none)
    called = command(settings, "shop")
    assert called.exit_code == 5
    assert "headrace[tensorrt]" in called.stderr


def test_another_backend_is_refused(settings: Settings) -> None:
    assert command(settings, "shop", "--backend", "onnx").exit_code == 2


def test_the_setting_reaches_the_worker(settings: Settings) -> None:
    active = Registry(settings.engine.store).active()
    assert rank_settings(settings, active).opening.backend == "auto"
    engine = settings.engine.model_copy(update={"backend": "tensorrt"})
    asked = settings.model_copy(update={"engine": engine})
    assert rank_settings(asked, active).opening.backend == "tensorrt"


@pytest.mark.parametrize("here", [True, False])
def test_a_job_for_tensorrt_wants_a_plan_before_it_is_submitted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    engine = settings.engine.model_copy(update={"backend": "tensorrt"})
    asked = settings.model_copy(update={"engine": engine})
    registry = Registry(settings.engine.store)
    check_engine(settings, here=here)
    with pytest.raises(EngineError, match=r"shop@1 has no plan[\s\S]*fix: headrace build shop@1"):
        check_engine(asked, here=here)
    registry.add(planned(registry.open("shop")), "shop")
    registry.activate("shop", force=True)
    monkeypatch.setattr(runner, "THIS_MACHINE", FakeGpu().hardware())
    assert check_engine(asked, here=here).label == "shop@2"


def test_only_the_machine_that_runs_the_job_needs_the_gpu(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(settings.engine.store)
    registry.add(planned(registry.open("shop")), "shop")
    registry.activate("shop", force=True)
    engine = settings.engine.model_copy(update={"backend": "tensorrt"})
    asked = settings.model_copy(update={"engine": engine})
    other = FakeGpu().hardware(gpu=lambda: replace(GPU, name="NVIDIA Test 9001"))
    monkeypatch.setattr(runner, "THIS_MACHINE", other)
    assert check_engine(asked, here=False).label == "shop@2"
    with pytest.raises(EngineError, match=r"no plan of shop@2 fits this machine"):
        check_engine(asked, here=True)
