"""Parts of the runs page: curves of what trains, what goes by the clock, and what operators do to a run."""

import streamlit as st

from components.errors import NotPermitted
from dashboard import charts, people, widgets
from dashboard.live import ask_twice
from dashboard.records import Run, StoreError
from dashboard.state import memory, read, stores
from dashboard.text import Words
from dashboard.viewmodels.runs import ACTIVE, ENDED_BADLY, RunsView
from dashboard.viewmodels.shapes import Box

EARLIER_SECONDS = 3600.0
"""A training that lost its process goes on in the MLflow run that it began in."""


def curves(view: RunsView, say: Words) -> None:
    """The loss of every training that is at work."""
    if not view.trains_since:
        return
    since = min(view.trains_since) - EARLIER_SECONDS
    found = read("curves", "registry", lambda: stores().curves(since=since), is_live=True).value or ()
    # A training that was killed for good stays at work for MLflow: the newest ones are those of now.
    shown = [curve for curve in found if len(curve.points) > 1][: len(view.trains_since)]
    if not shown:
        return
    widgets.section(say("runs.curves"), say("runs.curves.lead"))
    for place, curve in enumerate(shown):
        label = say("runs.curves.label", name=curve.name)
        markup = charts.curve(curve.points, name=curve.name, label=label, x_label=say("runs.curves.x"))
        widgets.picture(markup, key=f"curve {place}")


def schedules(view: RunsView, say: Words) -> None:
    """What starts by itself, and when next."""
    widgets.section(say("runs.schedules"), say("runs.schedules.lead"))
    widgets.lines(view.schedules, otherwise=say("runs.schedules.none"))


def change(run: Run, say: Words) -> None:
    """Cancel a run, or try it again; asked twice."""
    what = "cancel" if run.state in ACTIVE else "retry" if run.state in ENDED_BADLY else ""
    if not what or not people.can(what):
        return

    @st.dialog(say(f"runs.{what}.title"), on_dismiss="rerun")
    def confirm() -> None:
        widgets.note(say(f"runs.{what}.confirm", run=run.name))
        if not st.button(say(f"runs.{what}.yes"), type="primary"):
            return
        try:
            do = stores().cancel if what == "cancel" else stores().retry
            do(run, actor=people.actor())
        except (StoreError, NotPermitted) as err:
            widgets.box(Box("failed", say("runs.change.refused"), str(err)))
            return
        memory().forget()
        st.session_state["run told"] = say(f"runs.{what}.done")
        st.rerun()

    icon = ":material/stop_circle:" if what == "cancel" else ":material/replay:"
    if st.button(say(f"runs.{what}.title"), icon=icon, key=f"{what} {run.id}"):
        ask_twice(confirm)
