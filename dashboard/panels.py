"""Parts of pages in which somebody does something: ask, judge, retrain, turn a page."""

from functools import partial

import streamlit as st

from components.ledger.schema import FATES
from dashboard import answers, appeals, opinions, people, widgets
from dashboard.live import ask_twice, follow, proposed
from dashboard.records import Answered, Seat, StoreError
from dashboard.state import REFRESH_SECONDS, memory, read, stores
from dashboard.stores import PAGE_ROWS
from dashboard.text import Words
from dashboard.viewmodels.feedback import is_mostly_scripted, own_lines, own_summary
from dashboard.viewmodels.playground import fate_steps, right_labels
from dashboard.viewmodels.shaped import correction_kind, writes
from dashboard.viewmodels.shapes import Box, notice

# ---------------------------------------------------------------- playground


def ask(seat: Seat, say: Words) -> None:
    """A question to the serving model; its answer stays in the session until the next one."""
    box = f"question {seat.table}"
    question = st.text_area(say("playground.question"), key=box, height=170, placeholder=seat.example)
    with st.container(horizontal=True):
        asked = st.button(say("playground.ask"), type="primary", icon=":material/send:")
        st.button(
            say("playground.example"),
            type="tertiary",
            icon=":material/lightbulb:",
            disabled=not seat.example,
            on_click=st.session_state.__setitem__,
            args=(box, seat.example),
        )
        both = seat.has_challenger and people.can("preference")
        compared = both and st.button(say("playground.ask.both"), icon=":material/compare:")
    if not asked and not compared:
        return
    st.session_state.pop("answered", None)
    st.session_state.pop("pair", None)
    if not question.strip():
        widgets.status("waiting", say("playground.blank"))
        return
    try:
        if compared:
            with st.spinner(say("playground.waiting")):
                st.session_state["pair"] = stores().compare(seat.table, question, actor=people.actor())
        elif writes(seat.task):
            with (place := st.empty()).container():
                pieces = stores().stream(seat.table, question, actor=people.actor())
                st.session_state["answered"] = answers.written(pieces, say)
            place.empty()  # the whole stands elsewhere, in its task's shape
        else:
            with st.spinner(say("playground.waiting")):
                st.session_state["answered"] = stores().ask(seat.table, question, actor=people.actor())
    except StoreError as err:
        widgets.box(Box("failed", say("playground.failed"), str(err)))


def judge(answered: Answered, seat: Seat, say: Words) -> None:
    """Thumbs, stars, a comment, or the right answer: a label where there are labels. Then what became of it."""
    sent = st.session_state.get(f"sent {answered.request_id}")
    if sent:
        fate(sent, say)
        return
    widgets.section(say("playground.opinion"))
    if not people.can("feedback"):
        people.needs("feedback", say)
        return
    opinions.thumbs(answered.request_id, say)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        how = correction_kind(seat.task, has_labels=bool(seat.labels))
        if how == "labels":
            hint, none = say("playground.correction.several"), say("playground.correction.none")
            some = st.multiselect(say("playground.correct"), [*seat.labels, none], placeholder=hint, width=260)
            right = right_labels(some, none=none)
        elif how == "label":
            others = [label for label in seat.labels if label != answered.output]
            hint = say("playground.correction.choose")
            right = st.selectbox(say("playground.correct"), others, index=None, placeholder=hint, width=260)
        elif how == "lines":  # of which most may be right
            right = st.text_area(say("playground.correct"), answered.output, placeholder=say("playground.correction"))
        else:
            right = st.text_input(say("playground.correct"), placeholder=say("playground.correction"))
        st.button(
            say("playground.send"),
            icon=":material/edit:",
            disabled=not right or right == answered.output,
            on_click=opinions.send,
            args=(answered.request_id, "correct", right or ""),
        )
    opinions.comment(answered.request_id, say)
    if refused := st.session_state.pop("refused", ""):
        widgets.box(Box("failed", say("playground.feedback.failed"), refused))


