"""Which engine may take the active one's place, and the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engines.active import Active, EngineRef
from engines.bundle import Bundle
from engines.registry import Registry
from engines.verdict import Check, Verdict
from schemas.errors import BundleRefused, EngineError
from tests.engines.examples import events, fit, spoil
from tests.engines.full_disk import full_disk

DRAFT = fit(events("abcd", "abd")).draft(batch=2, k=3)


@pytest.fixture
def store(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "store")


def verdict(candidate: Bundle, against: Bundle, passed: bool = True) -> Verdict:
    check = Check(name="min_users", value=200 if passed else 5, bound=100, passed=passed)
    return Verdict(
        candidate=EngineRef.of(candidate),
        against=EngineRef.of(against),
        passed=passed,
        checks=[check],
        gated_at="2026-11-26T12:00:00.000+00:00",
    )


@pytest.fixture
def three(store: Registry) -> list[Bundle]:
    """Versions 1, 2 and 3, the first one active."""
    bundles = [store.add(DRAFT, "shop") for _ in range(3)]
    store.activate("shop", "1")
    return bundles


class TestActivation:
    def test_without_an_active_engine_nothing_is_asked(self, store: Registry) -> None:
        store.add(DRAFT, "shop")
        active = store.activate("shop")
        assert (active.forced, active.previous) == (False, None)

    def test_another_engine_needs_a_pass(self, store: Registry, three: list[Bundle]) -> None:
        with pytest.raises(
            EngineError,
            match=r"shop@2 was not passed[\s\S]*a pass against shop@1[\s\S]*no verdict"
            r"[\s\S]*headrace gate shop@2 --source[\s\S]*--force",
        ):
            store.activate("shop", "2")
        assert store.active().label == "shop@1"
        store.keep(verdict(three[1], three[0]))
        active = store.activate("shop", "2")
        assert (active.engine_seq, active.forced) == (2, False)
        assert active.previous == EngineRef.of(three[0])

    def test_a_failed_gate_is_no_pass(self, store: Registry, three: list[Bundle]) -> None:
        store.keep(verdict(three[1], three[0]))
        store.keep(verdict(three[1], three[0], passed=False))  # the last one counts
        with pytest.raises(EngineError, match=r"failed against shop@1: min_users"):
            store.activate("shop", "2")

    def test_a_pass_against_another_engine_does_not_count(
        self, store: Registry, three: list[Bundle]
    ) -> None:
        store.keep(verdict(three[1], three[2]))
        with pytest.raises(EngineError, match=r"received: a pass against shop@3"):
            store.activate("shop", "2")

    def test_a_pass_of_another_engine_does_not_count(
        self, store: Registry, three: list[Bundle]
    ) -> None:
        store.keep(verdict(three[2], three[0]))
        with pytest.raises(EngineError, match="no verdict"):
            store.activate("shop", "2")

    def test_a_pass_of_other_bytes_does_not_count(
        self, store: Registry, three: list[Bundle]
    ) -> None:
        store.keep(verdict(three[1], three[0]))
        spoil(three[1].folder, lambda manifest: manifest.update(parent="other@1"))
        with pytest.raises(EngineError, match="of a bundle that was changed since"):
            store.activate("shop", "2")

    def test_a_pass_against_other_bytes_does_not_count(
        self, store: Registry, three: list[Bundle]
    ) -> None:
        store.keep(verdict(three[1], three[0]))
        spoil(three[0].folder, lambda manifest: manifest.update(parent="other@1"))
        store.activate("shop", "1", force=True)
        with pytest.raises(EngineError, match="a pass against shop@1, which was changed since"):
            store.activate("shop", "2")

    def test_a_tampered_bundle_is_refused_with_a_pass_and_by_force(
        self, store: Registry, three: list[Bundle]
    ) -> None:
        store.keep(verdict(three[1], three[0]))
        (three[1].folder / "model.onnx").write_bytes(b"spoiled")
        for force in (False, True):
            with pytest.raises(BundleRefused, match=r"model\.onnx"):
                store.activate("shop", "2", force=force)
        assert store.active().label == "shop@1"

    def test_force_is_recorded_where_it_was_needed(
        self, store: Registry, three: list[Bundle]
    ) -> None:
        assert store.activate("shop", "2", force=True).forced
        assert json.loads((store.store / "active.json").read_text())["forced"] is True
        store.keep(verdict(three[2], three[1]))
        assert not store.activate("shop", "3", force=True).forced

    def test_what_is_active_already_needs_no_pass_and_forgets_nothing(
        self, store: Registry, three: list[Bundle]
    ) -> None:
        store.activate("shop", "2", force=True)
        again = store.activate("shop", "2")
        assert (again.engine_seq, again.forced) == (3, False)
        assert again.previous == EngineRef.of(three[0])

    def test_a_damaged_verdict_is_no_pass_but_can_be_forced(
        self, store: Registry, three: list[Bundle]
    ) -> None:
        store.keep(verdict(three[1], three[0]))
        path = store.store / ".gates" / "shop@2.json"
        path.write_text(path.read_text()[:100])
        with pytest.raises(EngineError, match=r"shop@2\.json cannot be read"):
            store.activate("shop", "2")
        assert store.activate("shop", "2", force=True).forced

    def test_verdicts_are_no_bundles(self, store: Registry, three: list[Bundle]) -> None:
        store.keep(verdict(three[1], three[0]))
        assert [entry.version for entry in store.list()] == ["1", "2", "3"]

    def test_an_active_json_of_an_earlier_release_is_read(
        self, store: Registry, three: list[Bundle]
    ) -> None:
        path = store.store / "active.json"
        told: dict[str, Any] = json.loads(path.read_text())
        assert told.pop("forced") is False
        assert told.pop("previous") is None
        path.write_text(json.dumps(told))
        assert store.active() == Active(**told)
        assert store.activate("shop", "2", force=True).previous == EngineRef.of(three[0])


class TestRollback:
    def test_it_activates_what_was_active_before(
        self, store: Registry, three: list[Bundle]
    ) -> None:
        store.activate("shop", "2", force=True)
        back = store.rollback()
        assert (back.label, back.engine_seq, back.forced) == ("shop@1", 3, False)
        assert store.open_active()[0].label == "shop@1"
        assert store.rollback().label == "shop@2"
        assert store.active().engine_seq == 4

    def test_without_an_engine_before_it_is_an_error(
        self, store: Registry, three: list[Bundle]
    ) -> None:
        before = store.active()
        with pytest.raises(EngineError, match=r"nothing to roll back to[\s\S]*before shop@1"):
            store.rollback()
        assert store.active() == before

    def test_without_an_active_engine_it_is_an_error(self, store: Registry) -> None:
        with pytest.raises(EngineError, match="no engine is active"):
            store.rollback()

    @pytest.mark.parametrize("tampering", ["changed", "exchanged", "gone"])
    def test_it_is_verified(self, store: Registry, three: list[Bundle], tampering: str) -> None:
        before = store.activate("shop", "2", force=True)
        if tampering == "changed":
            (three[0].folder / "model.onnx").write_bytes(b"spoiled")
        elif tampering == "exchanged":
            spoil(three[0].folder, lambda manifest: manifest.update(parent="other@1"))
        else:
            three[0].folder.rename(store.store / "shop" / ".gone")
        with pytest.raises(BundleRefused):
            store.rollback()
        assert store.active() == before


def test_a_full_disk_leaves_the_active_engine_and_the_last_verdict(
    store: Registry, three: list[Bundle]
) -> None:
    store.keep(verdict(three[1], three[0]))
    before = store.active()
    with full_disk(100), pytest.raises(OSError, match="File too large"):
        store.activate("shop", "2")
    with full_disk(100), pytest.raises(OSError, match="File too large"):
        store.keep(verdict(three[1], three[0], passed=False))
    assert store.active() == before
    assert store.activate("shop", "2").engine_seq == 2
