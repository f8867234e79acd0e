"""What pages are drawn with: markup with every text escaped, and the pictures as components."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, wraps
from html import escape
from pathlib import Path
from typing import ParamSpec, TypeVar

import streamlit as st

from dashboard.text import Words
from dashboard.viewmodels.models import Interval
from dashboard.viewmodels.playground import FateStep
from dashboard.viewmodels.shapes import Bar, Box, Fact, Line, ServiceLine, Tile

P = ParamSpec("P")
T = TypeVar("T")
HERE = Path(__file__).parent

# The picture is markup of ours, given as data so that a new state changes it in place. A plain click goes to Python,
# which switches the page within the session; with a key held it opens the address as any link does.
_SCRIPT = """
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector('.root');
  if (root.dataset.drawn !== data) { root.innerHTML = data; root.dataset.drawn = data; }
  root.onclick = (event) => {
    const link = event.target.closest('a[data-page]');
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    setTriggerValue('page', link.getAttribute('data-page'));
    // A trigger that meets a page just drawing itself again can be lost: then follow the link as any browser does.
    setTimeout(() => root.isConnected && window.location.assign(link.href), 2500);
  };
}
"""


@cache
def _css(name: str) -> str:
    return (HERE / name).read_text("utf-8")


def style(words: Words) -> None:
    """The stylesheet; once a page."""
    # Streamlit says "Press Enter to apply" below what is written, in English alone.
    hint = "" if words.language == "en" else "[data-testid=InputInstructions] { display: none; }"
    st.html(f"<style>{_css('style.css')}{hint}</style>")


def picture(markup: str, *, key: str) -> None:
    """A picture of `pictures`, whose links lead to pages."""
    mount = st.components.v2.component(
        "banyan_picture", html='<div class="root"></div>', css=_css("pictures.css"), js=_SCRIPT
    )

    def remember() -> None:  # kept over the run: a live page's next drawing may interrupt the one that was clicked for
        st.session_state["wanted page"] = st.session_state[key].page

    mount(data=markup, key=key, on_page_change=remember)
    if wanted := st.session_state.pop("wanted page", ""):
        st.switch_page(f"views/{wanted}.py")


def brand(words: Words) -> None:
    st.html(
        f'<div class="b-brand"><i class="b-mark"></i><div><b>{escape(words("app.name"))}</b>'
        f"<small>{escape(words('app.tagline'))}</small></div></div>"
    )


def services(title: str, shown: Sequence[ServiceLine]) -> None:
    """The stack's processes with a sign each; those with pages of their own are links."""
    if not shown:
        return
    rows = "".join(
        f'<{"a" if line.url else "span"} class="s-{line.state}" href="{escape(line.url)}" target="_blank">'
        f'<i class="b-sign"></i>{escape(line.name)}</{"a" if line.url else "span"}>'
        for line in shown
    )
    st.html(f'<div class="b-services"><b>{escape(title)}</b>{rows}</div>')


def heading(title: str, lead: str = "") -> None:
    st.html(f'<h1 class="b-title">{escape(title)}</h1>' + (f'<p class="b-lead">{escape(lead)}</p>' if lead else ""))


def section(title: str, lead: str = "") -> None:
    below = f'<p class="b-lead" style="font-size:.95rem">{escape(lead)}</p>' if lead else ""
    st.html(f'<h2 class="b-section">{escape(title)}</h2>{below}')


def note(text: str) -> None:
    st.html(f'<p class="b-note">{escape(text)}</p>')


def link(text: str, url: str) -> None:
    """To a page that is not ours."""
    if url.startswith("http"):
        st.html(f'<a class="b-link" href="{escape(url)}" target="_blank">{escape(text)} ↗</a>')


