"""Plots of a gate's result, as SVG that stands in a page and refers to nothing outside it."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from typing import Any

from schemas.errors import EngineError

CANDIDATE, ACTIVE = "#1f6f8b", "#d98324"
WIDTH_IN = 6.4
LONGEST_NAME = 40
STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
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
    """Title and SVG of every plot.

    Args:
        told: what `engines.gate.compare` returns.
    """
    popularity, providers = told["popularity"]["deciles"], told["providers"]["largest"]
    return {
        f"Items that a user's two lists of {told['k']} share": _shared(told),
        "Exposure by popularity": _exposure("popularity", popularity, "decile"),
        "Exposure by provider": _exposure("provider", providers, "provider"),
        "Accuracy": _accuracy(told),
        "Time of a full batch": _latency(told["latency"]),
    }


def _shared(told: dict[str, Any]) -> str:
    figure, axes = _axes(2.6)
    counts = told["users_by_shared_items"]
    axes.bar(range(len(counts)), counts, color=CANDIDATE)
    axes.set_xlabel("shared items")
    axes.set_ylabel("users")
    axes.locator_params("both", integer=True)
    return _svg(figure, "shared")


def _exposure(name: str, groups: Sequence[dict[str, Any]], key: str) -> str:
    """Two bars for each group, the first one on top."""
    figure, axes = _axes(0.9 + 0.34 * len(groups))
    places = range(len(groups))
    for side, color, moved in (("candidate", CANDIDATE, -0.2), ("active", ACTIVE, 0.2)):
        shares = [100 * group[side] for group in groups]
        axes.barh([place + moved for place in places], shares, 0.4, color=color, label=side)
    # A name may hold anything; a dollar sign is no formula.
    axes.set_yticks(places, [_plain(group[key]) for group in groups], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("share of the exposure, %")
    _legend(axes)
    return _svg(figure, name)


def _accuracy(told: dict[str, Any]) -> str:
    """Means with their intervals, NDCG and hit rate each on a scale of its own."""
    figure, ndcg = _axes(1.8, columns=2)
    for axes, (name, key) in zip(ndcg, (("NDCG", "ndcg"), ("hit rate", "hit_rate")), strict=True):
        for place, (side, color) in enumerate((("candidate", CANDIDATE), ("active", ACTIVE))):
            found = told[key][side]
            below, above = found["mean"] - found["low"], found["high"] - found["mean"]
            spread = [[max(below, 0)], [max(above, 0)]]
            axes.errorbar([found["mean"]], [place], xerr=spread, fmt="o", color=color, capsize=4)
        axes.set_yticks([0, 1], ["candidate", "active"])
        axes.set_ylim(1.6, -0.6)
        axes.set_xlabel(f"{name}@{told['k']}")
    return _svg(figure, "accuracy")


def _latency(latency: dict[str, Any]) -> str:
    figure, axes = _axes(1.8)
    for place, quantile in enumerate(("p50_ms", "p99_ms")):
        for side, color, moved in (("candidate", CANDIDATE, -0.2), ("active", ACTIVE, 0.2)):
            label = side if place == 0 else None
            axes.barh(place + moved, latency[side][quantile], 0.4, color=color, label=label)
    axes.set_yticks([0, 1], ["p50", "p99"])
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    _legend(axes)
    return _svg(figure, "latency")


def _legend(axes: Any) -> None:
    """Above the bars, which leave it no room."""
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


def _axes(height_in: float, columns: int = 1) -> tuple[Any, Any]:
    """A figure without pyplot, which would keep it; and its axes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="tight")
        return figure, figure.subplots(1, columns)


def _svg(figure: Any, name: str) -> str:
    """The figure as an ``svg`` element; ``name`` keeps its ids apart from those of others.

    The same figure gives the same text.
    """
    from matplotlib import rc_context

    written = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # Text stays text: whoever reads it has the letters that matplotlib's font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(written, format="svg", metadata=nothing)
    text = written.getvalue()
    return re.sub(r"<[^>]+>", lambda tag: _inline(tag[0]), text[text.index("<svg") :])


def _inline(tag: str) -> str:
    """A tag as HTML has it: href needs no namespace there.

    Numbered ids, to which nothing refers, would come in each figure again.
    """
    tag = tag.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace("xlink:", "")
    return re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", tag)


def _plain(name: str) -> str:
    """Fit for one line of an SVG: what cannot be printed is replaced, what is long is cut."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    cut = len(printable) > LONGEST_NAME
    return printable[: LONGEST_NAME - 1] + "…" if cut else printable
