"""Who looks, in the sidebar and at the door; what operators may do beyond looking."""

import streamlit as st

from components.errors import NotPermitted
from components.ledger.actions import NEEDS, Actor, may
from dashboard import charts, roles, widgets
from dashboard.live import ask_twice, follow
from dashboard.records import ModelVersion, StoreError
from dashboard.state import memory, stores
from dashboard.text import Words
from dashboard.viewmodels.people import action_lines
from dashboard.viewmodels.shapes import Box, notice


def actor() -> Actor:
    """Who asks for something now.

    Raises:
        NotPermitted: nobody who may look.
    """
    found = roles.visitor()
    if found is None:
        raise NotPermitted("nobody is signed in", "sign in first")
    return found


def can(action: str) -> bool:
    """Whether to draw what would not be refused; the refusal itself is made where it is done."""
    found = roles.visitor()
    return found is not None and may(found, action)


def needs(action: str, say: Words) -> None:
    """Says which role it takes, in place of what is not drawn."""
    widgets.note(say("people.needs", role=say(f"role.{NEEDS.get(action, 'operator')}")))


def badge(visitor: Actor | None, say: Words) -> None:
    """Who is signed in, and the way out; nothing where nobody is asked."""
    if not roles.is_signed_in():
        return
    if visitor:
        widgets.note(say("people.as", name=visitor.name, role=say(f"role.{visitor.role}")))
    st.button(say("people.out"), icon=":material/logout:", on_click=st.logout)


def welcome(say: Words) -> None:
    """What somebody sees who has not signed in, or has no role."""
    if roles.is_signed_in():
        name = roles.name_of(st.user.to_dict())
        widgets.box(Box("failed", say("people.stranger"), say("people.stranger.hint", name=name)))
        return
    widgets.heading(say("people.welcome"), say("people.welcome.lead"))
    st.button(say("people.in"), type="primary", icon=":material/login:", on_click=st.login)


def rollback(now: ModelVersion, earlier: list[int], say: Words) -> None:
    """Back to an earlier champion; asked twice, with a reason."""

    @st.dialog(say("rollback.title"), on_dismiss="rerun")
    def confirm() -> None:
        widgets.note(say("rollback.lead", model=now.name, now=now.version))
        to = st.selectbox(say("rollback.to"), earlier, format_func=lambda version: say("version", version=version))
        reason = st.text_input(say("rollback.why"), max_chars=200).strip()
        if not st.button(say("rollback.yes"), type="primary"):
            return
        if not reason:
            widgets.status("waiting", say("rollback.blank"))
            return
        try:
            version = stores().roll_back(now.name, to=to, reason=reason, actor=actor())
        except (StoreError, NotPermitted) as err:
            widgets.box(Box("failed", say("rollback.refused"), str(err)))
            return
        memory().forget()
        st.session_state["told"] = say("rollback.done", version=version)
        st.rerun()

    if told := st.session_state.pop("told", ""):
        st.toast(told, icon=":material/check:")
    if not can("rollback"):
        needs("rollback", say)
    elif not earlier:
        widgets.note(say("rollback.none"))
    elif st.button(say("rollback.button"), icon=":material/undo:", on_click=memory().forget):
        ask_twice(confirm)  # of the champion of now, not of the one that was drawn


def actions(say: Words) -> None:
    """What was asked for through the door."""
    reading = follow("actions", "ledger", lambda: stores().actions())
    widgets.box(notice(reading, say))
    if reading.value:
        st.html(charts.timeline(action_lines(reading.value, say)))
    else:
        widgets.note(say("actions.none"))
