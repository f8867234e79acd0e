"""Refused feedback rows with a button beside them, for operators: a refusal that is a judgement can be overruled."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby

import streamlit as st

from components.errors import NotPermitted
from components.feedback.reasons import APPEALABLE
from components.ledger.schema import Feedback
from dashboard import people, widgets
from dashboard.live import ask_twice
from dashboard.records import StoreError
from dashboard.state import memory, stores
from dashboard.text import Words
from dashboard.viewmodels.feedback import row_lines
from dashboard.viewmodels.shapes import Box


def rows(found: Sequence[Feedback], say: Words) -> None:
    """Feedback rows as lines; beside those that may be appealed the way to do it, for whoever may."""
    if told := st.session_state.pop("appeal told", ""):
        st.toast(told, icon=":material/check:")
    if not any(map(_is_judgement, found)):
        widgets.lines(row_lines(found, say), otherwise=say("feedback.rows.none"))
        return
    if not people.can("appeal"):
        widgets.lines(row_lines(found, say))
        widgets.note(say("appeal.others"))
        return
    for is_judgement, some in groupby(found, key=_is_judgement):
        for row in some if is_judgement else ():
            with st.container(horizontal=True, vertical_alignment="center"):
                widgets.lines(row_lines([row], say))
                if st.button(say("appeal.button"), key=f"appeal {row.feedback_id}", icon=":material/gavel:"):
                    _ask_why(row, say)
        if not is_judgement:
            widgets.lines(row_lines(list(some), say))


def _is_judgement(row: Feedback) -> bool:
    return row.fate == "refused" and row.reason in APPEALABLE


def _ask_why(row: Feedback, say: Words) -> None:
    ask_twice(st.dialog(say("appeal.title"), on_dismiss="rerun")(partial(form, row, say)))


def form(row: Feedback, say: Words) -> None:
    """Why it was refused, why that was wrong, and the way through the operators' door."""
    widgets.lines(row_lines([row], say))
    widgets.note(say("appeal.lead", reason=say.named("reason", row.reason)))
    why = st.text_input(say("appeal.why"), max_chars=200).strip()
    if not st.button(say("appeal.yes"), type="primary"):
        return
    if not why:
        widgets.status("waiting", say("appeal.blank"))
        return
    try:
        stores().appeal(row.feedback_id, why=why, actor=people.actor())
    except (StoreError, NotPermitted) as err:
        widgets.box(Box("failed", say("appeal.refused"), str(err)))
        return
    memory().forget()
    st.session_state["appeal told"] = say("appeal.done")
    st.rerun()
