"""A sound bundle opens; whatever is wrong with one, it is refused and nothing of it is run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engines import disk, draft
from engines.bundle import Bundle
from engines.draft import write_bundle
from engines.manifest import MANIFEST
from schemas.errors import BundleRefused, EngineError
from tests.engines.examples import events, fit, spoil, tiny_bundle


def items_with(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], object]:
    """Spoils a bundle by another items table, its hashes made right."""

    def spoiler(folder: Path) -> None:
        with pa.OSFile(str(folder / "items.arrow")) as file:
            table = change(pa.ipc.open_file(file).read_all())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        spoil(folder, items_arrow=sink.getvalue().to_pybytes())

    return spoiler


def claim(**fields: Any) -> Callable[[Path], object]:
    """Spoils a bundle by other fields of its manifest."""
    return lambda folder: spoil(folder, lambda manifest: manifest.update(fields))


def without(field: str) -> Callable[[Path], object]:
    return lambda folder: spoil(folder, lambda manifest: manifest.pop(field))


def cut(name: str) -> Callable[[Path], object]:
    """Takes the last bytes off."""

    def spoiler(folder: Path) -> None:
        os.truncate(folder / name, (folder / name).stat().st_size - 2)

    return spoiler


def flip(name: str) -> Callable[[Path], object]:
    """Changes one bit in the middle, at equal size."""

    def spoiler(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    return spoiler


def link(name: str) -> Callable[[Path], object]:
    """Replaces a file by a link to an equal one."""

    def spoiler(folder: Path) -> None:
        (folder / name).rename(folder.parent / name)
        (folder / name).symlink_to(folder.parent / name)

    return spoiler


def pipe(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")


def climb(manifest: dict[str, Any]) -> None:
    manifest["files"]["../model.onnx"] = manifest["files"].pop("model.onnx")


def reshape(part: str, place: int, **fields: Any) -> Callable[[Path], object]:
    return lambda folder: spoil(folder, lambda manifest: manifest[part][place].update(fields))


PLAN = "model.portable.plan"


def plan_of(folder: Path, **fields: Any) -> dict[str, Any]:
    """An entry that fits the bundle's model, with other fields."""
    entry = {"gpu": "portable", "driver": None, "flavour": "tensorrt_rtx", "version": "1.6"}
    files = json.loads((folder / MANIFEST).read_text())["files"]
    return {**entry, "onnx_sha256": files["model.onnx"]["sha256"], **fields}


