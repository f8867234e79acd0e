"""The loop and the tree as HTML and SVG: from view models to markup, every text escaped.

Colours, motion and the narrow layout are in `pictures.css`. A link's `href` is a page's path, so that it works
in a new tab; a plain click is answered by the running session (see `widgets.picture`).
"""

from html import escape

from dashboard.viewmodels.ecosystem import Heart, LoopNode, LoopView
from dashboard.viewmodels.evolution import TreeLeaf, TreeView

# 24 × 24, strokes only, in the manner of the common open icon sets.
_ICONS = {
    "data": '<ellipse cx="12" cy="5.5" rx="7.5" ry="3"/><path d="M4.5 5.5v13c0 1.7 3.4 3 7.5 3s7.5-1.3 7.5-3v-13M4.5 12'
    'c0 1.7 3.4 3 7.5 3s7.5-1.3 7.5-3"/>',
    "preprocessing": '<path d="M3.5 4.5h17l-6.6 8v6.2l-3.8 2v-8.2z"/>',
    "training": '<circle cx="5" cy="6" r="2.2"/><circle cx="5" cy="18" r="2.2"/><circle cx="19" cy="12" r="2.2"/>'
    '<circle cx="12" cy="12" r="2.2"/><path d="M6.8 7.4l3.5 3M6.8 16.6l3.5-3M14.2 12h2.6"/>',
    "optimisation": '<path d="M12 4v16.5M7.5 20.5h9M5 7h14M5 7l-2.6 6.2a2.9 2.9 0 0 0 5.2 0zM19 7l-2.6 6.2a2.9 2.9 0 0 '
    '0 5.2 0z"/>',
    "deployment": '<path d="M12 15.5V4.5M7.5 9L12 4.5 16.5 9M4 15.5v3a2 2 0 0 0 2 2h12a2 2 0 0 0 2-2v-3"/>',
    "application": '<path d="M4 5.5h16v11.5h-9l-4.5 4v-4H4zM8.5 9.7h7M8.5 12.7h4.5"/>',
    "feedback": '<path d="M7.5 10.5v9.5H4v-9.5zM7.5 11.5l4-7.5c1.7 0 2.7 1.2 2.4 2.9l-.5 3h4.9c1.3 0 2.2 1.2 '
    '1.9 2.4l-1.5 6c-.2 1-1.1 1.7-2.1 1.7H7.5"/>',
}
_SIGNS = {
    "ready": '<path d="M4.5 12.5l5 5 10-11"/>',
    "working": '<path class="spin b-spin" d="M20.5 12a8.5 8.5 0 1 1-3-6.5"/>',
    "waiting": '<path d="M8.5 5v14M15.5 5v14"/>',
    "stale": '<circle cx="12" cy="12" r="9"/><path d="M12 6.5V12l4 2.5"/>',
    "failed": '<path d="M6 6l12 12M18 6L6 18"/>',
    "empty": '<circle cx="12" cy="12" r="8.5" stroke-dasharray="3.5 4"/>',
}
_ARROW = '<svg class="arrow" viewBox="0 0 24 24" aria-hidden="true">{}</svg>'.format(
    '<path d="M8.5 5l7 7-7 7" fill="none" stroke="currentColor" stroke-width="2.6" stroke-linecap="round" '
    'stroke-linejoin="round"/>'
)


def _strokes(paths: str, width: float) -> str:
    return (
        f'<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="{width}" stroke-linecap="round" '
        f'stroke-linejoin="round" aria-hidden="true">{paths}</svg>'
    )


def icon(stage: str) -> str:
    return _strokes(_ICONS[stage], 1.7)


def sign(state: str) -> str:
    """The sign that goes with a state's colour and word."""
    return _strokes(_SIGNS[state], 2.8)


def loop(view: LoopView) -> str:
    """The loop, clockwise from the data; on a narrow screen a column whose rail runs back up its left side."""
    nodes = "".join(_node(node) for node in view.nodes)
    moving = " moving" if view.is_moving else ""
    rail = '<svg class="rail" aria-hidden="true"><rect class="base" pathLength="425"/>'
    rail += '<rect class="flow" pathLength="425"/></svg>'
    return (
        f'<div class="pic"><div class="heart above">{_heart(view.heart)}</div>'
        f'<nav class="loop{moving}" aria-label="{escape(view.label)}">{rail}{nodes}'
        f'<div class="heart">{_heart(view.heart)}</div></nav></div>'
    )


