"""Why an answer was given, drawn: the text with its tokens lit, and what else is known."""

from collections.abc import Sequence
from html import escape

import streamlit as st

from components.errors import NotPermitted
from dashboard import people, widgets
from dashboard.records import Answered, StoreError
from dashboard.state import stores
from dashboard.text import Words
from dashboard.viewmodels.shapes import Box
from dashboard.viewmodels.why import Lit, WhyView, why_view


def show(answered: Answered, say: Words) -> None:
    """An expander that explains the answer when somebody asks for it; only to who may."""
    if not people.can("explain"):
        return
    key = f"why {answered.request_id}"
    with st.expander(say("why.title"), icon=":material/lightbulb:", expanded=key in st.session_state):
        if key not in st.session_state:
            widgets.note(say("why.lead"))
            if not st.button(say("why.ask"), key=f"ask {key}", icon=":material/lightbulb:"):
                return
            try:
                with st.spinner(say("playground.waiting")):
                    st.session_state[key] = stores().explain(answered.request_id, actor=people.actor())
            except (StoreError, NotPermitted) as err:
                widgets.box(Box("failed", say("why.failed"), str(err)))
                return
        _draw(why_view(st.session_state[key], say), say)


def _draw(view: WhyView, say: Words) -> None:
    if view.masked:
        widgets.note(view.masked)
    widgets.section(say("why.tokens"), view.lead)
    _text(view.lit)
    widgets.section(say("why.weighed"), view.decisions_lead)
    for decision in view.decisions:
        widgets.bars(decision.bars)
    widgets.section(say("why.sure"))
    widgets.note(view.sure)
    widgets.section(say("why.similar"), view.similar_by)
    if view.similar:
        widgets.facts(view.similar)
    if view.attention:
        widgets.section(say("why.attention"), say("why.attention.lead"))
        _text(view.attention)


def _text(pieces: Sequence[Lit]) -> None:
    st.html('<div class="b-lit">' + "".join(map(_piece, pieces)) + "</div>")


def _piece(piece: Lit) -> str:
    if not piece.note:
        return escape(piece.text)
    side = "against" if piece.strength < 0 else "for"
    return (
        f'<mark class="{side}" style="--lit:{abs(piece.strength) * 100:.0f}%" title="{escape(piece.note)}">'
        f"{escape(piece.text)}</mark>"
    )
