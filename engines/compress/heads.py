"""What a teacher's heads say of a student's candidates: lessons for the student's ranker.

    history ─┬▶ teacher's candidates ─▶ click, cart, purchase ─▶ softmax over them, by head ─┐
             └▶ student's candidates ◀───────── chance of each, by head, over those of both ─┘

Each head is a task, and all are learnt together from whole distributions (Hinton et al. 2015):
where a log holds few purchases, its teacher still tells for everybody what would be bought.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engines.compress.fitted_on import translation
from engines.features import features
from engines.models.blend import BlendModel
from engines.models.channels import Candidates
from engines.models.ranker import Examples, Ranker
from engines.models.recall import Recall, parts
from engines.models.windows import Windows
from schemas.profile import HISTORY_SLOTS

LESSONS = 500
"""Histories at most that a teacher is asked about: each tells of all candidates, by each head."""
TEMPERATURE = 2.0
"""Of the softmax. On a log like that of the tests .927 of a student's list are its teacher's
at 1, .950 at 2, .959 at 4; but the higher it is, the less the log's own events weigh."""


def lessons(teacher: BlendModel, windows: Windows, seed: int, student: Recall) -> Examples:
    """Candidates of a student, and the chances that the heads of a teacher give them.

    Items that the teacher does not know are none of them.

    Args:
        teacher: an engine's model.
        windows: histories; some of them, by the seed, are learnt from.
        student: what the student recalls for these.
    """
    chance = np.random.default_rng(seed)
    rows = chance.permutation(len(windows))[:LESSONS]
    recall, catalogue = Recall(teacher.channels, teacher.tables), windows.seen.catalogue
    place = torch.from_numpy(translation(catalogue, teacher.catalogue))
    found = []
    for part in parts(len(rows)):
        histories = windows.histories(rows[part], HISTORY_SLOTS, excluded_slots=1)
        own = student(features(histories, catalogue))
        told = recall(features(histories, teacher.catalogue))
        chances = head_chances(teacher.ranker, told)
        item = place[own.item]
        learnt = passed_on(told.item, chances, item)
        lesson = Examples(own.feature, item > 0, learnt, torch.full((len(part),), TEMPERATURE))
        found.append(lesson[learnt.sum((1, 2)) > 0])
    return Examples.joined(found)


@torch.no_grad()
def head_chances(ranker: Ranker, candidates: Candidates) -> Tensor:
    """How likely each candidate is the one by each head, softened; [B, M, H], void slots 0."""
    scores = ranker.by_head(candidates.feature) / TEMPERATURE
    void = candidates.item[:, :, None] == 0
    return scores.masked_fill(void, -torch.inf).softmax(1).nan_to_num()  # NaN: nothing but void


def passed_on(item: Tensor, chance: Tensor, wanted: Tensor) -> Tensor:
    """Chances of other candidates for the same users, by head of the sum 1 again, or 0.

    Args:
        item: int64 [B, M] candidates, each once, 0 where a slot is void.
        chance: float32 [B, M, H] of them.
        wanted: int64 [B, N] the others; those that are not in ``item`` have no chance.
    """
    same = (wanted[:, :, None] == item[:, None, :]) & (wanted > 0)[:, :, None]
    found = same.float() @ chance
    return found / found.sum(1, keepdim=True).clamp(min=torch.finfo(found.dtype).tiny)
