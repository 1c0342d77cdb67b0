"""One self-contained HTML page: inline CSS and SVG, no script, nothing fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from tasks.report.charts import Figure
from tasks.report.text import plain

_CSS = Path(__file__).with_name("page.css")


def page(title: str, kind: str, body: Iterable[str], foot: str) -> str:
    """The page around ``body``; title, kind and foot are plain text, body is HTML."""
    inner = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_CSS.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>\n"
        f'<header><p class="kind">{escape(kind)}</p><h1>{escape(title)}</h1></header>\n'
        f"{inner}\n<footer>{escape(foot)}</footer>\n</main>\n</body>\n</html>\n"
    )


def heading(text: str) -> str:
    """A section's heading."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, style: str = "") -> str:
    """A paragraph of plain text; ``style`` is ``muted``, ``verdict`` or none."""
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def cards(values: Mapping[str, tuple[str, str]]) -> str:
    """Key numbers: name → (number, a small word below)."""
    inner = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(number)}<small>{escape(small)}</small></dd></div>"
        for name, (number, small) in values.items()
    )
    return f'<dl class="cards">{inner}</dl>'


def grid(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], facts: str = "") -> str:
    """A table whose first column names the row; rows whose name ends with ★ stand out.

    Of a number with its interval, ``.601 (.598 to .604)``, the interval goes on a line of its own.
    ``facts="facts"`` sets the columns to the left, for text.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    lines = []
    for name, *values in rows:
        cells = "".join(f"<td>{_interval(value)}</td>" for value in values)
        style = ' class="mine"' if name.endswith("★") else ""
        lines.append(f'<tr{style}><th scope="row">{escape(name)}</th>{cells}</tr>')
    style = f' class="{facts}"' if facts else ""
    return (
        f'<div class="wide"><table{style}><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def texts(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[int] = ()
) -> str:
    """A table of texts as they are, whatever brackets they hold; rows at places ``marked`` stand out."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    lines = []
    for place, row in enumerate(rows):
        style = ' class="mine"' if place in marked else ""
        lines.append(f"<tr{style}>" + "".join(f"<td>{escape(value)}</td>" for value in row) + "</tr>")
    return (
        f'<div class="wide"><table class="texts"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def beside(parts: Iterable[str]) -> str:
    """Parts beside each other where there is room, else below."""
    return '<div class="figures">' + "\n".join(parts) + "</div>"


def links(targets: Iterable[tuple[str, str]]) -> str:
    """A bulleted list of links: (relative address, plain text)."""
    return (
        "<ul>"
        + "".join(
            f'<li><a href="{escape(address, quote=True)}">{escape(text)}</a></li>'
            for address, text in targets
        )
        + "</ul>"
    )


def gallery(figures: Iterable[Figure]) -> str:
    """Figures with what they show, as one group."""
    return '<div class="figures">' + "\n".join(_figure(each) for each in figures) + "</div>"


def fold(summary: str, body: str) -> str:
    """HTML that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def listing(lines: Iterable[str]) -> str:
    """A bulleted list of plain texts."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def figures_page(figures: Sequence[Figure], missing: Sequence[str]) -> str:
    """visualization_summary.md: each figure with what it shows and the number to notice."""
    lines = ["# Figures", ""]
    for each in figures:
        title = plain(each.title)
        lines += [f"## {title}", "", f"![{title}](figures/{each.name}.svg)", "",
                  f"{plain(each.shows)} **Notice:** {plain(each.notice)}.", ""]  # fmt: skip
    if missing:
        lines += ["## Not drawn", "", *[f"- {line}" for line in missing], ""]
    return "\n".join(lines)


def _figure(each: Figure) -> str:
    label = escape(f"{each.title}: {each.notice}", quote=True)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", each.svg.strip(), count=2)  # HTML needs no namespace
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return f"<figure>{svg}<figcaption>{escape(each.shows)}</figcaption></figure>"


def _interval(value: str) -> str:
    number, bracket, rest = value.partition(" (")
    if bracket and rest.endswith(")"):
        return f"{escape(number)}<small>{escape(rest[:-1])}</small>"
    return escape(value)