def planned(
    spoiler: Callable[[Path], object] = lambda folder: None, **fields: Any
) -> Callable[[Path], object]:
    """Adds a plan, and then spoils."""

    def spoil_planned(folder: Path) -> None:
        entry = plan_of(folder, **fields)
        spoil(folder, lambda manifest: manifest.update(plans=[entry]), model_portable_plan=b"plan")
        spoiler(folder)

    return spoil_planned


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated model": (cut("model.onnx"), r"model\.onnx[\s\S]*bytes"),
    "truncated items": (cut("items.arrow"), r"items\.arrow[\s\S]*bytes"),
    "truncated manifest": (cut(MANIFEST), "not a valid manifest"),
    "altered model": (flip("model.onnx"), r"model\.onnx[\s\S]*SHA-256"),
    "altered items": (flip("items.arrow"), r"items\.arrow[\s\S]*SHA-256"),
    "no model": (lambda folder: (folder / "model.onnx").unlink(), r"model\.onnx[\s\S]*missing"),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), r"manifest\.json"),
    "extra file": (
        lambda folder: (folder / "extra.bin").write_bytes(b"x"),
        r"extra\.bin[\s\S]*not in the manifest",
    ),
    "link to the model": (link("model.onnx"), r"model\.onnx[\s\S]*no link"),
    "link to the manifest": (link(MANIFEST), r"manifest\.json[\s\S]*no link"),
    "pipe in place of the model": (pipe, r"model\.onnx[\s\S]*a regular file"),
    "path out of the folder": (lambda folder: spoil(folder, climb), r"files.*model\.onnx"),
    "huge manifest": (
        lambda folder: (folder / MANIFEST).write_bytes(b" " * (2 << 20)),
        r"manifest\.json[\s\S]*at most",
    ),
    "not JSON": (lambda folder: (folder / MANIFEST).write_bytes(b"{"), "the whole file"),
    "another format": (claim(format_version=2), "format_version"),
    "missing field": (without("channels"), r"channels[\s\S]*Field required"),
    "unknown field": (claim(colour="red"), r"colour[\s\S]*not permitted"),
    "number as text": (claim(k="3"), r": k\n[\s\S]*valid integer"),
    "name with a slash": (claim(name="../tiny"), r": name\n[\s\S]*pattern"),
    "metric that is not finite": (claim(metrics={"ndcg@10": float("nan")}), "metrics"),
    "no model among the files": (
        lambda folder: spoil(folder, lambda manifest: manifest["files"].pop("model.onnx")),
        r"files \['items\.arrow', 'model\.onnx'\]",
    ),
    "unknown input": (reshape("inputs", 0, name="mood"), r"inputs out of[\s\S]*mood"),
    "wrong input type": (reshape("inputs", 0, dtype="float32"), "inputs out of"),
    "wrong input width": (reshape("inputs", 2, shape=[2, 49]), "other inputs than"),
    "one input narrower": (reshape("inputs", 0, shape=[2, 7]), r"same number of events[\s\S]*7, 8"),
    "wrong batch": (reshape("inputs", 0, shape=[3, 50]), r"inputs out of[\s\S]*2 rows"),
    "wrong output shape": (reshape("outputs", 0, shape=[2, 4]), "outputs"),
    "wrong k": (claim(k=4), "outputs"),
    "wrong catalogue size": (claim(catalogue_size=5), r"items\.arrow[\s\S]*5 items"),
    "items that are no table": (
        lambda folder: spoil(folder, items_arrow=b"ARROW1 no"),
        r"items\.arrow[\s\S]*an Arrow IPC file",
    ),
    "items out of order": (items_with(lambda t: t.take([1, 0, 2, 3])), "numbered by row"),
    "items without titles": (items_with(lambda t: t.drop_columns(["title"])), r"items\.arrow"),
    "item with another's hash": (
        items_with(lambda t: t.set_column(2, t.schema.field(2), t["item_hash"].take([1, 0, 2, 3]))),
        "wrong hash",
    ),
    "item without a name": (
        items_with(lambda t: t.set_column(1, t.schema.field(1), pa.array(["a", "b", None, "d"]))),
        "no null",
    ),
    "truncated plan": (planned(cut(PLAN)), r"model\.portable\.plan[\s\S]*bytes"),
    "altered plan": (planned(flip(PLAN)), r"model\.portable\.plan[\s\S]*SHA-256"),
    "plan that is gone": (
        planned(lambda folder: (folder / PLAN).unlink()),
        r"model\.portable\.plan[\s\S]*missing",
    ),
    "plan that nothing is said of": (planned(claim(plans=[])), r"files[\s\S]*portable\.plan"),
    "plan that is none of its files": (
        lambda folder: claim(plans=[plan_of(folder)])(folder),
        r"files[\s\S]*portable\.plan",
    ),
    "plan of another model": (
        planned(onnx_sha256="0" * 64),
        r"model\.portable\.plan[\s\S]*a plan of model\.onnx[\s\S]*0{64}[\s\S]*headrace build",
    ),
    "plan with a path in its name": (planned(gpu="../x"), r"plans\.0\.gpu"),
}


def test_a_sound_bundle_opens(tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle(tmp_path / "bundle"))
    assert bundle.label == "tiny@1"
    assert bundle.catalogue.item_ids.tolist() == ["", "a", "b", "d", "c"]
    assert bundle.digest == hashlib.sha256((bundle.folder / MANIFEST).read_bytes()).digest()
    assert bundle.manifest.training.events == 7
    assert bundle.manifest.training.users == 2


