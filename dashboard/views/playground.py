"""Ask the serving model, see its receipt, say what is right, and see what becomes of that."""

import streamlit as st

from dashboard import answers, panels, talk, why, widgets
from dashboard.live import follow
from dashboard.records import Answered
from dashboard.state import stores, words
from dashboard.viewmodels.playground import answer_view, answering, loading, seat_note
from dashboard.viewmodels.shapes import notice

say = words()


def answer(answered: Answered, task: str) -> None:
    view = answer_view(answered, say)
    answers.show(answered, task, say, caption=view.caption)
    if view.alternatives:
        widgets.section(say("playground.alternatives"))
        widgets.bars(view.alternatives)
    with st.expander(say("playground.receipt"), icon=":material/receipt_long:"):
        widgets.facts(view.receipt)
    why.show(answered, say)


def show() -> None:
    widgets.heading(say("page.playground"), say("playground.lead"))
    reading = follow("seats", "gateway", stores().seats)
    widgets.box(notice(reading, say))
    for table in loading(reading.value or ()):
        widgets.status("working", say("playground.loading", table=table))
    seats = {seat.table: seat for seat in answering(reading.value or ())}
    if reading.value is not None and not seats:
        widgets.empty(say, "playground.empty")
    if not seats:
        return
    table = st.segmented_control(
        say("playground.choose"), list(seats), default=next(iter(seats)), required=True, label_visibility="collapsed",
        key="playground of",
    )  # fmt: skip
    seat = seats[table]
    if talk.is_wanted(seat, say):
        if note := seat_note(seat, say):
            widgets.status("waiting", note)
        talk.show(seat, say)
        return
    left, right = st.columns(2, gap="large")
    with left:
        if note := seat_note(seat, say):
            widgets.status("waiting", note)
        panels.ask(seat, say)
    answered = st.session_state.get("answered")
    pair = st.session_state.get("pair")
    with right:
        if pair and pair[0].table == table:
            answers.pair(pair, seat.task, say)
        elif answered and answered.table == table:
            answer(answered, seat.task)
            panels.judge(answered, seat, say)
        else:
            widgets.empty(say, "playground.here")


show()
