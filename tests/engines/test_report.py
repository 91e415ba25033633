from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from typing import Any

import pytest

from engines import figures
from engines.plots import check_installed, one_line, plots
from engines.report import page
from schemas.errors import EngineError

EVIL = '<script>alert("x")</script> $\\frac{ & "quoted" \x07 xlink: id="a_1"'


def told(**more: Any) -> dict[str, Any]:
    """A result as `pipeline.gate.gate` returns it."""
    figure = {"mean": 0.2, "low": 0.1, "high": 0.3}
    sides = {"candidate": figure, "active": figure, "difference": {**figure, "low": -0.1}}
    engine = {"engine": "shop@2", "manifest_sha256": "ab" * 32, "batch": 32}
    shares = {"candidate": 0.6, "active": 0.4}
    result = {
        "passed": False,
        "checks": [
            {"name": "min_users", "value": 120.0, "bound": 100.0, "passed": True},
            {"name": "max_ndcg_drop", "value": 0.31, "bound": 0.02, "passed": False},
        ],
        "gated_at": "2026-11-26T12:00:00.000+00:00",
        "log": "shop.jsonl",
        "split": "time",
        "from_ms": 1_288_569_600_000,
        "seen_in_training": False,
        "candidate": engine,
        "active": {**engine, "engine": "shop@1"},
        "users": 120,
        "k": 10,
        "overlap": figure,
        "rank_biased_overlap": figure,
        "ndcg": sides,
        "hit_rate": sides,
        "users_by_shared_items": [20, 100, 0],
        "coverage": {"candidate": 0.5, "active": 0.4, "ratio": 1.25},
        "gini": {"candidate": 0.8, "active": 0.9},
        "providers": {
            "shift": 0.2,
            "providers": 2,
            "largest": [{"provider": name, **shares} for name in ("maker", "other")],
        },
        "popularity": {"shift": 0.1, "deciles": [{"decile": d, **shares} for d in ("1", "new")]},
        "latency": {
            "batches": 200,
            "candidate": {"p50_ms": 1.5, "p99_ms": 2.0},
            "active": {"p50_ms": 1.0, "p99_ms": 2.5},
            "ratio": 1.5,
        },
    }
    return result | more


def with_provider(name: str) -> dict[str, Any]:
    largest = [{"provider": name, "candidate": 1.0, "active": 1.0}]
    return told(providers={"shift": 0.0, "providers": 1, "largest": largest})


class Elements(HTMLParser):
    """What a browser makes of a page: its elements, attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_holds_every_figure_and_all_plots() -> None:
    elements = Elements(page(told()))
    assert (elements.tags.count("svg"), elements.tags.count("figcaption")) == (5, 5)
    text = " ".join(elements.texts)
    for wanted in (
        *("shop@2 against shop@1", "120 users of shop.jsonl", "2010-11-01 00:00 UTC"),
        *(
            "Not passed: gate.max_ndcg_drop. 2026-11-26 12:00 UTC",
            "0.31",
            "at most 0.02",
            "NDCG@10",
            "-0.1000 to 0.3000",
        ),
        *("+0.500", "-0.500", "maker", "new", "ab" * 32),
    ):
        assert wanted in text
    assert ("class", "failed") in elements.attributes


def test_the_page_stands_alone() -> None:
    text = page(told())
    assert set(re.findall(r"https?://[^\s\"'<)]*", text)) == {"http://www.w3.org/2000/svg"}
    elements = Elements(text)
    assert not {"script", "link", "img", "iframe", "object", "image"} & set(elements.tags)
    targets = [value for name, value in elements.attributes if name.endswith(("href", "src"))]
    assert all(str(target).startswith("#") for target in targets)
    assert "@import" not in text
    assert "xlink" not in text  # its namespace was an address too
    assert all(reference.startswith("#") for reference in re.findall(r"url\(([^)]*)\)", text))


def test_what_plots_refer_to_is_there_once() -> None:
    elements = Elements(page(told()))
    ids = [value for name, value in elements.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    text = page(told())
    assert set(re.findall(r'(?:url\(|href=")#([\w-]+)', text)) <= set(ids)


@pytest.mark.parametrize(
    "result",
    [
        with_provider(EVIL),
        told(log=EVIL),
        told(candidate={"engine": EVIL, "manifest_sha256": EVIL, "batch": 1}),
    ],
    ids=["provider", "log", "engine"],
)
def test_texts_are_escaped(result: dict[str, Any]) -> None:
    text = page(result)
    assert "script" not in Elements(text).tags
    assert "&lt;script&gt;alert(" in text


def test_a_provider_is_no_formula_and_fits_its_line() -> None:
    text = " ".join(Elements(plots(with_provider(EVIL))["Exposure by provider"]).texts)
    assert f"{EVIL[:19]}…" in text
    odd = plots(with_provider("$x$ \x07 xlink: 制造商"))["Exposure by provider"]
    assert "$x$ \N{REPLACEMENT CHARACTER} xlink: 制造商" in " ".join(Elements(odd).texts)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", ""),
        ("m" * 20, "m" * 20),
        ("m" * 21, "m" * 19 + "…"),
        ("商" * 10, "商" * 10),
        ("商" * 11, "商" * 9 + "…"),
    ],
)
def test_a_wide_letter_counts_twice(name: str, shown: str) -> None:
    assert one_line(name) == shown


def test_all_checks_passed() -> None:
    checks = [check | {"passed": True} for check in told()["checks"]]
    assert figures.verdict(told(passed=True, checks=checks)).startswith("Passed: all 2 checks. ")


def test_the_same_result_gives_the_same_page() -> None:
    assert page(told()) == page(json.loads(json.dumps(told())))
    assert page(told()) != page(told(users=121))


def test_figures_that_an_engine_may_have_learnt_are_marked() -> None:
    seen = told(seen_in_training=True, split="leave-one-out", from_ms=None)
    assert "may have learnt" in figures.warning(seen)
    assert figures.warning(seen) in page(seen)
    assert "their newest event" in figures.heading(seen)
    assert figures.warning(told()) == ""


def test_a_mean_outside_its_interval_is_drawn_too() -> None:
    figure = {"mean": 0.5, "low": 0.6, "high": 0.7}
    sides = dict.fromkeys(("candidate", "active", "difference"), figure)
    assert plots(told(ndcg=sides))["Accuracy"]


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=r"needs the package matplotlib[\s\S]*headrace\[report\]"):
        check_installed()
