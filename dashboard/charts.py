"""Drawn evidence: forests, tables of two sides, the stream of looks, reliability, timelines, lineage. Markup only.

What needs coordinates is SVG, drawn twice, wide and narrow, so that its words stay legible; the rest is HTML that
`style.css` lays out. Every colour has a sign or a word beside it.
"""

import math
from collections.abc import Callable, Sequence
from html import escape

from dashboard.records import Bin
from dashboard.text import signed
from dashboard.viewmodels.curves import Curves
from dashboard.viewmodels.evidence import Forest, ForestRow, Side, Stream
from dashboard.viewmodels.lineage import LineageNode, LineageView
from dashboard.viewmodels.measured import Point
from dashboard.viewmodels.shapes import Line


def state(kind: str, text: str) -> str:
    return f'<span class="b-state b-pill s-{kind}"><i class="b-sign"></i>{escape(text)}</span>'


# ---------------------------------------------------------------- HTML


def forest(shown: Forest) -> str:
    """One row a slice: its name, its interval on an axis that all share, its value, its finding."""
    return (
        f'<div class="b-forest" style="--zero:{shown.zero * 100:.2f}%;--margin:{(shown.margin or 0) * 100:.2f}%">'
        + "".join(_forest_row(row) for row in shown.rows)
        + '<span class="x"></span><span class="a"><i class="tz">0</i>'
        + f'<i class="tm">{escape(shown.margin_text)}</i></span></div>'
    )


def _forest_row(row: ForestRow) -> str:
    span = ""
    if row.low is not None and row.high is not None:
        low, high = max(0.0, row.low), min(1.0, row.high)
        span = f'<i class="r" style="left:{low * 100:.2f}%;width:{(high - low) * 100:.2f}%"></i>'
    return (
        f'<span class="l">{escape(row.label)}<small>{escape(row.note)}</small></span>'
        f'<span class="t s-{row.state}"><i class="z"></i><i class="m"></i>{span}'
        f'<i class="p" style="left:{row.point * 100:.2f}%"></i></span>'
        f'<span class="v">{escape(row.value)}</span>{state(row.state, row.state_text)}'
    )


