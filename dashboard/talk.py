"""Conversations in the playground: turns with what they cite, each to be rated."""

import streamlit as st

from dashboard import answers, opinions, panels, people, why, widgets
from dashboard.records import Cited, Seat, StoreError, Turn
from dashboard.state import stores
from dashboard.text import Words
from dashboard.viewmodels.shapes import Box

PASSAGES = 4
PERSON, MODEL = ":material/person:", ":material/park:"


def is_wanted(seat: Seat, say: Words) -> bool:
    """A dialogue always converses; question answering where it is to look into the documents itself."""
    if seat.task == "dialogue":
        return True
    documents, key = say("talk.documents"), f"documents {seat.table}"
    return seat.task == "question_answering" and st.toggle(documents, help=say("talk.documents.help"), key=key)


def show(seat: Seat, say: Words) -> None:
    """The whole conversation of this session with a table's champion."""
    place = f"talk {seat.table}"
    turns: list[Turn] = st.session_state.setdefault(place, [])
    asked = f"asked {seat.table}"
    with st.container(horizontal=True, vertical_alignment="center"):
        looks = seat.task != "dialogue" or st.toggle(
            say("talk.documents"), value=True, help=say("talk.documents.help"), key=f"looks {seat.table}"
        )
        icon, afresh = ":material/add_comment:", (turns, asked)
        st.button(say("talk.new"), icon=icon, type="tertiary", on_click=_forget, args=afresh)
    if said := st.chat_input(say("talk.say"), key=f"say {seat.table}"):  # at the page's foot, wherever it is called
        st.session_state[asked] = said  # until it is answered: a click meanwhile begins the page, and the answer, anew
    question = st.session_state.get(asked)
    if not turns and not question:
        widgets.empty(say, "talk.start")
    for number, turn in enumerate(turns):
        _turn(turn, say, number=number)
    if refused := st.session_state.pop("refused", ""):
        widgets.box(Box("failed", say("playground.feedback.failed"), refused))
    if not question:
        return
    with st.chat_message("user", avatar=PERSON):
        st.text(question)
    passages = PASSAGES if looks else 0
    with st.chat_message("assistant", avatar=MODEL):
        try:
            pieces = stores().converse(seat.table, question, before=turns, passages=passages, actor=people.actor())
            turns.append(answers.written(pieces, say))
        except StoreError as err:
            del st.session_state[asked]
            widgets.box(Box("failed", say("playground.failed"), str(err)))
            return
    del st.session_state[asked]
    st.rerun()


def _forget(turns: list[Turn], asked: str) -> None:
    turns.clear()
    st.session_state.pop(asked, None)


def _turn(turn: Turn, say: Words, *, number: int) -> None:
    with st.chat_message("user", avatar=PERSON):
        st.text(turn.question)
    with st.chat_message("assistant", avatar=MODEL):
        st.text(turn.answered.output or say("talk.nothing"))
        for one in turn.cited:
            widgets.note(f"{_place(one, say)}: “{' '.join(one.text.split())}”")
            if not one.is_verbatim:
                widgets.note(say("talk.unsaid"))
        if turn.shown:
            with st.expander(say("talk.retrieved"), icon=":material/description:"):
                for one in turn.shown:
                    widgets.note(_place(one, say))
                    st.text(one.text)
        _rating(turn, say, number=number)
        why.show(turn.answered, say)


def _place(one: Cited, say: Words) -> str:
    name = "talk.cited.under" if one.heading else "talk.cited"
    return say(name, number=one.number, document=one.document, heading=one.heading)


def _rating(turn: Turn, say: Words, *, number: int) -> None:
    request_id = turn.answered.request_id
    if sent := st.session_state.get(f"sent {request_id}"):
        is_new = st.session_state.get("said last") == sent
        with st.expander(say("talk.fate"), icon=":material/route:", expanded=is_new, key=f"fate {request_id}"):
            panels.fate(sent, say, is_titled=False)
        return
    if not people.can("feedback"):
        return
    with st.popover(say("talk.rate"), icon=":material/rate_review:", key=f"rate {number} {request_id}"):
        opinions.thumbs(request_id, say)
        right = st.text_input(say("playground.correct"), key=f"right {request_id}")
        st.button(
            say("playground.send"),
            key=f"correct {request_id}",
            disabled=not right,
            on_click=opinions.send,
            args=(request_id, "correct", right),
        )
        opinions.comment(request_id, say)
