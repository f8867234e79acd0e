"""Answers in the playground: each in its task's shape, streamed where it is written, and two side by side, blind."""

from collections.abc import Iterator
from html import escape
from typing import TypeVar

import streamlit as st

from components.errors import BanyanError, NotPermitted
from dashboard import people, widgets
from dashboard.records import Answered, StoreError
from dashboard.state import memory, stores
from dashboard.text import Words
from dashboard.viewmodels.shaped import Shaped, examples, shaped
from dashboard.viewmodels.shapes import Box

T = TypeVar("T")


def show(answered: Answered, task: str, say: Words, *, caption: str) -> None:
    """One answer."""
    found = shaped(answered, task)
    if found.kind == "code":
        widgets.note(caption)
        st.code(found.pieces[0].text, language="python", wrap_lines=True)
        _examples(found.pieces[0].text, answered, say)
        return
    st.html(
        f'<div class="b-answer k-{found.kind}"><div class="c">{escape(caption)}</div>{_question(found, say)}'
        f'<div class="o">{_pieces(found)}</div>{_nothing(found, say)}</div>'
    )


def _question(found: Shaped, say: Words) -> str:
    if found.kind == "translation":
        label = escape(say("playground.source"))
        return f'<div class="q"><small>{label}</small>{escape(found.question)}</div>'
    return f'<div class="q">{escape(found.question)}</div>' if found.kind == "context" else ""


def _pieces(found: Shaped) -> str:
    return "".join(
        f"<mark>{escape(piece.text)}{f'<small>{escape(piece.mark)}</small>' if piece.mark.strip() else ''}</mark>"
        if piece.mark
        else escape(piece.text)
        for piece in found.pieces
    )


def _nothing(found: Shaped, say: Words) -> str:
    if not found.is_empty:
        return ""
    key = "playground.no.answer" if found.kind == "context" else "playground.nothing.found"
    return f'<div class="c">{escape(say(key))}</div>'


def _examples(program: str, answered: Answered, say: Words) -> None:
    """The examples that the beginning gives, run in the sandbox when somebody asks for it: the code is a model's."""
    wanted = examples(answered.question)
    if not wanted or not people.can("feedback"):
        return
    if not st.button(say("playground.tests"), icon=":material/science:", key=f"tests {answered.request_id}"):
        return
    try:
        with st.spinner(say("playground.waiting")):
            outcome = stores().run_examples(program, wanted)
    except BanyanError as err:
        widgets.box(Box("failed", say("playground.tests.refused"), str(err)))
        return
    if outcome == "passed":
        widgets.status("ready", say("playground.tests.passed"))
    else:
        widgets.status("failed", say("playground.tests.failed", outcome=outcome))


def written(pieces: Iterator[str | T], say: Words) -> T:
    """Shows a text as it is written, letter by letter as it is, for a model's words are no Markdown; what ends it.

    Raises:
        StoreError: it ended before it was whole, and what was shown of it is gone again.
    """
    place, said = st.empty(), ""
    try:
        with st.spinner(say("playground.waiting")):
            for piece in pieces:
                if not isinstance(piece, str):
                    return piece
                said += piece
                place.text(said)
    except StoreError:
        place.empty()
        raise
    raise AssertionError("a stream ends with its whole, or raises")


def pair(answers: tuple[Answered, ...], task: str, say: Words) -> None:
    """Two answers whose authors are said when one has been preferred."""
    widgets.section(say("playground.both"), say("playground.both.lead"))
    key = f"preferred {answers[0].request_id}"
    preferred = st.session_state.get(key)
    names = ("playground.first", "playground.second")
    for answered, name in zip(answers, names, strict=True):
        model = f"{answered.receipt['model']} v{answered.receipt['version']}"
        caption = say(name)
        if preferred:
            was = "playground.was" if preferred == answered.request_id else "playground.was.not"
            caption = f"{caption} · {say(was, model=model)}"
        show(answered, task, say, caption=caption)
        if not preferred:
            other = next(one for one in answers if one is not answered)
            st.button(
                say("playground.prefer"),
                key=f"prefer {answered.request_id}",
                icon=":material/thumb_up:",
                on_click=_prefer,
                args=(answered, other, key),
            )
    if refused := st.session_state.pop("refused", ""):
        widgets.box(Box("failed", say("playground.feedback.failed"), refused))


def _prefer(better: Answered, other: Answered, key: str) -> None:
    try:
        stores().prefer(better, other, actor=people.actor())
    except (StoreError, NotPermitted) as err:
        st.session_state["refused"] = str(err)
        return
    memory().forget()
    st.session_state[key] = better.request_id
