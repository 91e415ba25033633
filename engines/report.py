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
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h1, p, dt, dd {{ max-width: 46rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.2rem; margin-top: 2.5rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem 1.2rem .25rem 0; text-align: left; border-bottom: 1px solid #8884; }}
tbody th {{ font-weight: normal; white-space: pre-wrap; }}
.plots {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 1.5rem 2rem; }}
figure {{ margin: 0; break-inside: avoid; }}
figcaption, dt {{ font-weight: bold; }}
svg {{ width: 100%; max-width: 30rem; height: auto; }}
.passed {{ color: #18794e; color: light-dark(#18794e, #4cc38a); }}
.failed {{ color: #c5221f; color: light-dark(#c5221f, #ff8f85); font-weight: bold; }}
.verdict {{ border-left: .4rem solid; padding-left: .8rem; font-size: 1.2rem; }}
@media (max-width: 30rem) {{
  table {{ font-size: 12px; }}
  th, td {{ padding-right: .4rem; }}
}}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
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
    outcome = "passed" if told["passed"] else "failed"
    yield f'<p class="verdict {outcome}">{escape(figures.verdict(told))}</p>'
    yield f"<p>{escape(figures.heading(told))}.</p>"
    if warning := figures.warning(told):
        yield f"<p>{escape(warning)}</p>"
    yield "<h2>Checks</h2>"
    yield _table(figures.CHECK_HEADINGS, figures.check_rows(told))
    yield "<h2>Figures</h2>"
    yield _table(figures.FIGURE_HEADINGS, figures.figure_rows(told))
    yield '<h2>Plots</h2>\n<div class="plots">'
    for title, svg in plots(told).items():
        yield f"<figure><figcaption>{escape(title)}</figcaption>\n{svg}</figure>"
    yield "</div>\n<h2>What the words mean</h2>"
    yield _terms(MEANINGS.items())
    yield "<h2>Engines, by the SHA-256 of their manifests</h2>"
    yield _terms((told[side]["engine"], told[side]["manifest_sha256"]) for side in figures.SIDES)


def _terms(meanings: Iterable[tuple[str, str]]) -> str:
    terms = (f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in meanings)
    return f"<dl>{''.join(terms)}</dl>"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    heads = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "\n".join(map(_row, rows))
    return f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _row(cells: Sequence[str]) -> str:
    """Cells, the first of which names the row; the outcome of a check in its colour."""
    name, *rest = cells
    styled = ((f' class="{cell}"' if cell in OUTCOMES else "", escape(cell)) for cell in rest)
    cells_of_row = "".join(f"<td{style}>{text}</td>" for style, text in styled)
    return f'<tr><th scope="row">{escape(name)}</th>{cells_of_row}</tr>'
