"""What somebody says of an answer: thumbs, stars, and a comment beside either or alone. Sent once for each answer."""

import streamlit as st

from dashboard import people
from dashboard.records import StoreError
from dashboard.state import memory, stores
from dashboard.text import Words


def thumbs(request_id: str, say: Words) -> None:
    """Right or wrong, or one to five stars."""
    with st.container(horizontal=True, vertical_alignment="center"):
        for kind, key, icon in (
            ("approve", "playground.approve", "thumb_up"),
            ("reject", "playground.reject", "thumb_down"),
        ):
            st.button(
                say(key),
                key=f"{kind} {request_id}",
                icon=f":material/{icon}:",
                on_click=send,
                args=(request_id, kind),
            )
        st.feedback("stars", key=f"stars {request_id}", on_change=_rate, args=(request_id,))


def comment(request_id: str, say: Words) -> None:
    """A box whose text goes along with whatever is sent next, or alone."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        said = st.text_input(say("opinion.comment"), key=_box(request_id), placeholder=say("opinion.hint"))
        st.button(
            say("opinion.send"),
            key=f"comment only {request_id}",
            icon=":material/comment:",
            disabled=not said.strip(),
            on_click=send,
            args=(request_id, "comment"),
        )


def send(request_id: str, kind: str, correction: str = "", rating: int | None = None) -> None:
    """To the gateway; the page then says what becomes of it, or why it was refused."""
    said = str(st.session_state.get(_box(request_id), "")).strip()
    try:
        sent = stores().give_feedback(
            request_id, actor=people.actor(), kind=kind, correction=correction, comment=said, rating=rating
        )
    except StoreError as err:
        st.session_state["refused"] = str(err)
        return
    memory().forget()
    st.session_state[f"sent {request_id}"] = st.session_state["said last"] = sent


def _rate(request_id: str) -> None:
    stars = st.session_state.get(f"stars {request_id}")
    if stars is not None:
        send(request_id, "rate", rating=stars + 1)


def _box(request_id: str) -> str:
    return f"comment {request_id}"
