"""The bench of engines: known times give known figures, and made-up engines are real ones."""

from __future__ import annotations

import json
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from engines.backends.tensorrt import runner
from engines.backends.tensorrt.gpu import find_gpu
from engines.registry import Registry
from engines.roofline import Peak, work_of
from pipeline.bench import candidates
from pipeline.bench.candidates import PRECISIONS
from pipeline.bench.engine import Grid, Limits, engine
from pipeline.bench.made_up import batches
from pipeline.cli import app
from pipeline.config import Settings, load_settings
from schemas.errors import EngineError
from tests.engines.backends.tensorrt.fake_gpu import GPU, FakeGpu, package, planned
from tests.engines.examples import events, fit


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = load_settings(flags={"engine.store": tmp_path / "store"}, environ={})
    for batch in (2, 4):
        Registry(settings.engine.store).add(fit(events("abcd", "abd")).draft(batch=batch), "tiny")
    return settings


@pytest.fixture
def known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is measured."""
    for module in ("engine", "rows"):
        monkeypatch.setattr(f"pipeline.bench.{module}.measured_peak", lambda *_: Peak(1e9, 1e4))


@pytest.mark.usefixtures("known_peak")
def test_known_times_give_known_figures(settings: Settings) -> None:
    ticks = count(0, 0.25)  # a run takes a quarter of a second
    limits = Limits(rounds=4, clock=lambda: next(ticks))
    told = engine(settings, ["tiny@1", "tiny"], Grid([3], [1, 2], ["onnx"]), None, limits)
    rows = told["engines"]
    assert [(row["engine"], row["batch"], row["threads"]) for row in rows] == [
        ("tiny@1", 2, 1),
        ("tiny@2", 4, 1),
        ("tiny@1", 2, 2),
        ("tiny@2", 4, 2),
    ]
    assert {row["p50_ms"] for row in rows} == {row["p99_ms"] for row in rows} == {250.0}
    assert [row["lists_per_s_core"] for row in rows] == [12, 12, 6, 6]
    assert {row["rounds"] for row in rows} == {4}
    folder = settings.engine.store / "tiny" / "1"
    files = sum(path.stat().st_size for path in folder.iterdir() if path.name != "manifest.json")
    assert rows[0]["size_bytes"] == files
    assert not any(row["missing"] or row["compared_with"] for row in rows)
    batch_bytes = work_of(Registry(settings.engine.store).open("tiny", "1")).moved_bytes
    assert rows[0]["roofline_ms"] == pytest.approx(2 * batch_bytes / 10, rel=1e-2)  # two batches
    assert rows[0]["roofline_share"] == pytest.approx(rows[0]["roofline_ms"] / 250, rel=1e-2)
    peaks = {"device": "cpu", "gflop_per_s": 1.0, "gb_per_s": 0.0}
    assert told["peaks"] == [{**peaks, "threads": number} for number in (1, 2)]


@pytest.mark.usefixtures("known_peak")
def test_rounds_are_bounded_by_time(settings: Settings) -> None:
    ticks = count()
    limits = Limits(rounds=40, within_s=7.0, clock=lambda: next(ticks))
    told = engine(settings, ["tiny@1", "tiny@2"], Grid([3], [1], ["onnx"]), None, limits)
    assert [row["rounds"] for row in told["engines"]] == [7, 7]
    assert told["limits"] == {"rounds": 40, "seconds_each": 7.0, "least_rounds": 5}


MADE = ("cooccurrence", "sasrec")
FEW = Limits(rounds=2)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Made-up engines by what there is and what there is not."""
    pytest.importorskip("torch")
    settings = load_settings(flags={"engine.store": tmp_path_factory.mktemp("none")}, environ={})
    runtimes = ["torch", "onnx", "tensorrt", "tensorrt-no-graphs", "onnx-cuda"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "find_gpu", partial(find_gpu, no_driver))
        grid = Grid([2], [1], runtimes, [150], MADE, list(PRECISIONS))
        return engine(settings, [], grid, None, FEW)


