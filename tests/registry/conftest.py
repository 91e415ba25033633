"""One real registry (Apicurio) for the session; each test has subjects and a proxy of its own.

Tests that ask for ``apicurio`` carry ``@pytest.mark.real``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from deploy.local import registry
from deploy.local.registry import LocalRegistry
from pipeline.config import Settings
from tests.registry.producer import settings_of
from tests.registry.proxy import Proxy, proxy_before
from tests.udfs.conftest import harness, udf_jar

__all__ = ["harness", "udf_jar"]

_numbers = count(1)


@pytest.fixture(scope="session")
def apicurio(
    tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]
) -> Iterator[LocalRegistry]:
    [port] = free_ports(1)
    started = registry.start(tmp_path_factory.mktemp("registry"), port)
    yield started
    registry.stop(started)


@pytest.fixture
def proxy(apicurio: LocalRegistry) -> Iterator[Proxy]:
    with proxy_before(apicurio.url) as proxy:
        yield proxy


@pytest.fixture
def settings(proxy: Proxy) -> Settings:
    """Settings of the registry behind the proxy; no broker belongs to them."""
    return settings_of(proxy.url, f"test-{next(_numbers)}")
