"""What `headrace run` refuses before anything is started."""

from __future__ import annotations

import pytest

from pipeline.config import load_settings
from pipeline.run import check_security, with_epoch
from schemas.errors import FlinkError


def test_a_secured_broker_is_refused_rather_than_spoken_to_in_plaintext() -> None:
    settings = load_settings(environ={}, flags={"kafka.security_protocol": "SSL"})
    with pytest.raises(FlinkError, match="PLAINTEXT"):
        check_security(settings)
    check_security(load_settings(environ={}))


def test_an_epoch_that_is_set_stays_and_another_is_the_time() -> None:
    settings = load_settings(environ={}, flags={"job.epoch": 7})
    assert with_epoch(settings).job.epoch == 7
    assert with_epoch(load_settings(environ={})).job.epoch > 1_700_000_000_000