def _node(node: LoopNode) -> str:
    row = "bottom" if node.stage in {"deployment", "application", "feedback"} else "top"
    turn = " turn" if node.stage == "optimisation" else ""
    # The arrow of the last card in the upper row would point into the curve: it shows in the narrow column only.
    return (
        f'<a class="node {row}{turn} n-{node.stage} s-{node.state}" href="{escape(node.href)}" '
        f'data-page="{escape(node.page)}" title="{escape(node.meaning)}">'
        f'<span class="ico">{icon(node.stage)}</span><span><span class="t">{escape(node.title)}</span>'
        f'<span class="n">{escape(node.line)}</span>'
        f'<span class="s">{sign(node.state)}{escape(node.state_text)}</span></span>{_ARROW}</a>'
    )


def _heart(heart: Heart) -> str:
    words = " words" if heart.is_words else ""
    gain = f'<div class="g{" less" * heart.is_loss}">{escape(heart.gain)}</div>' if heart.gain else ""
    return (
        f"{banyan(heart.growth)}<div>"
        f'<div class="k">{escape(heart.label)}</div><div class="v{words}">{escape(heart.value)}</div>{gain}'
        f'<div class="x">{escape(heart.note)}</div></div>'
    )


def banyan(growth: int) -> str:
    """The tree as it has grown here: 0 a seed, 1 a sprout (something was trained), 2 a tree (a champion), and from 3 on
    one more trunk, dropped from the branches, for each champion after the first."""
    ground = (
        '<path d="M14 150h172" stroke="var(--b-line)" stroke-width="2" stroke-linecap="round" stroke-dasharray="2 7"/>'
    )
    if growth == 0:
        body = '<ellipse cx="100" cy="158" rx="9" ry="6" fill="var(--b-bark)"/>'
        body += '<path d="M100 152c0-5 1-8 4-11" stroke="var(--b-leaf)" stroke-width="2.5" fill="none" '
        body += 'stroke-linecap="round"/>'
    elif growth == 1:
        body = '<path d="M100 150V104" stroke="var(--b-bark)" stroke-width="4" stroke-linecap="round"/>'
        body += '<path d="M100 116c-6-20-24-26-42-22 3 18 22 28 42 22zM100 108c4-22 22-31 43-27-2 20-22 32-43 27z" '
        body += 'fill="var(--b-leaf)"/>'
    else:
        roots = [(64, 77), (138, 72), (38, 82), (163, 80), (118, 70)][: min(growth - 2, 5)]
        body = "".join(
            f'<path d="M{x} {y}C{x - 2} {y + 28} {x + 2} {y + 46} {x} 150" stroke="var(--b-bark)" stroke-width="6" '
            'stroke-linecap="round" fill="none"/>'
            for x, y in roots
        )
        body += '<path d="M88 150c6-22 5-40-4-62M112 150c-6-22-5-40 5-64M100 150V84" stroke="var(--b-bark)" '
        body += 'stroke-width="9" stroke-linecap="round" fill="none"/>'
        body += '<path d="M92 96C78 84 60 80 42 78M108 94c14-12 32-16 50-16" stroke="var(--b-bark)" stroke-width="6" '
        body += 'stroke-linecap="round" fill="none"/>'
        body += '<g fill="var(--b-leaf)">' + "".join(
            f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" opacity="{opacity}"/>'
            for x, y, rx, ry, opacity in (
                (50, 66, 40, 21, 0.75),
                (150, 66, 40, 21, 0.75),
                (100, 60, 48, 24, 0.85),
                (72, 42, 38, 22, 0.9),
                (130, 42, 38, 22, 0.9),
                (100, 28, 34, 19, 1),
            )
        )
        body += "</g>"
    frame = "0 0 200 166" if growth > 1 else "46 78 108 90"  # what is small is seen from near
    return f'<svg class="tree" viewBox="{frame}" aria-hidden="true">{ground}{body}</svg>'


# ---------------------------------------------------------------- the tree of families

# Centre of each node: (x, y) wide, (x, y) narrow. The tree grows upwards, the oldest idea at its foot.
_PLACES: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "nlp": ((490, 640), (180, 640)),
    "deep_learning": ((490, 545), (180, 550)),
    "neural_networks": ((490, 450), (180, 460)),
    "feedforward": ((490, 335), (170, 350)),
    "rnn": ((255, 335), (56, 350)),
    "lstm": ((120, 205), (44, 225)),
    "gru": ((330, 205), (132, 225)),
    "transformer": ((725, 335), (290, 350)),
    "bert": ((620, 205), (228, 225)),
    "gpt": ((840, 205), (316, 225)),
    "pretraining": ((730, 70), (272, 100)),
}