def no_driver(library: str) -> None:
    raise OSError(f"no {library}")


def rows_with(told: dict[str, Any], **values: str) -> list[dict[str, Any]]:
    return [row for row in told["engines"] if values.items() <= row.items()]


def test_made_up_engines_are_timed_by_every_runtime_and_precision(told: dict[str, Any]) -> None:
    assert len(told["engines"]) == 2 * 3 * 5
    timed = [
        (row["model"], row["precision"], row["runtime"])
        for row in told["engines"]
        if not row["missing"]
    ]
    assert timed == [
        ("cooccurrence", "float32", "onnx"),
        ("sasrec", "float32", "torch"),
        ("sasrec", "float32", "onnx"),
        ("sasrec", "float16", "onnx"),
        ("sasrec", "int8", "onnx"),
    ]
    assert {(row["batch"], row["items"]) for row in told["engines"]} == {(2, 150)}
    assert {row["rounds"] for row in told["engines"]} == {2, None}


def test_lists_are_compared_with_those_of_the_first_runtime(told: dict[str, Any]) -> None:
    torch, onnx = (
        rows_with(told, model="sasrec", precision="float32", runtime=name)[0]
        for name in ("torch", "onnx")
    )
    assert (torch["compared_with"], torch["equal_lists"]) == (None, None)
    assert onnx["compared_with"] == "torch"
    assert onnx["equal_lists"] > 0.9
    assert onnx["widest_gap"] < 1e-3


@pytest.mark.parametrize(
    ("runtime", "model", "precision", "why"),
    [
        ("torch", "cooccurrence", "float32", "no PyTorch module"),
        ("torch", "sasrec", "int8", "no PyTorch module"),
        ("tensorrt", "sasrec", "float32", "there is no NVIDIA driver: no libcuda.so.1"),
        ("tensorrt-no-graphs", "sasrec", "float16", "there is no NVIDIA driver"),
        ("onnx-cuda", "sasrec", "float32", "ONNX Runtime cannot use cuda"),
        ("onnx", "cooccurrence", "float16", "nothing that fp16 could compress"),
    ],
)
def test_what_is_missing_has_a_row_that_says_why(
    told: dict[str, Any], runtime: str, model: str, precision: str, why: str
) -> None:
    (row,) = rows_with(told, runtime=runtime, model=model, precision=precision)
    assert why in row["missing"]
    assert row["p50_ms"] is row["roofline_ms"] is row["ran_by"] is None


