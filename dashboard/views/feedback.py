"""What was said of the answers, what became of it, and when the next retraining comes."""

import streamlit as st

from components.ledger.schema import FATES
from components.recipes import TriggerPolicy
from dashboard import widgets
from dashboard.state import read, stores, words
from dashboard.viewmodels.feedback import feedback_view, is_mostly_scripted, row_lines, with_feedback
from dashboard.viewmodels.playground import fate_steps
from dashboard.viewmodels.shapes import Tile, notice

say = words()
FLOOR = TriggerPolicy().minimum_feedback  # type: ignore[call-arg]  # mypy takes Field(200) for no default


def rows(table: str) -> None:
    widgets.section(say("feedback.rows"))
    fate = st.segmented_control(
        say("feedback.filter"), ["all", *FATES], default="all", required=True, label_visibility="collapsed",
        format_func=lambda known: say("feedback.filter.all") if known == "all" else say(f"fate.{known}"),
    )  # fmt: skip
    wanted = None if fate == "all" else fate
    place = f"page {table} {fate}"
    before = st.session_state.get(place)
    reading = read(f"feedback {place} {before}", "ledger", lambda: stores().feedback(table, fate=wanted, before=before))
    found = reading.value or ()
    if is_mostly_scripted(found):
        widgets.note(say("feedback.scripted"))
    widgets.lines(row_lines(found, say)) if found else widgets.note(say("feedback.rows.none"))
    with st.container(horizontal=True):
        if before and st.button(say("feedback.rows.newest"), icon=":material/first_page:"):
            del st.session_state[place]
            st.rerun()
        if len(found) == 25 and st.button(say("feedback.rows.older"), icon=":material/chevron_right:"):
            st.session_state[place] = found[-1].sequence
            st.rerun()


def look_up() -> None:
    with st.expander(say("feedback.lookup"), icon=":material/search:"):
        wanted = st.text_input(say("feedback.lookup.id")).strip()
        history = read(f"fate {wanted}", "ledger", lambda: stores().fate_of(wanted)).value if wanted else ()
        if history:
            widgets.steps(fate_steps(history, say))
        elif wanted:
            widgets.note(say("feedback.lookup.none", id=wanted))


def show() -> None:
    widgets.heading(say("page.feedback"), say("feedback.lead"))
    reading = read("ledger", "ledger", stores().ledger)
    widgets.box(notice(reading, say))
    tables = {table.table: table for table in with_feedback(reading.value)} if reading.value else {}
    if reading.value and not tables:
        widgets.empty(say, "feedback.empty")
    if not tables:
        return
    name = st.segmented_control(
        say("feedback.choose"), list(tables), default=next(iter(tables)), required=True, label_visibility="collapsed"
    )
    view = feedback_view(tables[name], floor=FLOOR, words=say)
    left, right = st.columns(2, gap="large")
    with left:
        widgets.section(say("feedback.fates"), view.total)
        widgets.bars(view.fates)
        widgets.section(say("feedback.refusals"))
        widgets.bars(view.refusals) if view.refusals else widgets.note(say("feedback.refusals.none"))
    with right:
        widgets.section(say("feedback.trigger"))
        st.progress(view.trigger_share, text=view.trigger_count)
        widgets.note(view.trigger_note)
        widgets.section(say("feedback.kinds"))
        widgets.bars(view.kinds)
        widgets.tiles([Tile(say("feedback.effect"), view.right or say("tile.unknown"), view.right_note)])
    rows(name)
    look_up()


show()
