"""What the models learn from: versions through time, rows, sources, what was left out, the checks, any difference."""

import streamlit as st

from dashboard import data_panels, document_panels, widgets
from dashboard.live import follow, proposed
from dashboard.state import stores, words
from dashboard.viewmodels.data import data_view, first_shown, label_of
from dashboard.viewmodels.shapes import notice

say = words()


def show() -> None:
    widgets.heading(say("page.data"), say("data.lead"))
    reading = follow("data", "data", stores().data)
    widgets.box(notice(reading, say))
    if reading.value is None:
        return
    if not reading.value.versions:
        widgets.empty(say, "data.empty")
        return
    versions = reading.value.versions
    current = first_shown(versions, wanted=st.query_params.get("version", ""))
    known = {one.version: one for one in versions}
    chosen = st.selectbox(
        say("data.version"),
        list(known),
        format_func=lambda one: label_of(known[one], say),
        width=420,
        key=proposed("version of data", versions[current].version),
    )
    version = known[chosen]
    view = data_view(reading.value, version, say)
    about = data_panels.facts(version, say)
    widgets.box(view.failed)
    widgets.tiles(view.tiles)
    data_panels.composition(view, about, say)
    data_panels.rejects(view, about, say)
    data_panels.checks(view, version, about, say)
    data_panels.timeline(reading.value, say)
    data_panels.difference(reading.value, version, say)
    document_panels.panel(say)
    widgets.section(say("data.lineage"))
    widgets.facts(view.facts)


show()
