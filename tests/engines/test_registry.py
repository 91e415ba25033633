from __future__ import annotations

import hashlib
import multiprocessing
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from engines import disk
from engines.registry import Entry, Registry
from schemas.errors import BundleRefused, EngineError
from tests.engines.examples import events, fit, spoil
from tests.engines.full_disk import full_disk

DRAFT = fit(events("abcd", "abd")).draft(batch=2, k=3)


@pytest.fixture
def store(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "store")


def test_what_was_added_and_activated_is_opened(store: Registry) -> None:
    added = store.add(DRAFT, "shop")
    active = store.activate("shop")
    bundle, again = store.open_active()
    assert bundle.label == active.label == "shop@1"
    assert bundle.digest == added.digest == bytes.fromhex(active.manifest_sha256)
    assert again == active == store.active()


def test_versions_count_up_past_nine(store: Registry) -> None:
    labels = [store.add(DRAFT, "shop").label for _ in range(10)]
    assert labels == [f"shop@{number}" for number in range(1, 11)]
    assert store.open("shop").label == "shop@10"
    assert store.open("shop", "2").label == "shop@2"
    assert [entry.version for entry in store.list()] == [str(number) for number in range(1, 11)]


def test_a_version_may_have_a_name(store: Registry) -> None:
    assert store.add(DRAFT, "shop", "2024-06.b").label == "shop@2024-06.b"
    assert store.add(DRAFT, "shop").label == "shop@1"


def test_the_list_shows_which_one_is_active(store: Registry) -> None:
    assert store.list() == []
    for name in ("shop", "shop", "news"):
        store.add(DRAFT, name)
    store.activate("shop", "1")
    assert store.list() == [
        Entry("news", "1", False),
        Entry("shop", "1", True),
        Entry("shop", "2", False),
    ]


def test_every_activation_counts_rolling_back_too(store: Registry) -> None:
    store.add(DRAFT, "shop")
    store.add(DRAFT, "shop")
    seen = [store.activate("shop", version, force=True) for version in ("1", "2", "1", "1")]
    assert [active.engine_seq for active in seen] == [1, 2, 3, 4]
    assert store.active().label == "shop@1"


def test_nothing_active_says_what_to_do(store: Registry) -> None:
    with pytest.raises(EngineError, match=r"no engine is active[\s\S]*headrace train"):
        store.open_active()


def test_an_unknown_engine_says_what_there_is(store: Registry) -> None:
    store.add(DRAFT, "shop")
    with pytest.raises(EngineError, match=r"no engine news[\s\S]*shop@1"):
        store.activate("news")
    with pytest.raises(EngineError, match=r"no engine shop@2[\s\S]*shop@1"):
        store.open("shop", "2")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "Shop", "x" * 65, "a\n"])
def test_names_that_are_no_plain_folder_are_refused(store: Registry, name: str) -> None:
    with pytest.raises(EngineError, match="not a usable engine name"):
        store.add(DRAFT, name)
    with pytest.raises(EngineError, match="not a usable engine version"):
        store.add(DRAFT, "shop", name)


def test_an_existing_version_is_refused(store: Registry) -> None:
    store.add(DRAFT, "shop", "1")
    with pytest.raises(EngineError, match="cannot be written"):
        store.add(DRAFT, "shop", "1")


def test_a_spoiled_bundle_cannot_be_activated_and_the_old_one_stays(store: Registry) -> None:
    store.add(DRAFT, "shop")
    store.add(DRAFT, "shop")
    before = store.activate("shop", "1")
    (store.store / "shop" / "2" / "model.onnx").write_bytes(b"spoiled")
    with pytest.raises(BundleRefused):
        store.activate("shop", "2")
    assert store.active() == before


def test_an_active_bundle_exchanged_afterwards_is_refused(store: Registry) -> None:
    folder = store.add(DRAFT, "shop").folder
    store.activate("shop")
    spoil(folder, lambda manifest: manifest.update(parent="other@1"))
    store.open("shop")
    with pytest.raises(BundleRefused, match=r"manifest\.json"):
        store.open_active()


def test_a_bundle_in_the_folder_of_another_is_refused(store: Registry) -> None:
    store.add(DRAFT, "shop")
    (store.store / "shop" / "1").rename(store.store / "shop" / "7")
    with pytest.raises(BundleRefused, match=r"in the folder of another[\s\S]*shop@7"):
        store.open("shop")


@pytest.mark.parametrize("text", ["", "{", "{}", '{"name": "shop"}'])
def test_a_damaged_active_json_is_not_taken_for_none(store: Registry, text: str) -> None:
    store.add(DRAFT, "shop")
    (store.store / "active.json").write_text(text)
    for use in (store.active, store.list, lambda: store.activate("shop")):
        with pytest.raises(EngineError, match=r"active\.json cannot be read"):
            use()
    assert store.add(DRAFT, "shop").label == "shop@2"


def test_a_crash_while_activating_leaves_the_old_one_active(
    store: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(DRAFT, "shop")
    before = store.activate("shop")
    whole = disk.write_flushed

    def crash(path: Path, data: bytes) -> None:
        path.write_bytes(data[:10])
        raise KeyboardInterrupt

    monkeypatch.setattr(disk, "write_flushed", crash)
    with pytest.raises(KeyboardInterrupt):
        store.activate("shop")
    monkeypatch.setattr(disk, "write_flushed", whole)
    assert store.active() == before
    assert store.activate("shop").engine_seq == 2


def test_what_a_killed_writer_left_is_invisible_and_swept_away(store: Registry) -> None:
    store.add(DRAFT, "shop")
    left = store.store / "shop" / ".tmp-killed"
    (store.store / "shop" / "1").rename(left)
    assert store.list() == []
    assert store.add(DRAFT, "shop").label == "shop@1"
    assert not left.exists()


def _write(folder: Path, times: int, start: Barrier, told: Queue[list[int]]) -> None:
    start.wait()
    seen = []
    for _ in range(times):
        Registry(folder).add(DRAFT, "shop")
        seen.append(Registry(folder).activate("shop", force=True).engine_seq)
    told.put(seen)


def test_two_writers_take_turns(store: Registry) -> None:
    spawn = multiprocessing.get_context("spawn")
    start, told = spawn.Barrier(2), spawn.Queue()
    writers = [spawn.Process(target=_write, args=(store.store, 10, start, told)) for _ in range(2)]
    for writer in writers:
        writer.start()
    one, other = (told.get() for _ in writers)
    for writer in writers:
        writer.join()
    assert one == sorted(one)
    assert other == sorted(other)
    assert sorted(one + other) == list(range(1, 21))
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert [entry.version for entry in store.list()] == [str(number) for number in range(1, 21)]
    assert store.active().engine_seq == 20


def test_active_json_holds_the_hash_of_the_manifest(store: Registry) -> None:
    folder = store.add(DRAFT, "shop").folder
    expected = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert store.activate("shop").manifest_sha256 == expected


@pytest.mark.parametrize("name", ["model.onnx", "items.arrow"])
def test_a_full_disk_leaves_no_part_of_a_bundle(store: Registry, name: str) -> None:
    sizes = {file.name: file.stat().st_size for file in store.add(DRAFT, "shop").folder.iterdir()}
    with (
        full_disk(sizes[name] - 1),
        pytest.raises(EngineError, match=r"shop@2 cannot be written[\s\S]*free the disk"),
    ):
        store.add(DRAFT, "shop")
    assert [entry.version for entry in store.list()] == ["1"]
    assert [folder.name for folder in (store.store / "shop").iterdir()] == ["1"]
    assert store.add(DRAFT, "shop").label == "shop@2"
