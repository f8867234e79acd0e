"""What is at work, what was done, where the time went; and the one thing an operator starts from here."""

import time

import streamlit as st

from dashboard import widgets
from dashboard.state import REFRESH_SECONDS, memory, read, stores, words
from dashboard.stores import StoreError
from dashboard.viewmodels.runs import RunsView, run_view, runs_view
from dashboard.viewmodels.shapes import Box, notice

say = words()


@st.fragment(run_every=REFRESH_SECONDS)
def live() -> None:
    reading = read("orchestration", "prefect", stores().orchestration)
    widgets.box(notice(reading, say))
    if reading.value is None:
        return
    view = runs_view(reading.value, say, now=time.time())
    if not view.choices:
        widgets.empty(say, "runs.empty")
        return
    widgets.section(say("runs.now"))
    widgets.lines(view.now) if view.now else widgets.note(say("runs.now.none"))
    widgets.section(say("runs.recent"))
    widgets.lines(view.recent)
    inside(view)


def inside(view: RunsView) -> None:
    widgets.section(say("runs.where"), say("runs.where.lead"))
    run_id = st.selectbox(say("runs.choose"), list(view.choices), format_func=lambda known: view.choices[known])
    reading = read(f"run {run_id}", "prefect", lambda: stores().run(run_id))
    widgets.box(notice(reading, say))
    if reading.value is None:
        return
    shown = run_view(reading.value, say)
    widgets.bars(shown.steps) if shown.steps else widgets.note(say("runs.steps.none"))
    if shown.progress:
        st.progress(min(1.0, shown.progress[0] / 100), text=shown.progress[1])
    with st.expander(say("runs.log")):
        widgets.preformatted(shown.log or say("runs.log.none"))


@st.dialog(say("runs.retrain"))
def confirm(table: str) -> None:
    widgets.note(say("runs.retrain.confirm", table=table) + " " + say("runs.retrain.lead"))
    if st.button(say("runs.retrain.yes"), type="primary"):
        try:
            stores().start_retraining(table, actor="dashboard")
        except StoreError as err:
            widgets.box(Box("failed", say("runs.retrain.refused"), str(err)))
            return
        memory().forget()
        st.toast(say("runs.retrain.done"), icon=":material/check:")
        st.rerun()


def operate() -> None:
    models, found = (
        read("models", "registry", stores().models),
        read("orchestration", "prefect", stores().orchestration),
    )
    tables = sorted({model.table for model in models.value or () if model.task != "corpus"})
    if not tables or found.value is None:
        return
    view = runs_view(found.value, say, now=time.time())
    with st.container(horizontal=True, vertical_alignment="bottom"):
        table = st.selectbox(say("runs.retrain"), tables, width=260, help=say("runs.retrain.lead"))
        if st.button(
            say("runs.retrain.button"), type="primary", disabled=not view.can_retrain, icon=":material/replay:"
        ):
            confirm(table)
    if view.warning:
        widgets.note(view.warning)


widgets.heading(say("page.runs"), say("runs.lead"))
operate()
live()
