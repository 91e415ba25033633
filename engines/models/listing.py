"""From the scores of all items to the list of each user, as ONNX nodes: what every engine ends in.

score [B, W] ─▶ -inf for excluded items ─▶ the k best: scores, items [B, k]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engines.models.top_k import Constants, top_k


def listing(
    score: str, batch: int, width: int, k: int, excluded_slots: int
) -> tuple[list[Any], Constants]:
    """Nodes that read ``excluded`` and end in ``scores`` and ``items``.

    Args:
        score: name of a value, float32 [B, W]; see `top_k` for it and the other arguments.
        excluded_slots: X.

    Returns:
        the nodes, and the constants that they refer to.
    """
    from onnx.helper import make_node as node

    choice, constants = top_k("listed_score", batch, width, k)
    exclusion = node("ScatterElements", [score, "excluded", "no_score"], ["listed_score"], axis=1)
    no_score = np.full((batch, excluded_slots), -np.inf, np.float32)
    return [exclusion, *choice], constants | {"no_score": no_score}
