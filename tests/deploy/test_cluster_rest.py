"""Who is asked through a proxy of the environment, and who is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from deploy.local.cluster_rest import NO_ANSWER, ask, get
from tests.pipeline.jobmanager import JobManager, jobmanager

REMOTE = "http://flink.invalid:8081"


@pytest.fixture
def flink() -> Iterator[JobManager]:
    """A JobManager, or a proxy: that is asked for a whole address."""
    with jobmanager() as answers:
        answers.answers = {"/overview": "ours", f"{REMOTE}/overview": "through the proxy"}
        yield answers


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the environment's proxy."""

    def set_proxy(url: str) -> None:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        # Python keeps what the environment said at the first request.
        monkeypatch.setattr("urllib.request._opener", None)

    return set_proxy


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_asked_without_the_proxy(
    flink: JobManager,
    proxy: Callable[[str], None],
    free_ports: Callable[[int], list[int]],
    host: str,
) -> None:
    [gone] = free_ports(1)
    proxy(f"http://127.0.0.1:{gone}")
    assert ask(flink.url.replace("127.0.0.1", host), "/overview") == "ours"


def test_a_remote_jobmanager_is_asked_through_the_proxy(
    flink: JobManager, proxy: Callable[[str], None]
) -> None:
    proxy(flink.url)
    assert ask(REMOTE, "/overview") == "through the proxy"
    proxy("")
    with pytest.raises(NO_ANSWER):
        ask(REMOTE, "/overview")


def test_get_is_none_without_an_answer(
    flink: JobManager, free_ports: Callable[[int], list[int]]
) -> None:
    [gone] = free_ports(1)
    assert get(flink.url, "/overview") == "ours"
    assert get(flink.url, "/unknown") is None
    assert get(f"http://127.0.0.1:{gone}", "/overview") is None
