"""What was said of the answers, what became of it, and when the next retraining comes."""

import streamlit as st

from dashboard import panels, widgets
from dashboard.live import follow
from dashboard.state import stores, words
from dashboard.viewmodels.feedback import FeedbackView, feedback_view, with_feedback
from dashboard.viewmodels.measures import measure_tiles
from dashboard.viewmodels.shapes import notice

say = words()


def numbers(view: FeedbackView) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        widgets.section(say("feedback.fates"), view.total)
        widgets.bars(view.fates)
        widgets.section(say("feedback.refusals"))
        widgets.bars(view.refusals, otherwise=say("feedback.refusals.none"))
    with right:
        widgets.section(say("feedback.trigger"))
        st.progress(view.trigger_share, text=view.trigger_count)
        widgets.note(view.trigger_note)
        widgets.section(say("feedback.kinds"))
        widgets.bars(view.kinds)
        widgets.tiles([view.effect])


def show() -> None:
    widgets.heading(say("page.feedback"), say("feedback.lead"))
    reading = follow("ledger", "ledger", stores().ledger)
    widgets.box(notice(reading, say))
    tables = {table.table: table for table in with_feedback(reading.value)} if reading.value else {}
    if reading.value and not tables:
        widgets.empty(say, "feedback.empty")
    if not tables:
        return
    name = st.segmented_control(
        say("feedback.choose"), list(tables), default=next(iter(tables)), required=True, label_visibility="collapsed",
        key="feedback of",
    )  # fmt: skip
    numbers(feedback_view(tables[name], floor=stores().trigger_floor(), words=say))
    measures = follow(f"measures {name}", "ledger", lambda: stores().measures(name))
    widgets.box(notice(measures, say))
    if measures.value and reading.value:
        widgets.section(say("measures.title"))
        mine = [row for row in reading.value.verdicts if row.model_name == f"banyan-{name}"]
        widgets.tiles(measure_tiles(measures.value, mine, say))
    panels.rows(name, say)
    panels.look_up(say)


show()
