"""Plots of a gate's result, as SVG that stands in a page and refers to nothing outside it."""

from __future__ import annotations

import io
import re
import warnings
from bisect import bisect_left
from collections.abc import Sequence
from html import escape
from itertools import accumulate
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from schemas.errors import EngineError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CANDIDATE, ACTIVE = "#2a7f9e", "#c9741a"  # either stands out from white and from black
BARS = ("candidate", CANDIDATE, -0.2), ("active", ACTIVE, 0.2)
WIDTH_IN = 4.5  # half of a wide page; all of a telephone's, with letters that can still be read
FONT_PT = 10
LONGEST_NAME = 20  # in letters; wide ones count twice
STYLE = {
    "svg.fonttype": "none",
    "font.size": FONT_PT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.transparent": True,
}


def check_installed() -> None:
    """Refuse to go on without matplotlib.

    Raises:
        EngineError: it is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as error:
        raise EngineError(
            f"the report needs the package {error.name}",
            expected="headrace with its extra report",
            received="headrace without it",
            fix="pip install 'headrace[report]'; or leave the report out",
        ) from error


def plots(told: dict[str, Any]) -> dict[str, str]:
    """Title and SVG of every plot, in the text colour of the page that it stands in.

    Args:
        told: what `engines.gate.compare` returns.
    """
    popularity, providers = told["popularity"]["deciles"], told["providers"]["largest"]
    figures = {
        f"Items that a user's two lists of {told['k']} share": _shared(told),
        "Accuracy": _accuracy(told),
        "Exposure by popularity": _exposure(popularity, "decile"),
        "Exposure by provider": _exposure(providers, "provider"),
        "Time of a full batch": _latency(told["latency"]),
    }
    return {title: _svg(figure, title) for title, figure in figures.items()}


def _shared(told: dict[str, Any]) -> Figure:
    figure, axes = _axes(2.6)
    counts = told["users_by_shared_items"]
    axes.bar(range(len(counts)), counts, color=CANDIDATE)
    axes.set_xlabel("shared items")
    axes.set_ylabel("users")
    axes.locator_params("both", integer=True)
    return figure


def _exposure(groups: Sequence[dict[str, Any]], key: str) -> Figure:
    names = [one_line(group[key]) for group in groups]
    shares = {side: [100 * group[side] for group in groups] for side, *_ in BARS}
    return _bars(names, shares, "exposure, %", "{:.1f}")


def _latency(latency: dict[str, Any]) -> Figure:
    times = {side: [latency[side]["p50_ms"], latency[side]["p99_ms"]] for side, *_ in BARS}
    return _bars(["p50", "p99"], times, "ms", "{:.3g}")


def _bars(names: Sequence[str], values: dict[str, list[float]], label: str, form: str) -> Figure:
    """Two bars with their values for each name, the first one on top."""
    figure, axes = _axes(1 + 0.42 * len(names))
    for side, color, moved in BARS:
        places = [place + moved for place in range(len(names))]
        drawn = axes.barh(places, values[side], 0.4, color=color, label=side)
        axes.bar_label(drawn, fmt=form, padding=3, fontsize=FONT_PT - 1)
    # A name may hold anything; a dollar sign is no formula.
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.15)  # room for the values
    axes.set_xlabel(label)
    # Above the bars, which leave it no room; from the right, as names may leave them little.
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return figure


def _accuracy(told: dict[str, Any]) -> Figure:
    """Means with their intervals, NDCG and hit rate each on a scale of its own."""
    figure, both = _axes(2.6, columns=2)
    for axes, (name, key) in zip(both, (("NDCG", "ndcg"), ("HR", "hit_rate")), strict=True):
        for place, (side, color, _) in enumerate(BARS):
            found = told[key][side]
            below, above = found["mean"] - found["low"], found["high"] - found["mean"]
            spread = [[max(below, 0)], [max(above, 0)]]
            axes.errorbar([found["mean"]], [place], xerr=spread, fmt="o", color=color, capsize=4)
        axes.set_yticks([0, 1], ["candidate", "active"])
        axes.set_ylim(1.6, -0.6)
        axes.locator_params("x", nbins=3)
        axes.set_xlabel(f"{name}@{told['k']}")
    return figure


def _axes(height_in: float, columns: int = 1) -> tuple[Figure, Any]:
    """A figure without pyplot, which would keep it; and its axes, side by side."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        return figure, figure.subplots(1, columns, sharey=True)


def _svg(figure: Figure, title: str) -> str:
    """The figure as an ``svg`` element; ``title`` keeps its ids apart from those of others.

    The same figure gives the same text.
    """
    from matplotlib import rc_context

    written = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({**STYLE, "svg.hashsalt": title}), warnings.catch_warnings():
        # Text stays text: whoever reads it has the letters that matplotlib's font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(written, format="svg", metadata=nothing)
    text = written.getvalue()
    text = re.sub(r"<[^>]+>", lambda tag: _inline(tag[0]), text[text.index("<svg") :])
    return text.replace(
        "<svg", f'<svg role="img" aria-label="{escape(title)}" fill="currentColor"', 1
    )


def _inline(tag: str) -> str:
    """A tag as HTML has it: href needs no namespace there, and black is the page's text colour.

    Numbered ids, to which nothing refers, would come in each figure again.
    """
    tag = tag.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace("xlink:", "")
    return re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", tag.replace("#000000", "currentColor"))


def one_line(name: str) -> str:
    """Fit for one line of an SVG: what cannot be printed is replaced, what is long is cut."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    widths = list(accumulate(1 + _is_wide(c) for c in printable))
    cut = bool(widths) and widths[-1] > LONGEST_NAME
    return printable[: bisect_left(widths, LONGEST_NAME)] + "…" if cut else printable


def _is_wide(character: str) -> bool:
    """Whether it takes the room of two, as Chinese ones do."""
    return east_asian_width(character) in "WF"
