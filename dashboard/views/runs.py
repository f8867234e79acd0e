"""What is at work, what goes by the clock, what was done, where the time went; start, cancel, try again."""

import time
from collections.abc import Mapping

import streamlit as st

from dashboard import panels, run_panels, widgets
from dashboard.live import follow
from dashboard.records import Run
from dashboard.state import REFRESH_SECONDS, read, stores, words
from dashboard.viewmodels.models import retrainable
from dashboard.viewmodels.runs import RunsView, run_view, runs_view
from dashboard.viewmodels.shapes import notice

say = words()


@st.fragment(run_every=REFRESH_SECONDS)
def live() -> None:
    reading = read("orchestration", "prefect", stores().orchestration, is_live=True)
    widgets.box(notice(reading, say))
    if reading.value is None:
        return
    view = runs_view(reading.value, say, now=time.time())
    if told := st.session_state.pop("run told", ""):
        st.toast(told, icon=":material/check:")
    if not view.choices:
        widgets.empty(say, "runs.empty")
        run_panels.schedules(view, say)
        return
    widgets.section(say("runs.now"))
    widgets.lines(view.now, otherwise=say("runs.now.none"))
    run_panels.curves(view, say)
    run_panels.schedules(view, say)
    if view.recent:
        widgets.section(say("runs.recent"))
        widgets.lines(view.recent)
    inside(view, {run.id: run for run in reading.value.runs})


@st.fragment  # whoever chooses a run waits for that run alone, not for the list of all and what is drawn of it
def inside(view: RunsView, runs: Mapping[str, Run]) -> None:
    widgets.section(say("runs.where"), say("runs.where.lead"))
    run_id = st.selectbox(
        say("runs.choose"), list(view.choices), format_func=view.choices.__getitem__, key="run inside"
    )
    reading = read(f"run {run_id}", "prefect", lambda: stores().run(run_id), is_live=True)
    widgets.box(notice(reading, say))
    if reading.value is None:
        return
    shown = run_view(reading.value, say)
    with st.container(horizontal=True, vertical_alignment="center"):
        run_panels.change(runs[run_id], say)
        widgets.link(say("runs.open"), view.urls[run_id])
    widgets.bars(shown.steps, otherwise=say("runs.steps.none"))
    if shown.progress:
        st.progress(min(1.0, shown.progress[0] / 100), text=shown.progress[1])
    with st.expander(say("runs.log"), icon=":material/subject:"):
        widgets.preformatted(shown.log or say("runs.log.none"))


def show() -> None:
    widgets.heading(say("page.runs"), say("runs.lead"))
    models = follow("models", "registry", stores().models)
    found = read("orchestration", "prefect", stores().orchestration, is_live=True)
    tables = retrainable(models.value or ())
    if tables and found.value is not None:
        view = runs_view(found.value, say, now=time.time())
        panels.retrain(tables, say, warning=view.warning, can_start=view.can_retrain)
    live()


show()
