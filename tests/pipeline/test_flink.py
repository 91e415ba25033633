from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyflink import pyflink_gateway_server as gateway

from deploy.local.class_archive import class_path
from deploy.local.cluster_config import connector_jar
from pipeline import flink
from pipeline.config import load_settings
from pipeline.flink import client_environment, configuration, for_backfill

MULTIPLIER, LONGEST_S = 1.5, 60.0
"""Flink's defaults."""


@pytest.mark.usefixtures("job_jars")
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


def test_the_client_keeps_hadoop_on_its_class_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flink, "java_home", lambda: tmp_path)
    settings = load_settings(flags={"run_dir": tmp_path}, environ={})
    told = client_environment(settings, tmp_path, {"HADOOP_CLASSPATH": "/hadoop/*"})
    assert told["HADOOP_CLASSPATH"].split(os.pathsep) == [str(connector_jar()), "/hadoop/*"]


@pytest.mark.parametrize("wait", ["bundle_time_ms", "buffer_timeout_ms"])
def test_a_backfill_waits_for_full_bundles_and_buffers(tmp_path: Path, wait: str) -> None:
    quick = load_settings(flags={"run_dir": tmp_path}, environ={})
    patient = load_settings(flags={"run_dir": tmp_path, f"job.{wait}": 500}, environ={})
    waits = [getattr(for_backfill(settings).job, wait) for settings in (quick, patient)]
    assert waits == [40, 500]
    assert getattr(quick.job, wait) < 40


@pytest.mark.usefixtures("job_jars")
def test_python_is_never_handed_more_than_a_bundle(tmp_path: Path) -> None:
    for bundle_size, rows in ((8000, "1000"), (200, "200")):
        flags = {"run_dir": tmp_path, "job.bundle_size": bundle_size}
        told = configuration(load_settings(flags=flags, environ={}))
        assert told["python.fn-execution.arrow.batch.size"] == rows


def test_the_archive_is_of_the_class_path_that_pyflink_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flink, "java_home", lambda: tmp_path)
    monkeypatch.setattr(gateway, "Popen", lambda command, **_: command)
    settings = load_settings(flags={"run_dir": tmp_path}, environ={})
    environ = client_environment(settings, tmp_path, {})
    command = gateway.launch_gateway_server_process(environ, ["-c", "Main", "local"])
    built = command[command.index("-cp") + 1].split(os.pathsep)
    assert [entry for entry in built if entry] == [str(jar) for jar in class_path("client")]
