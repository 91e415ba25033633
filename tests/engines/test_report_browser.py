"""The gate's page as a real browser shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from engines.report import page
from tests.browser import Opened, launched, opened, seen
from tests.engines.test_report import EVIL, told

TELEPHONE_PX, DESK_PX, PAPER_PX = 360, 1280, 718
LONG = "a" * 200
WIDE = "商" * 10
NAMES = ("Maileg", "制造商有限公司" * 4, "W" * 40, EVIL, "x", "", "ملابس", "é" * 40, "other")

ACTS = (
    "<script>alert(1)</script>"
    '<img alt="x" src="http://127.0.0.1:9/x.png" width=200 height=200>'
    '<link rel="stylesheet" href="other.css">'
)
UGLY = (
    ("too wide: TABLE", "</main>", f"<table><tr><td>{LONG}</table></main>"),
    ("scrolls to ", "</main>", f"<table><tr><td>{LONG}</table></main>"),
    ("contrast 2.2: passed", "light-dark(#18794e, #4cc38a)", "#4cc38a"),
    ("letters of ", "max-width: 30rem; height", "max-width: 12rem; height"),
    (
        "an empty picture: Accuracy",
        'aria-label="Accuracy"',
        'aria-label="Accuracy" width="0" style="width: 0"',
    ),
    ("a picture without a name", 'aria-label="Time of a full batch"', ""),
    ("cut off: 0", 'viewBox="0 0 324 ', 'viewBox="80 0 324 '),
    ("not to be seen: Plots", "<h2>Plots", "<h2 hidden>Plots"),
    ("a heading without a text", 'scope="col">outcome', 'scope="col">'),
    ("no language", 'lang="en"', ""),
    ("no title", "<title>", "<title></title><title>"),
)

Open = Callable[[str], Opened]


def full(**more: Any) -> dict[str, Any]:
    """A result with as many groups as a real one."""
    deciles = [*map(str, range(1, 11)), "new"]
    shares = [{"candidate": 0.3 / n, "active": 0.25 / n} for n in range(1, 12)]
    rows = zip(deciles, shares, strict=True)
    found = {"shift": 0.1, "deciles": [{"decile": name} | share for name, share in rows]}
    counts = [3, 9, 8, 8, 10, 20, 43, 101, 268, 549, 348]
    largest = [{"provider": name, "candidate": 0.6, "active": 0.4} for name in (WIDE, "other")]
    return (
        told(
            popularity=found,
            providers={"shift": 0.2, "providers": 2, "largest": largest},
            users_by_shared_items=counts,
            seen_in_training=True,
        )
        | more
    )


def hostile() -> dict[str, Any]:
    largest = [{"provider": name, "candidate": 0.3, "active": 0.25} for name in NAMES]
    engine = {"manifest_sha256": "ab" * 32, "batch": 32}
    return full(
        providers={"shift": 0.2, "providers": 12, "largest": largest},
        log=EVIL,
        candidate=engine | {"engine": EVIL},
        active=engine | {"engine": LONG},
    )


@pytest.fixture(scope="module")
def html() -> str:
    return page(full())


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Opens a text as a page, in one browser."""
    folder: Path = tmp_path_factory.mktemp("pages")
    with launched() as browser, ExitStack() as pages:

        def show(text: str) -> Opened:
            path = folder / "gate.html"
            path.write_text(text, encoding="utf-8")
            return pages.enter_context(opened(browser, path))

        yield show


@pytest.fixture(scope="module")
def ordinary(show: Open, html: str) -> Opened:
    return show(html)


@pytest.fixture(scope="module")
def evil(show: Open) -> Opened:
    return show(page(hostile()))


@pytest.fixture(params=["ordinary", "evil"])
def report(request: pytest.FixtureRequest) -> Opened:
    opened: Opened = request.getfixturevalue(request.param)
    return opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", [TELEPHONE_PX, DESK_PX])
def test_the_page_can_be_read(report: Opened, width_px: int, scheme: str) -> None:
    assert seen(report.page, width_px, scheme) == []
    assert report.page.locator("figure svg").count() == 5


def test_the_page_can_be_printed(report: Opened) -> None:
    assert seen(report.page, PAPER_PX, media="print") == []


def test_the_page_asks_for_nothing_and_runs_nothing(report: Opened) -> None:
    assert report.faults == []
    assert report.page.evaluate("document.scripts.length") == 0


def test_dark_is_dark(report: Opened) -> None:
    """Else the contrast in the dark were that in the light."""
    text = "getComputedStyle(document.querySelector('svg text')).fill"
    colors = set()
    for scheme in ("light", "dark"):
        seen(report.page, DESK_PX, scheme)
        colors.add(report.page.evaluate(text))
    assert colors == {"rgb(0, 0, 0)", "rgb(255, 255, 255)"}


def test_markup_is_shown_as_text(evil: Opened) -> None:
    shown = evil.page
    markup = '<script>alert("x")</script>'
    assert shown.title().startswith(markup)
    assert markup in shown.locator("h1").inner_text()
    assert f"users of {markup}" in shown.locator("main").inner_text()
    assert '<script>alert("x")<…' in shown.locator("figure svg").all_text_contents()[3]


def test_a_font_with_wide_letters_has_room_for_them(ordinary: Opened) -> None:
    """The test's font may have none and show boxes of 0.6 em instead; widened, they take an em."""
    pytest.importorskip("matplotlib", "3.11", reason="matplotlib 3.10 measures them too narrow")
    name = ordinary.page.locator("svg text", has_text=WIDE)
    for spacing, faults in (("0.4em", []), ("0.8em", [f"cut off: {WIDE}"]), ("0", [])):
        name.evaluate("(text, spacing) => text.style.letterSpacing = spacing", spacing)
        assert seen(ordinary.page, DESK_PX) == faults


def test_the_verdict_stands_on_top(ordinary: Opened) -> None:
    shown = ordinary.page
    seen(shown, TELEPHONE_PX)
    verdict = shown.get_by_text("Not passed: gate.max_ndcg_drop.")
    box = verdict.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 300
    row = shown.get_by_role("row", name="gate.max_ndcg_drop")
    assert row.get_by_role("cell").all_inner_texts() == ["0.31", "at most 0.02", "failed"]
    shown.get_by_role("img", name="Exposure by provider").wait_for()


@pytest.fixture(scope="module")
def ugly(show: Open, html: str) -> list[str]:
    for _, old, new in UGLY:
        assert old in html
        html = html.replace(old, new, 1)
    return seen(show(html).page, TELEPHONE_PX)


class TestWhatIsWrongIsFound:
    """The checks above can fail."""

    @pytest.mark.parametrize("policy", [True, False], ids=["forbidden", "allowed"])
    def test_a_page_that_acts(self, show: Open, html: str, policy: bool) -> None:
        acting = html.replace("</main>", f"{ACTS}</main>")
        if not policy:
            acting = acting.replace("Content-Security-Policy", "x")
        faults = " ".join(show(acting).faults)
        script = "Content Security Policy" if policy else "a dialog"
        for fault in (script, "127.0.0.1:9/x.png", "other.css"):
            assert fault in faults

    @pytest.mark.parametrize("fault", [fault for fault, *_ in UGLY])
    def test_a_page_that_is_ugly(self, ugly: list[str], fault: str) -> None:
        assert any(one.startswith(fault) for one in ugly), ugly


def test_without_a_browser_continuous_integration_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"setup\.sh browser"), launched():
        pass
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"setup\.sh browser"), launched():
        pass
