"""Ask the serving model, see its receipt, say what is right, and see what becomes of that."""

import streamlit as st

from dashboard import widgets
from dashboard.state import REFRESH_SECONDS, memory, read, stores, words
from dashboard.stores import Answered, Seat, StoreError
from dashboard.viewmodels.playground import answer_view, answering, fate_steps, seat_note
from dashboard.viewmodels.shapes import Box, notice

say = words()


def ask(seat: Seat) -> None:
    box = f"question {seat.table}"
    if st.button(say("playground.example"), type="tertiary", icon=":material/lightbulb:", disabled=not seat.example):
        st.session_state[box] = seat.example
    question = st.text_area(say("playground.question"), key=box, height=140)
    if st.button(say("playground.ask"), type="primary", icon=":material/send:"):
        st.session_state.pop("answered", None)
        if not question.strip():
            widgets.note(say("playground.blank"))
            return
        try:
            with st.spinner(say("playground.waiting")):
                st.session_state["answered"] = stores().ask(seat.table, question)
        except StoreError as err:
            widgets.box(Box("failed", say("playground.failed"), str(err)))


def rate(answered: Answered, kind: str, correction: str = "") -> None:
    try:
        sent = stores().give_feedback(answered.request_id, kind=kind, correction=correction)
    except StoreError as err:
        st.session_state["refused"] = str(err)
        return
    memory().forget()
    st.session_state[f"sent {answered.request_id}"] = sent


def opinion(answered: Answered, seat: Seat) -> None:
    widgets.section(say("playground.opinion"))
    with st.container(horizontal=True):
        st.button(say("playground.approve"), icon=":material/thumb_up:", on_click=rate, args=(answered, "approve"))
        st.button(say("playground.reject"), icon=":material/thumb_down:", on_click=rate, args=(answered, "reject"))
    if seat.labels:
        choice = st.selectbox(
            say("playground.correct"), [label for label in seat.labels if label != answered.output], index=None,
            placeholder=say("playground.correction.choose"),
        )  # fmt: skip
    else:
        choice = st.text_input(say("playground.correct"), placeholder=say("playground.correction"))
    st.button(
        say("playground.send"), disabled=not choice, on_click=rate, args=(answered, "correct", choice or ""),
        icon=":material/edit:",
    )  # fmt: skip
    if refused := st.session_state.pop("refused", ""):
        widgets.box(Box("failed", say("playground.feedback.failed"), refused))


@st.fragment(run_every=REFRESH_SECONDS)
def fate(feedback_id: str) -> None:
    widgets.section(say("playground.fate"))
    history = read(f"fate {feedback_id}", "ledger", lambda: stores().fate_of(feedback_id))
    widgets.box(notice(history, say))
    widgets.steps(fate_steps(history.value or (), say))
    widgets.note(f"{say('playground.sent')} {feedback_id}")


def answered_part(answered: Answered, seat: Seat) -> None:
    view = answer_view(answered, say)
    widgets.answer(view.output, view.caption)
    if view.alternatives:
        widgets.section(say("playground.alternatives"))
        widgets.bars(view.alternatives)
    with st.expander(say("playground.receipt"), icon=":material/receipt_long:"):
        widgets.facts(view.receipt)
    sent = st.session_state.get(f"sent {answered.request_id}")
    fate(sent) if sent else opinion(answered, seat)


def show() -> None:
    widgets.heading(say("page.playground"), say("playground.lead"))
    reading = read("seats", "gateway", stores().seats)
    widgets.box(notice(reading, say))
    seats = answering(reading.value or ())
    if reading.value is not None and not seats:
        widgets.empty(say, "playground.empty")
    if not seats:
        return
    tables = {seat.table: seat for seat in seats}
    table = st.segmented_control(
        say("playground.choose"), list(tables), default=next(iter(tables)), required=True, label_visibility="collapsed"
    )
    left, right = st.columns(2, gap="large")
    with left:
        if note := seat_note(tables[table], say):
            widgets.note(note)
        ask(tables[table])
    answered = st.session_state.get("answered")
    if answered and answered.table == table:
        with right:
            answered_part(answered, tables[table])


show()
