"""Distillation: a small sequence network that learns from a teacher's lists, and from the log.

    windows of the log ─▶ teacher, any engine ─▶ lists ─┐
           └──────────── what came next ────────────────┴▶ loss ─▶ sasrec of a given shape
                                                                     └▶ blend around it: `heads`

The teacher ranks what each window shows, as it would in serving. The student's newest event is to
bring the same items to the top (ranking distillation, Tang and Wang 2018), and every event the one
that came next. A ``blend`` student also learns what the heads of a ``blend`` teacher say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from xxhash import xxh3_128

from engines.backends import open_backend
from engines.bundle import Bundle
from engines.compress.fitted_on import draft_like, translation, vectors_of
from engines.compress.heads import lessons
from engines.draft import Draft
from engines.features import features
from engines.models import blend, sasrec
from engines.models.blend import BlendModel
from engines.models.fitting import Start
from engines.models.interactions import Interactions
from engines.models.plan import Plan, Told
from engines.models.sasrec import SasrecModel
from engines.models.windows import Batch, Windows

AT_ONCE = 1024
"""Windows that a teacher is shown in one call."""


@dataclass(frozen=True, eq=False)
class TaughtWindows(Windows):
    """Windows, and what a teacher lists for each.

    Args:
        listed: int64 [W, K] catalogue indices, best first; 0 where a list has ended.
    """

    listed: NDArray[np.int64]

    def digest(self) -> str:
        """Hex; the same for the same windows and lists."""
        return xxh3_128(super().digest().encode() + self.listed.tobytes()).hexdigest()

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """The windows ``rows`` [n], with ``listed`` beside their features."""
        batch = super().batch(rows)
        return replace(batch, features=batch.features | {"listed": self.listed[rows]})


def distilled(teacher: Bundle, student: str, seen: Interactions, plan: Plan) -> Draft:
    """The child of an engine, of the shape that the plan says; see `taught`."""
    return draft_like(teacher, taught(teacher, student, seen, plan))


def taught(
    teacher: Bundle, student: str, seen: Interactions, plan: Plan
) -> SasrecModel | BlendModel:
    """A student.

    Where its teacher has learnt the events that judge its epochs, the figure of its validation is
    better than it is: the gate has to say what it is worth.

    Args:
        teacher: of a ``sasrec`` student an engine of any kind; of a ``blend`` one a ``blend``.
        student: "sasrec", which learns one task, or "blend", which learns one a head.
        seen: the log to learn on; items that the teacher does not know are learnt from it alone.
        plan: of the student's fit.

    Raises:
        EngineError: the teacher has no heads to learn from.
    """
    many = blend.of_bundle(teacher) if student == blend.KIND else None
    split = plan.split(seen)
    windows = Windows.of(split.train)
    listed = teacher_lists(teacher, windows, plan.told)
    shown = TaughtWindows(split.train, windows.start, windows.length, listed)
    torch.manual_seed(plan.seed)
    start = Start(vectors_of(teacher, split.train, plan.shape.width))
    network = sasrec.fit_windows(split, shown, plan, start)
    if many is None:
        return network
    return blend.around(network, network, split, plan, partial(lessons, many, windows, plan.seed))


def teacher_lists(teacher: Bundle, windows: Windows, told: Told) -> NDArray[np.int64]:
    """What a teacher lists for each window, as indices [W, K] of the windows' catalogue."""
    known = translation(teacher.catalogue, windows.seen.catalogue)
    slots, excluded = teacher.manifest.history_slots, teacher.manifest.excluded_slots
    lists = np.zeros((len(windows), teacher.manifest.k), np.int64)
    with open_backend(teacher) as backend:
        for start in range(0, len(windows), AT_ONCE):
            told(start, len(windows), f"lists of {teacher.label}")
            rows = np.arange(start, min(start + AT_ONCE, len(windows)))
            shown = features(windows.histories(rows, slots, excluded), teacher.catalogue)
            lists[rows] = known[backend.run(shown).items]
    return lists
