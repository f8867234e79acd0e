"""Pages that follow the stores without a reload: drawn again when what they were drawn from is no longer so.

A fragment asks the stores again every few seconds and draws nothing itself, so that a page with 200 versions on it is
not made anew, and not sent anew, for as long as nothing has happened.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import streamlit as st

from dashboard.records import Reading, StoreName
from dashboard.state import REFRESH_SECONDS, read

T = TypeVar("T")
FOLLOWED, JUST_DRAWN, ASKED_TWICE = "followed", "just drawn", "asked twice"


@dataclass(frozen=True)
class Followed:
    store: StoreName
    ask: Callable[[], Any]
    shown: Reading[Any]


def begin() -> None:
    """At the beginning of a drawing: nothing is followed yet, and no dialog is open, for a drawing closes it."""
    st.session_state[FOLLOWED] = {}
    st.session_state[JUST_DRAWN] = True
    st.session_state.pop(ASKED_TWICE, None)


def follow(question: str, store: StoreName, ask: Callable[[], T]) -> Reading[T]:
    """What a store says, as `state.read`; the page is drawn again when it says otherwise."""
    reading = read(question, store, ask)
    st.session_state.setdefault(FOLLOWED, {})[question] = Followed(store, ask, reading)
    return reading


def end() -> None:
    """At the end of a drawing: what it followed is looked after from now on."""
    if st.session_state.get(FOLLOWED):
        watch()


@st.fragment(run_every=REFRESH_SECONDS)
def watch() -> None:
    """Every few seconds: is everything that is followed still so?"""
    if st.session_state.pop(JUST_DRAWN, False) or st.session_state.get(ASKED_TWICE):
        return
    for question, one in st.session_state.get(FOLLOWED, {}).items():
        if differs(one.shown, read(question, one.store, one.ask, is_live=True)):
            st.rerun()


def differs(shown: Reading[Any], now: Reading[Any]) -> bool:
    """Whether a page would look otherwise: another answer, or another reason for having none."""
    return bool(shown.value != now.value) or str(shown.problem) != str(now.problem)


def ask_twice(dialog: Callable[[], None]) -> None:
    """Opens a dialog, which a drawing of the page would close over what somebody writes in it: none until it ends."""
    st.session_state[ASKED_TWICE] = True
    dialog()


def proposed(key: str, proposal: object) -> str:
    """The key of a list whose proposal moves on: who has not chosen otherwise is shown the new one."""
    before = f"{key}: proposed"
    if key not in st.session_state or st.session_state[key] == st.session_state.get(before) != proposal:
        st.session_state[key] = proposal
    st.session_state[before] = proposal
    return key
