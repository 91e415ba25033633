"""One step of compression by command: what it adds to the store, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from engines.models import kinds
from engines.models.plan import Plan, Shape
from engines.registry import Registry
from engines.vectors import rows_of
from pipeline.cli import app
from pipeline.compress import compress
from pipeline.config import Settings, load_settings
from pipeline.refresh import refresh
from schemas.errors import EngineError
from tests.engines.examples import events, fit
from tests.engines.models.test_content import shop
from tests.pipeline.test_refresh import listed

STEPS = ("--fp16", "--int8", "--int8-weights", "--int8-items")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """With an engine ``shop`` that knows lamps, soaps and chairs."""
    path = tmp_path_factory.mktemp("store")
    settings = load_settings(flags={"engine.store": path}, environ={})
    model = kinds.fit("content", shop(), Plan(shape=Shape.of_width(8)))
    Registry(path).add(model.draft(batch=4, k=6), "shop")
    Registry(path).add(fit(events("abc", "abd")).draft(batch=2, k=3), "plain")
    return settings


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.txt"
    path.write_text("u1 lamp-1 lamp-2 soap-1\nu2 soap-1 soap-3 chair-1 lamp-4\n")
    return path


def call(settings: Settings, *words: str) -> Result:
    store = f"engine.store={settings.engine.store}"
    return CliRunner().invoke(app, ["compress", *words, "--set", store])


def test_a_step_adds_a_version_and_names_the_next_command(store: Settings) -> None:
    done = call(store, "shop@1", "--int8-items", "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert (done.exit_code, told["parent"], told["step"]) == (0, "shop@1", "int8-items")
    for label, sizes in ((told["parent"], told["before"]), (told["engine"], told["after"])):
        folder = store.engine.store / label.replace("@", "/")
        bytes_of = {path.name: path.stat().st_size for path in folder.iterdir()}
        del bytes_of["manifest.json"]
        assert sizes == {
            "size_bytes": sum(bytes_of.values()),
            "model_bytes": bytes_of["model.onnx"],
        }
    assert told["next"] == f"headrace gate {told['engine']} --against shop@1 --source ..."
    bundle = Registry(store.engine.store).open(*told["engine"].split("@"))
    assert bundle.manifest.parent == "shop@1"
    assert bundle.tables["item_vectors"].dtype == np.int8


def test_int8_is_calibrated_with_the_users_of_a_log(store: Settings, log: Path) -> None:
    done = call(store, "shop@1", str(log), "--int8", "--source", "sequences", "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert (done.exit_code, told["step"]) == (0, "int8")
    assert listed(store, told["engine"], "soap-1")[:2] == listed(store, "shop@1", "soap-1")[:2]


def test_product_quantisation_is_told_the_bytes_of_an_item(store: Settings) -> None:
    told = json.loads(
        call(store, "shop@1", "--product-items", "4", "--json").stdout.splitlines()[-1]
    )
    assert told["step"] == "product-items"
    bundle = Registry(store.engine.store).open(*told["engine"].split("@"))
    assert bundle.manifest.parameters["compression"] == "product-items 4"
    assert bundle.tables["item_vectors"].shape[1] == 4
    refused = call(store, "shop@1", "--product-items", "5")
    assert refused.exit_code == 5
    assert "1, 2, 4, 8 bytes an item" in refused.stderr


@pytest.mark.parametrize("steps", [(), STEPS[:2], STEPS])
def test_it_is_one_step_at_a_time(store: Settings, steps: tuple[str, ...]) -> None:
    done = call(store, "shop@1", *steps)
    assert done.exit_code == 5
    assert "one step at a time" in done.stderr


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "nobody to calibrate with"),
        ("u1 lamp-1\n", "no user to test on"),
        ("u1 other-1 other-2\n", "nobody to calibrate"),
    ],
)
def test_a_log_that_calibrates_nothing_is_refused(
    store: Settings, tmp_path: Path, text: str, match: str
) -> None:
    path = tmp_path / "log.txt"
    path.write_text(text)
    with pytest.raises(EngineError, match=match):
        compress(store, "shop@1", {"int8": ""}, "sequences", path)


def test_int8_without_a_log_says_what_it_needs(store: Settings) -> None:
    with pytest.raises(EngineError, match=r"needs a log[\s\S]*--source KIND"):
        compress(store, "shop@1", {"int8": ""})


def test_an_engine_without_vectors_is_refused_before_the_log_is_read(store: Settings) -> None:
    with pytest.raises(EngineError, match=r"plain@1 has nothing that int8 could"):
        compress(store, "plain", {"int8": ""}, "sequences", Path("none.txt"))


@pytest.mark.parametrize(
    "step", [{"fp16": ""}, {"int8-items": ""}, {"product-items": "4"}], ids=str
)
def test_a_compressed_engine_is_refreshed_as_its_parent_is(
    store: Settings, tmp_path: Path, step: dict[str, str]
) -> None:
    items = tmp_path / "items.json"
    items.write_text(json.dumps({"fresh": {"title": "lamp number 99"}}))
    small = compress(store, "shop@1", step)["engine"]
    found = [refresh(store, name, items, None)["engine"] for name in ("shop@1", small)]
    registry = Registry(store.engine.store)
    parent, child = (registry.open(*name.split("@")) for name in found)
    assert child.manifest.precision == registry.open(*small.split("@")).manifest.precision
    fresh = [rows_of(bundle.tables, "item_vectors", 25) for bundle in (parent, child)]
    np.testing.assert_allclose(fresh[1], fresh[0], atol=0.03)
    assert "fresh" in listed(store, child.label, "lamp-1", "lamp-2", "lamp-3")
    assert "fresh" not in listed(store, child.label, "soap-1", "soap-2", "soap-3")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--prune", "heads=1"), "needs a log"),
        (("--prune", "heads", "--source", "sequences"), "what is to be kept"),
        (("--prune", "legs=1", "--source", "sequences"), "what is to be kept"),
        (("--two-of-four", "--source", "sequences"), "cannot be taken up"),
        (("--sparsity", "0.5", "--source", "sequences"), "cannot be taken up"),
        (("--distill", "blend", "--source", "sequences"), "cannot be taken up"),
    ],
)
def test_a_step_that_fits_on_says_what_it_lacks(
    store: Settings, log: Path, words: tuple[str, ...], said: str
) -> None:
    done = call(store, "plain", str(log), *words)
    assert done.exit_code == 5
    assert said in done.stderr


def test_any_engine_can_teach(store: Settings, log: Path) -> None:
    quick = ("--set", "train.width=4", "--set", "train.epochs=1")
    words = ("plain@1", str(log), "--distill", "sasrec", "--source", "sequences", *quick, "--json")
    told = json.loads(call(store, *words).stdout.splitlines()[-1])
    assert (told["parent"], told["step"], told["engine"]) == ("plain@1", "distill", "plain@2")
    manifest = Registry(store.engine.store).open("plain").manifest
    assert (manifest.model, manifest.parameters["width"]) == ("sasrec", 4)
    assert manifest.parameters["compression"] == "distill sasrec"
