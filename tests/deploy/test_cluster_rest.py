"""A local cluster is asked without a proxy of the environment, whatever its host."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from deploy.local.cluster_rest import NO_ANSWER, ask, get, jobs, taskmanagers
from tests.pipeline.jobmanager import JobManager, jobmanager, set_proxy

ELSEWHERE = "http://flink.invalid:8081"
"""As a cluster.host beside loopback may be named."""


@pytest.fixture
def flink() -> Iterator[JobManager]:
    with jobmanager() as answers:
        answers.answers = {"/overview": "ours"}
        yield answers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_is_passed_over(
    flink: JobManager,
    monkeypatch: pytest.MonkeyPatch,
    free_ports: Callable[[int], list[int]],
    host: str,
) -> None:
    [gone] = free_ports(1)
    set_proxy(monkeypatch, f"http://127.0.0.1:{gone}")
    assert ask(flink.url.replace("127.0.0.1", host), "/overview") == "ours"


def test_a_proxy_is_passed_over_for_any_host_of_the_cluster(
    flink: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_proxy(monkeypatch, flink.url)
    with pytest.raises(NO_ANSWER):
        ask(ELSEWHERE, "/overview")
    assert (taskmanagers(ELSEWHERE), jobs(ELSEWHERE)) == (None, [])
    assert flink.asked == []


def test_get_is_none_without_an_answer(
    flink: JobManager, free_ports: Callable[[int], list[int]]
) -> None:
    [gone] = free_ports(1)
    assert get(flink.url, "/overview") == "ours"
    assert get(flink.url, "/unknown") is None
    assert get(f"http://127.0.0.1:{gone}", "/overview") is None
