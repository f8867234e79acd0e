"""The loop as a picture with live state, the numbers beneath it, and the applications."""

import time

import streamlit as st

from dashboard import pictures, widgets
from dashboard.state import REFRESH_SECONDS, read, stores, words
from dashboard.viewmodels.ecosystem import Readings, ecosystem
from dashboard.viewmodels.shapes import notice


@st.fragment(run_every=REFRESH_SECONDS)
def show() -> None:
    say, store = words(), stores()
    readings = Readings(
        models=read("models", "registry", store.models, is_live=True),
        data=read("data", "data", store.data, is_live=True),
        orchestration=read("orchestration", "prefect", store.orchestration, is_live=True),
        ledger=read("ledger", "ledger", store.ledger, is_live=True),
        seats=read("seats", "gateway", store.seats, is_live=True),
        costs=read("costs", "ledger", store.costs, is_live=True),
    )
    view = ecosystem(readings, say)
    widgets.picture(pictures.loop(view.loop), key="loop")
    widgets.tiles(view.tiles)
    for reading in readings.each():
        widgets.box(notice(reading, say))
    widgets.section(say("ecosystem.applications"), say("ecosystem.applications.lead"))
    widgets.cards(
        (
            widgets.card(card.title, "", [card.text], kind=card.state, is_quiet=not card.is_alive)
            for card in view.applications
        ),
        least=200,
    )
    widgets.note(say("app.updated", time=say.clock(time.time())))


widgets.heading(words()("page.ecosystem"), words()("ecosystem.lead"))
show()
