from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.backends.onnx import OnnxBackend
from engines.bundle import Bundle
from engines.compress.distill import TaughtWindows, distilled, taught, teacher_lists
from engines.compress.fitted_on import translation, vectors_of
from engines.evaluate import profiles_from_histories
from engines.features import Histories, features
from engines.models import sasrec
from engines.models.interactions import Interactions
from engines.models.trainee import listwise
from engines.models.windows import Windows
from engines.registry import Registry
from tests.engines.examples import fit
from tests.engines.rule import SEEN, SMALLER, following, round_trips


def quietly(done: int, total: int, note: str) -> None:
    pass


@pytest.fixture(scope="module")
def backwards(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A teacher for whom n - 1 comes after n; its catalogue has another order."""
    draft = fit(round_trips(step=-1, users=200)).draft(batch=16, k=3)
    return Registry(tmp_path_factory.mktemp("store")).add(draft, "backwards")


def test_lists_are_those_of_serving(backwards: Bundle) -> None:
    windows = Windows.of(SEEN)
    listed = teacher_lists(backwards, windows, quietly)
    assert listed.shape == (len(windows), 3)
    catalogue = SEEN.catalogue
    for row in (0, 7, len(windows) - 1):
        shown = slice(windows.start[row], windows.start[row] + windows.length[row])
        history = [
            (int(catalogue.hashes[item]), int(kind), int(time_ms))
            for item, kind, time_ms in zip(
                SEEN.item[shown], SEEN.event_type[shown], SEEN.time_ms[shown], strict=True
            )
        ]
        slots = backwards.manifest.history_slots
        profile = Histories.of(profiles_from_histories([history]), slots)
        with OnnxBackend(backwards) as backend:
            served = backend.run(features(profile, backwards.catalogue)).items[0]
        by_id = backwards.catalogue.item_ids[served].tolist()
        assert catalogue.item_ids[listed[row]].tolist() == by_id


def test_items_that_only_one_catalogue_has_are_unknown_in_the_other() -> None:
    first, second = (
        Interactions.read(log).catalogue for log in (round_trips(), round_trips()[:40])
    )
    there = translation(first, second)
    back = translation(second, first)
    assert there[0] == 0
    assert set(there.tolist()) == set(range(len(second) + 1))
    assert [int(there[back[item]]) for item in range(len(second) + 1)] == [*range(len(second) + 1)]


def test_a_loss_by_hand() -> None:
    """Two listed items and two drawn ones, of which one is on the list and so left out."""
    of_listed = torch.tensor([[1.0, 0.0], [2.0, 9.0]])
    listed = torch.tensor([[4, 7], [4, 0]])
    drawn = torch.tensor([7, 9])
    of_drawn = torch.tensor([[5.0, 0.5], [5.0, 0.5]])
    e = math.exp
    first = math.log(e(1) + e(0) + e(0.5))
    second = math.log(e(2) + e(5) + e(0.5))  # 7 is on the first list only
    weight = 1 / math.log2(3)
    wanted = ((first - 1) + weight * (first - 0) + (second - 2)) / (2 + weight)
    assert float(listwise(of_listed, listed, of_drawn, drawn)) == pytest.approx(wanted, rel=1e-6)


def test_nothing_listed_is_no_loss_and_no_nan() -> None:
    of_listed = torch.zeros(2, 3, requires_grad=True)
    loss = listwise(
        of_listed, torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 4), torch.arange(1, 5)
    )
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss) == 0
    assert of_listed.grad is not None
    assert not of_listed.grad.any()


def test_a_student_learns_what_only_its_teacher_knows(backwards: Bundle) -> None:
    """The log says n + 1, the teacher n - 1; without the teacher nobody would list that."""
    plan = replace(SMALLER, fit=replace(SMALLER.fit, epochs=15))
    student = taught(backwards, "sasrec", SEEN, plan)
    assert isinstance(student, sasrec.SasrecModel)
    alone = sasrec.fit(SEEN, plan)
    assert following(student, -1) > 0.5 > 0.3 > following(alone, -1)
    assert following(student, 1) > 0.5


def test_a_student_is_a_smaller_child_of_its_teacher(engine: Bundle, tmp_path: Path) -> None:
    quick = replace(SMALLER, fit=replace(SMALLER.fit, epochs=1))
    student = Registry(tmp_path).add(distilled(engine, "sasrec", SEEN, quick), "student")
    assert student.manifest.parent == engine.label
    assert student.tables["item_vectors"].shape[1] == 8
    assert (student.manifest.batch, student.manifest.k) == (8, 5)
    assert sasrec.of_bundle(student).network.shape == SMALLER.shape


def test_vectors_begin_as_those_of_the_teacher(engine: Bundle) -> None:
    size = len(engine.catalogue) + 1
    theirs = torch.from_numpy(engine.tables["item_vectors"][:size].copy())
    place = torch.from_numpy(translation(SEEN.catalogue, engine.catalogue))
    same = vectors_of(engine, SEEN, 16)
    assert torch.allclose(same[1:], theirs[place][1:], atol=1e-6)
    fewer = vectors_of(engine, SEEN, 8)[1:]
    likeness = [(v @ v.T).flatten() for v in (theirs[place][1:], fewer, torch.randn_like(fewer))]
    kept, chance = (
        torch.corrcoef(torch.stack([likeness[0], other]))[0, 1] for other in likeness[1:]
    )
    assert kept > 0.8 > 0.3 > chance


def test_a_fit_is_named_after_its_lists() -> None:
    windows = Windows.of(SEEN)
    lists = np.ones((len(windows), 2), np.int64)
    shown = TaughtWindows(SEEN, windows.start, windows.length, lists)
    other = replace(shown, listed=lists * 2)
    assert len({windows.digest(), shown.digest(), other.digest()}) == 3
    batch = shown.batch(np.arange(3))
    assert batch.features["listed"].tolist() == [[1, 1]] * 3