def test_a_plan_is_a_part_of_the_bundle_and_may_be_missing(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "bundle")
    without("plans")(folder)  # as manifests were before there were any
    assert not Bundle.open(folder).plans
    planned()(folder)
    assert Bundle.open(folder).plans == {PLAN: b"plan"}


@pytest.mark.parametrize(("spoiler", "match"), REFUSED.values(), ids=REFUSED)
def test_an_unsound_bundle_is_refused(
    tmp_path: Path, spoiler: Callable[[Path], object], match: str
) -> None:
    folder = tiny_bundle(tmp_path / "bundle")
    spoiler(folder)
    with pytest.raises(BundleRefused, match=match) as refused:
        Bundle.open(folder)
    assert refused.value.expected
    assert refused.value.received
    assert refused.value.fix


def test_a_refusal_comes_before_the_runtime_is_even_imported(tmp_path: Path) -> None:
    """In a process of its own: each bad bundle is refused, and ONNX Runtime was not touched."""
    for number, (spoiler, _) in enumerate(REFUSED.values()):
        if spoiler is not pipe:
            spoiler(tiny_bundle(tmp_path / str(number) / "bundle"))
    program = """
import sys
from pathlib import Path
from engines.bundle import Bundle
from schemas.errors import BundleRefused
refused = 0
for folder in Path(sys.argv[1]).glob("*/bundle"):
    try:
        Bundle.open(folder)
    except BundleRefused:
        refused += 1
print(refused, not {"onnxruntime", "tensorrt", "tensorrt_rtx"}.isdisjoint(sys.modules))
"""
    output = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert output.stdout.split() == [str(len(REFUSED) - 1), "False"]


def test_another_manifest_than_the_expected_one_is_refused(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "bundle")
    expected = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    assert Bundle.open(folder, expected).digest.hex() == expected
    spoil(folder, lambda manifest: manifest.update(parent="other@1"))
    Bundle.open(folder)
    with pytest.raises(BundleRefused, match=expected):
        Bundle.open(folder, expected)


def test_a_folder_that_is_a_link_or_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tiny_bundle(tmp_path / "bundle"))
    for name in ("link", "nowhere"):
        with pytest.raises(BundleRefused, match="a bundle folder"):
            Bundle.open(tmp_path / name)


def test_equal_logs_make_equal_bundles(tmp_path: Path) -> None:
    first, second = tiny_bundle(tmp_path / "one"), tiny_bundle(tmp_path / "two")
    assert Bundle.open(first).digest == Bundle.open(second).digest


@pytest.mark.parametrize("last_write", [1, 2, 3])
def test_a_crash_while_writing_leaves_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_write: int
) -> None:
    writes = []

    def full_disk(path: Path, data: bytes) -> None:
        writes.append(path)
        if len(writes) == last_write:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        disk.write_flushed(path, data)

    monkeypatch.setattr(draft, "write_flushed", full_disk)
    with pytest.raises(EngineError, match="No space left on device"):
        tiny_bundle(tmp_path / "tiny" / "1")
    assert len(writes) == last_write
    assert list((tmp_path / "tiny").iterdir()) == []


def test_a_bundle_is_never_written_over(tmp_path: Path) -> None:
    before = Bundle.open(tiny_bundle(tmp_path / "bundle"))
    with pytest.raises(EngineError, match=r"tiny@1 cannot be written"):
        write_bundle(tmp_path / "bundle", fit(events("xy")).draft(), "tiny", "1")
    assert Bundle.open(tmp_path / "bundle").digest == before.digest
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_copied_bundle_is_the_same_bundle(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "bundle")
    shutil.copytree(folder, tmp_path / "copy")
    assert Bundle.open(tmp_path / "copy").digest == Bundle.open(folder).digest


def test_the_manifest_is_readable_by_people(tmp_path: Path) -> None:
    manifest = json.loads((tiny_bundle(tmp_path / "bundle") / MANIFEST).read_text())
    assert manifest["inputs"][0] == {"name": "item", "dtype": "int64", "shape": [2, 8]}
    assert manifest["channels"] == ["popularity", "cooccurrence"]
    assert set(manifest["files"]) == {"model.onnx", "items.arrow"}
