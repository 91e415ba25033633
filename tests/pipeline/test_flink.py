from __future__ import annotations

from pathlib import Path

from pipeline.config import load_settings
from pipeline.flink import configuration

MULTIPLIER, LONGEST_S = 1.5, 60.0
"""Flink's defaults."""


def test_a_failure_is_answered_at_once_and_a_lasting_one_given_up_after_12_minutes(
    tmp_path: Path,
) -> None:
    told = configuration(load_settings(flags={"run_dir": tmp_path}, environ={}))
    prefix = "restart-strategy.exponential-delay."
    wait_s = int(told[f"{prefix}initial-backoff"].removesuffix(" ms")) / 1000
    assert wait_s <= 0.2
    waited_s = 0.0
    for _ in range(int(told[f"{prefix}attempts-before-reset-backoff"])):
        waited_s += wait_s
        wait_s = min(wait_s * MULTIPLIER, LONGEST_S)
    assert 11 * 60 < waited_s < 13 * 60
