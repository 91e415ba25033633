"""The packages of TensorRT, there or not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from engines.backends.tensorrt import api
from schemas.errors import EngineError


class Logger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Packages are looked for anew."""
    api.load.cache_clear()
    yield
    api.load.cache_clear()


def give(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Only these packages are there."""
    for flavour in ("tensorrt", "tensorrt_rtx"):
        version = versions.get(flavour)
        module = SimpleNamespace(__name__=flavour, __version__=version, ILogger=Logger)
        monkeypatch.setitem(sys.modules, flavour, module if version else None)


@pytest.mark.parametrize("version", ["10.16.1.11", "10.17.0.1", "11.0.0.114", "11.4.0.106"])
def test_the_supported_versions_are_taken(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    give(monkeypatch, tensorrt=version, tensorrt_rtx="1.6.1.120")
    found = api.installed()
    assert [str(package) for package in found] == [f"tensorrt {version}", "tensorrt_rtx 1.6.1.120"]
    assert [package.portable for package in found] == [False, True]


@pytest.mark.parametrize("version", ["8.6.1", "10.15.1.29", "12.0.0.1"])
def test_other_versions_are_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    give(monkeypatch, tensorrt=version)
    with pytest.raises(EngineError, match=rf"10\.16 or newer[\s\S]*received: tensorrt {version}"):
        api.load("tensorrt")


def test_without_any_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch)
    with pytest.raises(EngineError, match=r"fix: pip install 'headrace\[tensorrt\]'"):
        api.installed()
    with pytest.raises(EngineError, match=r"fix: pip install 'headrace\[rtx\]'"):
        api.load("tensorrt_rtx")


def test_a_package_without_its_libraries_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def lame(name: str) -> Any:
        raise OSError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr(api, "import_module", lame)
    with pytest.raises(EngineError, match=r"libnvinfer\.so\.11"):
        api.load("tensorrt")


def test_the_first_error_is_the_one_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, tensorrt="11.4.0.106")
    package = api.load("tensorrt")
    package.logger.log(Logger.WARNING, "slow")
    package.logger.log(Logger.ERROR, "out  of\nmemory")
    package.logger.log(Logger.ERROR, "no context")
    assert package.blamed("no reason") == "out of memory"
    assert package.blamed("no reason") == "no reason"