def tree(view: TreeView) -> str:
    """The family tree, drawn twice: wide and narrow; the stylesheet shows the one that fits."""
    wide = _tree(view, 0, (980, 700), (176, 66))
    narrow = _tree(view, 1, (360, 700), (84, 66))
    return f'<div class="pic"><div class="wide">{wide}</div><div class="narrow">{narrow}</div></div>'


def _tree(view: TreeView, layout: int, size: tuple[int, int], box: tuple[int, int]) -> str:
    width, height = size
    on = {leaf.name for leaf in view.leaves if leaf.is_grown}
    boughs, foliage = "", ""
    for leaf in view.leaves:
        x, y = _PLACES[leaf.name][layout]
        for parent in leaf.parents:
            px, py = _PLACES[parent][layout]
            thick = 13 if py > 400 else 8 if py > 300 else 5
            middle = (y + py) / 2
            lit = " on" if leaf.name in on and parent in on else ""
            boughs += (
                f'<path class="bough{lit}" d="M{px} {py}C{px} {middle} {x} {middle} {x} {y}" stroke-width="{thick}"/>'
            )
            if lit and py < 400:
                foliage += _twig((px, py), (x, y))
    soil = f'<path class="soil" d="M{width * 0.12} {height - 18}H{width * 0.88}"/>'
    x, y = _PLACES["nlp"][layout]
    boughs += "".join(
        f'<path class="bough{" on" * ("nlp" in on)}" d="M{x} {y}C{x} {y + 40} {x + reach / 2} {height - 22} '
        f'{x + reach} {height - 16}" stroke-width="6"/>'
        for reach in (-110, -60, 60, 110)
    )
    leaves = "".join(_leaf(leaf, _PLACES[leaf.name][layout], box, layout) for leaf in view.leaves)
    return (
        f'<svg class="treepic" viewBox="0 0 {width} {height}" role="group" aria-label="{escape(view.label)}">'
        f"{soil}{boughs}{foliage}{leaves}</svg>"
    )


def _twig(parent: tuple[int, int], child: tuple[int, int]) -> str:
    """Leaves on both sides of a bough that is alive, following its curve."""
    (px, py), (x, y) = parent, child
    middle = (y + py) / 2
    drawn = ""
    for number, t in enumerate((0.3, 0.42, 0.54, 0.66, 0.78)):
        u = 1 - t  # a cubic Bézier curve and its tangent
        at_x = u**3 * px + 3 * u * u * t * px + 3 * u * t * t * x + t**3 * x
        at_y = u**3 * py + 3 * u * u * t * middle + 3 * u * t * t * middle + t**3 * y
        side = 1 if number % 2 else -1
        lean = -90 + 52 * side + (14 if x > px else -14)
        drawn += (
            f'<path class="green" d="M0 0C6 -8 16 -8 22 0C16 8 6 8 0 0z" '
            f'transform="translate({at_x:.0f} {at_y:.0f}) rotate({lean})"/>'
        )
    return drawn


def _leaf(leaf: TreeLeaf, place: tuple[int, int], box: tuple[int, int], layout: int) -> str:
    x, y = place
    width, height = box
    if layout == 1 and not leaf.title.isascii():
        width = max(width, 16 * len(leaf.title) + 12)
    elif layout == 1:
        width = max(width, 8 * len(leaf.title) + 14)  # a long name stands alone in its row
    shown = leaf.models if layout == 0 else leaf.models_short
    kinds = " on" * leaf.is_grown + " own" * bool(leaf.models)
    model = f'<text class="m" x="{x}" y="{y + 24}">{escape(shown)}</text>' if shown else ""
    lift = 6 if shown else 0
    body = (
        f'<g class="leaf{kinds}"><title>{escape(leaf.meaning)}</title>'
        f'<rect x="{x - width / 2}" y="{y - height / 2}" width="{width}" height="{height}" rx="16"/>'
        f'<text x="{x}" y="{y - lift - 2}">{escape(leaf.title)}</text>'
        f'<text class="y" x="{x}" y="{y - lift + 15}">{leaf.year}</text>{model}</g>'
    )
    return f'<a href="{escape(leaf.href)}" data-page="models">{body}</a>' if leaf.models else body