@st.fragment(run_every=REFRESH_SECONDS)
def fate(feedback_id: str, say: Words, *, is_titled: bool = True) -> None:
    """The way of one feedback row so far; live."""
    if is_titled:
        widgets.section(say("playground.fate"), say("playground.sent"))
    history = read(f"fate {feedback_id}", "ledger", lambda: stores().fate_of(feedback_id))
    widgets.box(notice(history, say))
    widgets.steps(fate_steps(history.value or (), say))
    widgets.note(say("playground.id", id=feedback_id))


# ---------------------------------------------------------------- runs


@widgets.part
def retrain(tables: list[str], say: Words, *, warning: str, can_start: bool) -> None:
    """The one thing an operator starts from here; asked twice."""
    if not people.can("retrain"):
        people.needs("retrain", say)
        return

    @st.dialog(say("runs.retrain"), on_dismiss="rerun")
    def confirm(table: str) -> None:
        widgets.note(f"{say('runs.retrain.confirm', table=table)} {say('runs.retrain.lead')}")
        if st.button(say("runs.retrain.yes"), type="primary"):
            try:
                stores().start_retraining(table, actor=people.actor())
            except StoreError as err:
                widgets.box(Box("failed", say("runs.retrain.refused"), str(err)))
                return
            memory().forget()
            st.toast(say("runs.retrain.done"), icon=":material/check:")
            st.rerun()

    with st.container(horizontal=True, vertical_alignment="bottom"):
        table = st.selectbox(say("runs.retrain"), tables, width=260, help=say("runs.retrain.lead"))
        wanted = st.button(say("runs.retrain.button"), type="primary", disabled=not can_start, icon=":material/replay:")
    if warning:
        widgets.status("waiting", warning)
    if wanted and table:
        ask_twice(partial(confirm, table))


# ---------------------------------------------------------------- feedback


@widgets.part
def rows(table: str, say: Words) -> None:
    """The rows themselves, a page at a time, narrowed by where they stand."""
    widgets.section(say("feedback.rows"))
    fate = st.segmented_control(
        say("feedback.filter"),
        ["all", *FATES],
        default="all",
        required=True,
        label_visibility="collapsed",
        format_func=lambda known: say("feedback.filter.all" if known == "all" else f"fate.{known}"),
    )
    place = f"page {table} {fate}"
    before: int | None = st.session_state.get(place)
    wanted = None if fate == "all" else fate
    reading = follow(
        f"feedback {place} {before}", "ledger", lambda: stores().feedback(table, fate=wanted, before=before)
    )
    widgets.box(notice(reading, say))
    found = reading.value or ()
    if is_mostly_scripted(found):
        widgets.note(say("feedback.scripted"))
    appeals.rows(found, say)
    with st.container(horizontal=True):
        if before is not None:
            st.button(
                say("feedback.rows.newest"), icon=":material/first_page:", on_click=st.session_state.pop, args=(place,)
            )
        if len(found) == PAGE_ROWS:
            st.button(
                say("feedback.rows.older"),
                icon=":material/chevron_right:",
                on_click=st.session_state.__setitem__,
                args=(place, found[-1].sequence),
            )


@widgets.part
def look_up(say: Words) -> None:
    """What became of all that one person said, by any id that its author was given."""
    with st.expander(say("feedback.lookup"), icon=":material/search:"):
        wanted = st.text_input(say("feedback.lookup.id"), key=proposed("my feedback", memento())).strip()
        if not wanted:
            widgets.note(say("feedback.lookup.lead"))
            return
        reading = follow(f"mine {wanted}", "ledger", lambda: stores().mine(wanted))
        widgets.box(notice(reading, say))
        if reading.value is None:
            return
        if not reading.value:
            widgets.note(say("feedback.lookup.none", id=wanted))
            return
        widgets.note(own_summary(reading.value, say))
        newest = next((one for one in reading.value if one.feedback.feedback_id == wanted), reading.value[0])
        widgets.steps(fate_steps(newest.way, say))
        place = f"mine {wanted}"
        shown = st.session_state.setdefault(place, PAGE_ROWS)
        widgets.lines(own_lines(reading.value[:shown], say))
        if shown < len(reading.value):
            more = (place, shown + PAGE_ROWS)
            st.button(say("feedback.lookup.more"), on_click=st.session_state.__setitem__, args=more)


def memento() -> str:
    """The id of what was said last in this session; empty before."""
    return str(st.session_state.get("said last", ""))