def sides(rows: Sequence[Side], *, heads: tuple[str, str, str, str], better: str, worse: str) -> str:
    """Challenger beside what it was compared with; `better` and `worse` are read aloud with the sign."""
    body = "".join(
        f'<tr><th scope="row">{escape(row.label)}</th><td>{escape(row.challenger)}</td><td>{escape(row.against)}</td>'
        f"<td>{_gain(row, better, worse)}</td></tr>"
        for row in rows
    )
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    return _wide(heads, f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>")


def _gain(row: Side, better: str, worse: str) -> str:
    if row.gain is None:
        return escape(row.difference)
    kind, said = ("ready", better) if row.gain else ("failed", worse)
    return (
        f'<span class="b-state s-{kind}" title="{escape(said)}"><i class="b-sign"></i>{escape(row.difference)}</span>'
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numeric_from: int = 1) -> str:
    """Plain text cells; those from `numeric_from` on are numbers."""
    head = "".join(
        f'<th scope="col"{" class=n" * (i >= numeric_from)}>{escape(one)}</th>' for i, one in enumerate(heads)
    )
    body = "".join(
        "<tr>"
        + f'<th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{' class=n' * (i >= numeric_from)}>{escape(cell)}</td>" for i, cell in enumerate(row[1:], 1))
        + "</tr>"
        for row in rows
    )
    return _wide(heads, f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>")


def _wide(heads: Sequence[str], rows: str) -> str:
    """A table that scrolls sideways where it is wider than the window: by keyboard, too."""
    label = escape(", ".join(heads))
    frame = f'<div class="b-wide" tabindex="0" role="group" aria-label="{label}">'
    return f'{frame}<table class="b-table">{rows}</table></div>'


def timeline(shown: Sequence[Line]) -> str:
    """Events down a line, newest first."""
    return (
        '<ol class="b-timeline">'
        + "".join(
            f'<li class="s-{line.state}"><i class="b-sign"></i><div><time>{escape(line.when)}</time>'
            f"<b>{escape(line.text)}</b>{f'<small>{escape(line.note)}</small>' if line.note else ''}</div>"
            f'<span class="e">{escape(line.state_text)} <code>{escape(line.end)}</code></span></li>'
            for line in shown
        )
        + "</ol>"
    )


def lineage(view: LineageView) -> str:
    """What a version was made of, the version, and what it has answered."""
    before = "".join(_lineage_node(node) for node in view.made_of)
    return (
        f'<div class="b-lineage" role="group" aria-label="{escape(view.label)}"><div class="from">{before}</div>'
        f'<i class="arrow"></i><div class="self">{_lineage_node(view.version)}</div><i class="arrow"></i>'
        f'<div class="to">{_lineage_node(view.answers)}</div></div>'
    )


def _lineage_node(node: LineageNode) -> str:
    lines = "".join(f"<small>{escape(line)}</small>" for line in node.lines)
    code = f"<code>{escape(node.digest)}</code>" if node.digest else ""
    body = f'<span class="k">{escape(node.kind)}</span><b>{escape(node.title)}</b>{code}{lines}'
    if node.href:
        return f'<a class="n" href="{escape(node.href)}" target="_self">{body}</a>'
    return f'<div class="n">{body}</div>'


# ---------------------------------------------------------------- SVG


FULL = 846
"""Pixels of a page's column at 1280."""


def twice(draw: Callable[[int], str], *, wide: int = 700) -> str:
    """Drawn for a wide and for a narrow window; the stylesheet shows the one that fits."""
    return f'<div class="pic"><div class="wide">{draw(wide)}</div><div class="narrow">{draw(350)}</div></div>'


def looks(shown: Stream, *, label: str, error_label: str, unit: float) -> str:
    """Above, each look's difference with its interval; beneath, the error it might spend. `unit`: 100 for points."""

    def draw(width: int) -> str:
        left, right, top, height, foot = 44, 10, 14, 120, 46
        count = max(len(shown.looks), 4)
        values = [0.0, *(v for one in shown.looks for v in (one.low, one.high))]
        least, most = min(values), max(values)
        room = (most - least) * 0.08 or 0.01
        least, most = least - room, most + room
        step = (width - left - right) / count

        def y(value: float) -> float:
            return top + height * (most - value) / (most - least)

        parts = [f'<line class="zero" x1="{left}" x2="{width - right}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>']
        for value in (least + room, 0.0, most - room):
            parts.append(f'<text class="ax" x="{left - 6}" y="{y(value) + 4:.1f}">{signed(value * unit)}</text>')
        biggest = max((one.level for one in shown.looks), default=0.0) or 1.0
        base = top + height + 20 + foot
        for place, one in enumerate(shown.looks):
            x = left + step * (place + 0.5)
            bar = foot * one.level / biggest
            parts.append(
                f'<g class="s-{one.state}"><title>{escape(one.label)}: {escape(one.verdict)}</title>'
                f'<line class="iv" x1="{x:.1f}" x2="{x:.1f}" y1="{y(one.low):.1f}" y2="{y(one.high):.1f}"/>'
                f'<circle class="pt" cx="{x:.1f}" cy="{y(one.difference):.1f}" r="5"/>'
                f'<rect class="lv" x="{x - min(step * 0.3, 14):.1f}" width="{2 * min(step * 0.3, 14):.1f}" '
                f'y="{base - bar:.1f}" height="{max(bar, 1):.1f}" rx="2"/>'
                f'<text class="no" x="{x:.1f}" y="{base + 15}">{one.number}</text></g>'
            )
        parts.append(f'<text class="ax" x="{left - 6}" y="{base - foot + 8}">{biggest * 100:.1f}%</text>')
        parts.append(f'<text class="cap" x="{left}" y="{top + height + 15}">{escape(error_label)}</text>')
        return _svg(width, base + 22, label, "".join(parts))

    return twice(draw)


def curve(points: Sequence[tuple[int, float]], *, name: str, label: str, x_label: str) -> str:
    """A value over steps: every point pale, and above them the mean of a tenth of the curve at a time."""
    span = max(1, len(points) // 10)
    smooth = [
        (step, sum(value for _, value in points[max(0, place - span + 1) : place + 1]) / min(span, place + 1))
        for place, (step, _) in enumerate(points)
    ]
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1)
    least, most = min(value for _, value in points), max(value for _, value in points)
    room = (most - least) * 0.06 or 0.01
    digits = 2 if most - least > 0.1 else 3  # three times the same figure is no axis
    least, most = least - room, most + room

    def draw(width: int) -> str:
        left, right, top, height = 46, 12, 12, 150

        def path(line: Sequence[tuple[int, float]]) -> str:
            thin = [*line[:: max(1, len(line) // 400)], line[-1]]
            return " ".join(
                f"{left + (width - left - right) * (step - first) / (last - first):.1f},"
                f"{top + height * (most - value) / (most - least):.1f}"
                for step, value in thin
            )

        parts = [f'<rect class="frame" x="{left}" y="{top}" width="{width - left - right}" height="{height}" rx="6"/>']
        for value in (most - room, (most + least) / 2, least + room):
            y = top + height * (most - value) / (most - least)
            parts.append(f'<text class="ax" x="{left - 6}" y="{y + 4:.1f}">{value:.{digits}f}</text>')
        for step, anchor in ((first, "start"), (last, "end")):
            x = left if step == first else width - right
            parts.append(
                f'<text class="cap" style="text-anchor:{anchor}" x="{x}" y="{top + height + 18}">{step}</text>'
            )
        middle = (left + width - right) / 2
        parts.append(f'<text class="no" x="{middle:.0f}" y="{top + height + 18}">{escape(x_label)}</text>')
        parts.append(f'<g class="series a"><polyline class="faint" points="{path(points)}"/>')
        parts.append(f'<polyline points="{path(smooth)}"/></g>')
        said = f"{name} · {smooth[-1][1]:.3f}"
        parts.append(f'<text class="end" x="{width - right - 10}" y="{top + 22}">{escape(said)}</text>')
        return _svg(width, top + height + 24, label, "".join(parts))

    return twice(draw, wide=FULL)


def scatter(points: Sequence[Point], *, label: str, x_label: str, y_label: str, ticks: Callable[[float], str]) -> str:
    """Bits per byte against compute on a scale of logarithms; the best of a family is full and named."""
    least, most = math.log(min(one.seconds for one in points)), math.log(max(one.seconds for one in points))
    room = max(0.35, (most - least) * 0.08)
    least, most = least - room, most + room
    low, high = min(one.bits for one in points), max(one.bits for one in points)
    low, high = low - max(0.05, (high - low) * 0.12), high + max(0.05, (high - low) * 0.12)

    def draw(width: int) -> str:
        left, right, top, height = 46, 14, 14, 240

        def at(one: Point) -> tuple[float, float]:
            x = left + (width - left - right) * (math.log(one.seconds) - least) / (most - least)
            return x, top + height * (high - one.bits) / (high - low)

        parts = [f'<rect class="frame" x="{left}" y="{top}" width="{width - left - right}" height="{height}" rx="6"/>']
        for share in (0.06, 0.5, 0.94):
            x, y = left + (width - left - right) * share, top + height * share
            bits, seconds = high - (high - low) * share, math.exp(least + (most - least) * share)
            parts.append(f'<text class="ax" x="{left - 6}" y="{y + 4:.0f}">{bits:.2f}</text>')
            parts.append(f'<text class="no" x="{x:.0f}" y="{top + height + 18}">{escape(ticks(seconds))}</text>')
        for one in points:
            (x, y), size = at(one), 7 if one.is_best else 4.5
            kind = "a" if one.is_best else "c"
            told = f"<title>{escape(one.title)}: {escape(one.said)}</title>"
            parts.append(f'<g class="series {kind}"><circle cx="{x:.1f}" cy="{y:.1f}" r="{size}">{told}</circle>')
            if one.is_best:
                side, shift = ("end", -11) if x > width * 0.66 else ("start", 11)
                place = f'style="text-anchor:{side}" x="{x + shift:.1f}" y="{y + 4.5:.1f}"'
                parts.append(f"<text {place}>{escape(one.family)}</text>")
            parts.append("</g>")
        parts.append(f'<text x="{left}" y="{top + height + 38}">{escape(x_label)} → · ↑ {escape(y_label)}</text>')
        return _svg(width, top + height + 46, label, "".join(parts))

    return twice(draw, wide=FULL)


def reliability(series: Sequence[tuple[str, str, Sequence[Bin]]], *, label: str, x_label: str, y_label: str) -> str:
    """Confidence against what came of it. `series`: (class, name, bins); the diagonal is what it says."""

    def draw(width: int) -> str:
        side = min(width - 60, 300)
        left, top = 44, 10

        def at(confidence: float, score: float) -> tuple[float, float]:
            return left + side * confidence, top + side * (1 - score)

        parts = [f'<rect class="frame" x="{left}" y="{top}" width="{side}" height="{side}" rx="6"/>']
        parts.append(f'<line class="diag" x1="{left}" y1="{top + side}" x2="{left + side}" y2="{top}"/>')
        for share in (0.0, 0.5, 1.0):
            x, y = at(share, share)
            parts.append(f'<text class="ax" x="{left - 6}" y="{y + 4:.0f}">{share * 100:.0f}%</text>')
            parts.append(f'<text class="no" x="{x:.0f}" y="{top + side + 16}">{share * 100:.0f}%</text>')
        for kind, name, bins in series:
            points = [at(one.confidence, one.score) for one in bins]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            most = max((one.count for one in bins), default=1)
            dots = "".join(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 5 * (one.count / most) ** 0.5:.1f}">'
                f"<title>{escape(name)}: {one.confidence:.2f} → {one.score:.2f} ({one.count})</title></circle>"
                for (x, y), one in zip(points, bins, strict=True)
            )
            parts.append(f'<g class="series {kind}"><polyline points="{path}"/>{dots}</g>')
        for place, (kind, name, _) in enumerate(series):
            y = top + 20 + 20 * place
            mark = f'<circle cx="{left + 18}" cy="{y - 4}" r="5"/>'
            parts.append(f'<g class="series {kind}">{mark}<text x="{left + 30}" y="{y}">{escape(name)}</text></g>')
        parts.append(
            f'<text class="cap" x="{left}" y="{top + side + 34}">{escape(x_label)} → · ↑ {escape(y_label)}</text>'
        )
        return _svg(width, top + side + 42, label, "".join(parts))

    return twice(draw)


def curves(shown: Curves, *, x_label: str, y_label: str) -> str:
    """Lines with their range over the seeds; the axis of rows is logarithmic, that of accuracy ends at 100 %."""

    def draw(width: int) -> str:
        left, right, top, height = 44, 16, 10, 190
        sizes = sorted({point[0] for curve in shown.curves for point in curve.points}) or [1.0]
        first, last = math.log(sizes[0]), math.log(sizes[-1])
        floor = shown.floor

        def x(size: float) -> float:
            share = (math.log(size) - first) / (last - first) if last > first else 0.5
            return left + 14 + (width - left - right - 28) * share

        def y(value: float) -> float:
            return top + height * (1 - value) / (1 - floor or 1)

        parts = []
        for value in (floor, (1 + floor) / 2, 1.0):
            parts.append(
                f'<line class="zero" x1="{left}" x2="{width - right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
            )
            parts.append(f'<text class="ax" x="{left - 6}" y="{y(value) + 4:.1f}">{value * 100:.0f}%</text>')
        for size in sizes:
            parts.append(f'<text class="no" x="{x(size):.1f}" y="{top + height + 16}">{size:.0f}</text>')
        for curve in shown.curves:
            path = " ".join(f"{x(size):.1f},{y(mean):.1f}" for size, mean, _, _ in curve.points)
            dots = "".join(
                f'<line class="iv" x1="{x(size):.1f}" x2="{x(size):.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>'
                f'<circle cx="{x(size):.1f}" cy="{y(mean):.1f}" r="4"><title>{escape(curve.name)}: {size:.0f} → '
                f"{mean * 100:.1f}% ({low * 100:.1f}–{high * 100:.1f})</title></circle>"
                for size, mean, low, high in curve.points
            )
            parts.append(f'<g class="series {curve.kind}"><polyline points="{path}"/>{dots}</g>')
        base = top + height + 36
        parts.append(f'<text class="cap" x="{left}" y="{base}">{escape(x_label)} → · ↑ {escape(y_label)}</text>')
        for place, curve in enumerate(shown.curves):
            at = base + 20 + 18 * place
            mark = f'<circle cx="{left + 6}" cy="{at - 4}" r="5"/>'
            parts.append(
                f'<g class="series {curve.kind}">{mark}<text x="{left + 18}" y="{at}">{escape(curve.name)}</text></g>'
            )
        return _svg(width, base + 8 + 20 * len(shown.curves), shown.title, "".join(parts))

    return twice(draw)


def _svg(width: int, height: float, label: str, body: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height:.0f}" width="{width}" role="img" '
        f'aria-label="{escape(label)}">{body}</svg>'
    )
