"""What `headrace run` refuses before anything is started."""

from __future__ import annotations

from pipeline.config import load_settings
from pipeline.run import with_epoch


def test_an_epoch_that_is_set_stays_and_another_is_the_time() -> None:
    settings = load_settings(environ={}, flags={"job.epoch": 7})
    assert with_epoch(settings).job.epoch == 7
    assert with_epoch(load_settings(environ={})).job.epoch > 1_700_000_000_000