def part(draw: Callable[P, T]) -> Callable[P, T]:
    """A part of a page in a container of its own: what it gains or loses moves nothing that comes after it, for what is
    moved is made anew by the browser, and what somebody had opened in it is closed."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with st.container():
            return draw(*args, **kwargs)

    return drawn


@part
def box(shown: Box | None) -> None:
    """Empty, stale or failed; nothing for None."""
    if shown:
        st.html(
            f'<div class="b-box s-{shown.kind}" role="status"><i class="b-sign"></i>'
            f"<b>{escape(shown.title)}</b><p>{escape(shown.text)}</p></div>"
        )


def empty(words: Words, key: str) -> None:
    box(Box("empty", words(key), words(f"{key}.hint")))


def tiles(shown: Iterable[Tile]) -> None:
    shown = tuple(shown)
    across = len(shown) if len(shown) <= 5 else -(-len(shown) // -(-len(shown) // 5))  # even rows
    st.html(
        f'<div class="b-tiles" style="--across:{across}">'
        + "".join(
            f'<div class="b-tile"><div class="k">{escape(tile.label)}</div><div class="v">{escape(tile.value)}</div>'
            f'<div class="n">{escape(tile.note)}</div></div>'
            for tile in shown
        )
        + "</div>"
    )


def state(kind: str, text: str) -> str:
    """Markup of a state: colour, sign and word."""
    return f'<span class="b-state b-pill s-{kind}"><i class="b-sign"></i>{escape(text)}</span>'


def small(text: str) -> str:
    """Markup of a quiet last line of a card."""
    return f'<div class="f">{escape(text)}</div>'


def status(kind: str, text: str) -> None:
    st.html(state(kind, text))


def bars(shown: Sequence[Bar], *, otherwise: str = "") -> None:
    """Bars under each other; the sentence `otherwise` when there are none."""
    if not shown:
        note(otherwise)
        return
    st.html('<div class="b-bars">' + "".join(_bar(bar) for bar in shown) + "</div>")


def _bar(bar: Bar) -> str:
    small = f"<small>{escape(bar.note)}</small>" if bar.note else ""
    mark = f'<span class="m" style="left:{bar.mark * 100:.2f}%"></span>' if bar.mark is not None else ""
    return (
        f'<span class="l">{escape(bar.label)}{small}</span><span class="t t-{bar.tone}"><span class="f" '
        f'style="width:{max(0.0, min(1.0, bar.share)) * 100:.2f}%"></span>{mark}</span>'
        f'<span class="r">{escape(bar.value)}</span>'
    )


def interval(shown: Interval) -> None:
    left, right, zero = shown.low * 100, shown.high * 100, shown.zero * 100
    is_crowded = min(abs(zero - left), abs(zero - right)) < 9  # the three figures would lie on each other
    tick = "" if is_crowded else f'<span class="tick" style="left:{zero:.2f}%">0</span>'
    st.html(
        f'<div class="b-interval s-{shown.state}"><span class="axis"></span>'
        f'<span class="zero" style="left:{zero:.2f}%"></span>{tick}'
        f'<span class="range" style="left:{left:.2f}%;width:{right - left:.2f}%"></span>'
        f'<span class="point" style="left:{shown.point * 100:.2f}%"></span>'
        f'<span class="tick lo" style="left:{left:.2f}%">{escape(shown.low_text)}</span>'
        f'<span class="tick hi" style="left:{right:.2f}%">{escape(shown.high_text)}</span></div>'
    )


def facts(shown: Iterable[Fact]) -> None:
    st.html(
        '<dl class="b-kv">'
        + "".join(
            f"<dt>{escape(fact.label)}</dt><dd>"
            + (f"<code>{escape(fact.value)}</code>" if fact.is_code else escape(fact.value))
            + "</dd>"
            for fact in shown
        )
        + "</dl>"
    )


def lines(shown: Sequence[Line], *, otherwise: str = "") -> None:
    """What happened, line by line; the sentence `otherwise` when nothing did."""
    if not shown:
        note(otherwise)
        return
    st.html('<div class="b-rows">' + "".join(_line(line) for line in shown) + "</div>")


def _line(line: Line) -> str:
    small = f"<small>{escape(line.note)}</small>" if line.note else ""
    return (
        f'<div class="b-row"><span class="e" style="text-align:left">{escape(line.when)}</span>'
        f'<span class="b">{escape(line.text)}{small}</span><span>{state(line.state, line.state_text)}</span>'
        f'<span class="e">{escape(line.end)}</span></div>'
    )


def card(title: str, side: str, texts: Iterable[str], *, kind: str = "", is_quiet: bool = False, foot: str = "") -> str:
    """Markup of a card. `kind`: a state whose sign stands beside the title; `foot` is markup already."""
    body = "".join(f"<p>{escape(text)}</p>" for text in texts)
    aside = '<i class="b-sign"></i>' if kind else f"<small>{escape(side)}</small>"
    return (
        f'<div class="b-card{" quiet" * is_quiet} s-{kind or "none"}"><div class="h"><span>{escape(title)}</span>'
        f"{aside}</div>{body}{foot}</div>"
    )


def cards(shown: Iterable[str], *, least: int = 250) -> None:
    """A grid of cards, each at least so many pixels wide."""
    st.html(f'<div class="b-cards" style="--least:{least}px">' + "".join(shown) + "</div>")


def steps(shown: Iterable[FateStep]) -> None:
    """The way of a feedback row."""
    st.html(
        '<ol class="b-steps">'
        + "".join(
            f'<li class="{"done" * step.is_done} {"s-failed" if step.is_refusal else "s-ready"}"><i></i><span>'
            f"{escape(step.title)}{f' <small>· {escape(step.detail)}</small>' if step.detail else ''}</span></li>"
            for step in shown
        )
        + "</ol>"
    )


def preformatted(text: str) -> None:
    st.html(f'<pre class="b-pre">{escape(text)}</pre>')
