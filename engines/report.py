"""A gate's result as one HTML page that stands alone: no script, no style or picture from outside.

Every text in it is escaped: names of engines, logs and providers may hold anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from engines import figures
from engines.plots import plots

OUTCOMES = ("passed", "failed")
MEANINGS = {
    "overlap@k": "share of a user's two lists that is in both, mean over users",
    "RBO": "rank-biased overlap: the same, the top counting most (Webber, Moffat and Zobel 2010, "
    "extrapolated, p = 0.9)",
    "NDCG@k": "1 / log2(place + 1) of the item that was to be found, 0 if it is not listed, mean",
    "HR@k": "share of users whose item was listed",
    "interval": "95 %, bootstrap over users; that of a difference is paired user by user",
    "coverage": "share of the engine's own catalogue that is in any list",
    "exposure Gini": "0 if all items of the catalogue are shown alike, near 1 if few have it all",
    "shift": "share of the exposure that went to other groups (total variation distance)",
    "popularity": "tenths of all events by the active engine's count, 1 the most popular items; "
    "new: items that it does not know",
    "full batch": "as many users as the engine takes at once; the two are timed by turns",
}

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #ddd; }}
figure {{ margin: 2rem 0; }}
figcaption {{ font-weight: bold; }}
svg {{ max-width: 100%; height: auto; }}
.passed {{ color: #18794e; }}
.failed {{ color: #c5221f; font-weight: bold; }}
dt {{ font-weight: bold; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def page(told: dict[str, Any]) -> str:
    """The report.

    Args:
        told: what `pipeline.gate.gate` returns.

    Raises:
        EngineError: matplotlib is not installed.
    """
    candidate, active = told["candidate"]["engine"], told["active"]["engine"]
    title = escape(f"{candidate} against {active}")
    return PAGE.format(title=title, body="\n".join(_parts(told)))


def _parts(told: dict[str, Any]) -> Iterator[str]:
    outcome, words = ("passed", "passed") if told["passed"] else ("failed", "not passed")
    yield f'<p class="{outcome}">The gate was {words}, {escape(told["gated_at"])}.</p>'
    yield f"<p>{escape(figures.heading(told))}.</p>"
    yield f"<p>{escape(figures.warning(told))}</p>"
    yield _table(figures.CHECK_HEADINGS, figures.check_rows(told))
    yield _table(figures.FIGURE_HEADINGS, figures.figure_rows(told))
    for title, svg in plots(told).items():
        yield f"<figure><figcaption>{escape(title)}</figcaption>\n{svg}</figure>"
    terms = (f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in MEANINGS.items())
    yield f"<dl>{''.join(terms)}</dl>"
    engines = ((told[side]["engine"], told[side]["manifest_sha256"]) for side in figures.SIDES)
    yield _table(("engine", "SHA-256 of its manifest"), engines)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row("th", headings), *(_row("td", row) for row in rows)]
    return "\n".join(["<table>", *lines, "</table>"])


def _row(tag: str, cells: Sequence[str]) -> str:
    """Cells, the outcome of a check in its colour."""
    styled = ((f' class="{cell}"' if cell in OUTCOMES else "", escape(cell)) for cell in cells)
    return f"<tr>{''.join(f'<{tag}{style}>{text}</{tag}>' for style, text in styled)}</tr>"
