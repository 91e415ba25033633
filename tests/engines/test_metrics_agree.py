"""Our metrics are RecTools' metrics, on the same lists."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from engines.evaluate import CUTOFFS, measure

PYTHON = Path(__file__).parents[2] / ".venv" / "rectools" / "bin" / "python"
USERS, ITEMS, K = 500, 60, 20


def by_rectools(lists: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    given = {
        "lists": lists.tolist(),
        "targets": targets.tolist(),
        "items": ITEMS,
        "cutoffs": CUTOFFS,
        "k": K,
    }
    script = Path(__file__).with_name("rectools_metrics.py")
    done = subprocess.run(
        [PYTHON, script], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def test_all_metrics_that_both_have() -> None:
    assert PYTHON.exists(), "`make check` and `make test` install RecTools there"
    random = np.random.default_rng(0)
    lists = np.stack([random.permutation(ITEMS)[:K] + 1 for _ in range(USERS)])
    lists[:50, 5:] = 0  # lists that have ended
    lists[:, :K][lists > ITEMS - 7] = 0
    lists = np.stack([np.concatenate([row[row > 0], row[row == 0]]) for row in lists])
    targets = random.integers(1, ITEMS + 1, USERS)
    ours = measure(lists, targets, np.concatenate([[0.0], np.ones(ITEMS)]))
    theirs = by_rectools(lists, targets)
    assert len(theirs) == 2 * len(CUTOFFS) + 2
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name
    assert ours != pytest.approx(measure(lists, np.roll(targets, 1), np.ones(ITEMS + 1)))