@pytest.mark.usefixtures("known_peak")
def test_made_up_engines_get_a_plan_where_there_is_a_gpu(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan is a real one, and the GPU one that is none but computes."""
    rtx = pytest.importorskip("tensorrt_rtx", reason="the extra rtx builds plans")
    gpu = FakeGpu()
    hardware = gpu.hardware(package("tensorrt_rtx", rtx.__version__))
    monkeypatch.setattr(candidates, "find_gpu", lambda: GPU)
    monkeypatch.setattr(runner, "THIS_MACHINE", hardware)
    runtimes = ["onnx", "tensorrt", "tensorrt-no-graphs"]
    told = engine(settings, [], Grid([4], [1], runtimes, [150], ["cooccurrence"]), None, FEW)
    rows = told["engines"]
    assert [row["missing"] for row in rows] == [""] * 3
    assert [row["device"] for row in rows] == ["cpu", "cuda", "cuda"]
    assert [row["equal_lists"] for row in rows] == [None, 1.0, 1.0]
    assert len(set(gpu.loaded)) == 1  # built once for both


@pytest.mark.usefixtures("known_peak")
def test_a_row_with_graphs_is_never_one_without(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Registry(settings.engine.store)
    store.add(planned(store.open_named("tiny")), "tiny")
    monkeypatch.setattr(runner, "THIS_MACHINE", FakeGpu().hardware(bindings=lambda: None))
    grid = Grid([4], [1], ["tensorrt", "tensorrt-no-graphs"])
    with_graphs, without = engine(settings, ["tiny"], grid, None, FEW)["engines"]
    assert with_graphs["missing"] == "CUDA graphs are missing: no cuda-bindings"
    assert without["missing"] == ""


@pytest.mark.parametrize(
    ("runtime", "match"),
    [("torch", "no PyTorch module"), ("tensorrt", "tiny@2 has no plan"), ("onnx-cuda", "cuda")],
)
def test_the_only_runtime_must_be_there(settings: Settings, runtime: str, match: str) -> None:
    with pytest.raises(EngineError, match=match):
        engine(settings, ["tiny"], Grid([1], [1], [runtime]), None, FEW)


def test_an_unknown_engine_is_an_error(settings: Settings) -> None:
    with pytest.raises(EngineError, match="no engine other"):
        engine(settings, ["other"], Grid([1], [1], ["auto"]))


def test_users_are_made_up_as_the_job_sees_them(settings: Settings) -> None:
    bundle = Registry(settings.engine.store).open_named("tiny")
    given = batches(bundle, 32)
    slots = bundle.manifest.history_slots
    for batch in given:
        filled = batch["item"] > 0
        assert batch["item"].shape == (32, slots)
        assert (np.diff(filled.astype(int), axis=1) >= 0).all()  # pads come first
        assert filled[:, -1].all()
        assert ((batch["event_type"] > 0) == filled).all()
        assert (batch["gap_s"] == np.arange(slots)[::-1] * 60.0 * filled).all()
    lengths = np.concatenate([(batch["item"] > 0).sum(1) for batch in given])
    assert set(lengths) == set(range(1, slots + 1))


def test_the_command_shows_a_table_or_json(settings: Settings) -> None:
    words = ["bench", "engine", "tiny", "--batch", "1", "--set"]
    words.append(f"engine.store={settings.engine.store}")
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0
    assert "tiny@2" in shown.stdout
    assert "lists/s" in shown.stdout
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout.splitlines()[-1])
    assert [row["users_at_once"] for row in told["engines"]] == [1]


@pytest.mark.parametrize("batch", ["", "1,x", "0", "-1", "1,,2"])
def test_numbers_that_are_none_are_refused(settings: Settings, batch: str) -> None:
    done = CliRunner().invoke(app, ["bench", "engine", "tiny", "--batch", batch])
    assert done.exit_code == 2
    assert "--batch cannot be read" in done.stderr


@pytest.mark.parametrize(
    ("option", "names", "known"),
    [
        ("--runtime", "onnx,openvino", "torch-compiled"),
        ("--model", "bert", "encoder"),
        ("--precision", "fp32,fp8", "fp32, fp16, int8"),
    ],
)
def test_names_that_are_none_are_refused(option: str, names: str, known: str) -> None:
    done = CliRunner().invoke(app, ["bench", "engine", option, names])
    assert done.exit_code == 2
    assert known in done.stderr
    assert f"received: {names.split(',')[-1]}" in done.stderr
    assert "fix:" in done.stderr


def test_what_is_the_same_in_all_rows_stands_above_the_table(settings: Settings) -> None:
    words = ["bench", "engine", "tiny@1", "tiny@2", "--batch", "3", "--runtime", "onnx,onnx-cuda"]
    shown = CliRunner().invoke(app, [*words, "--set", f"engine.store={settings.engine.store}"])
    assert shown.exit_code == 0, shown.output
    above, _, heads, row, *_ = shown.stdout.splitlines()  # headings have two lines
    assert above == "precision float32, items 4, users 3, threads 1"
    assert heads.split()[:4] == ["engine", "KB", "shape", "runtime"]
    assert row.split()[0] == "tiny@1"
    assert "missing onnx-cuda: ONNX Runtime cannot use cuda" in shown.stdout
