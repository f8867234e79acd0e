"""What outlives one drawing of a page: the door to the stores, what they said last, the chosen language."""

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

import streamlit as st

from components.settings import load_settings
from dashboard.records import Reading, StoreError, StoreName
from dashboard.stores import Stores
from dashboard.text import LANGUAGES, Language, Words

T = TypeVar("T")
FRESH_SECONDS = 2.0
"""A store is not asked again sooner, however many people look."""
OLD_SECONDS = 20.0
"""An answer younger than this is shown at once while the store is asked again behind it: a page that is drawn again, or
opened by the next person, does not wait for two hundred versions to be listed."""
PATIENCE_SECONDS = 0.05
"""So long it waits for the store all the same: it is drawn again in seconds, with what the store will have said."""
REFRESH_SECONDS = 4.0
"""How often a live page draws itself again."""


class Memory:
    """The last good answer to each question, for the whole process: what a page shows while a store is down."""

    def __init__(self) -> None:
        self._answers: dict[str, Reading[object]] = {}
        self._tried: dict[str, float] = {}
        self._lock = threading.Lock()

    def read(
        self,
        question: str,
        store: StoreName,
        ask: Callable[[], T],
        *,
        fresh_seconds: float,
        old_seconds: float = 0.0,
    ) -> Reading[T]:
        """`ask()`, unless it has just been asked; with the last good answer where it raises StoreError.

        Args:
            old_seconds: a good answer younger than this is given where the store, asked again in a thread, takes its
                time.
        """
        now = time.time()
        with self._lock:
            last: Reading[T] | None = self._answers.get(question)  # type: ignore[assignment]
            tried = self._tried.get(question, 0.0)
            if last and now - tried < fresh_seconds:
                return last
            self._tried[question] = now
        if last and tried and last.problem is None and now - last.at < old_seconds:
            again = threading.Thread(target=self._ask, args=(question, store, ask, last, now), daemon=True)
            again.start()
            again.join(PATIENCE_SECONDS)
            with self._lock:
                return self._answers[question]  # type: ignore[return-value]
        return self._ask(question, store, ask, last, now)

    def _ask(
        self, question: str, store: StoreName, ask: Callable[[], T], last: Reading[T] | None, now: float
    ) -> Reading[T]:
        try:
            reading = Reading(store, ask(), time.time())
        except StoreError as err:
            reading = Reading(store, last.value if last else None, last.at if last and last.value else now, err)
        with self._lock:
            self._answers[question] = reading  # type: ignore[assignment]
        return reading

    def knows(self, question: str) -> bool:
        with self._lock:
            return question in self._answers

    def forget(self) -> None:
        """Ask everybody again: something has just been changed from here."""
        with self._lock:
            self._tried.clear()


@st.cache_resource(show_spinner=False)
def stores() -> Stores:
    return Stores(load_settings())


@st.cache_resource(show_spinner=False)
def memory() -> Memory:
    return Memory()


def read(question: str, store: StoreName, ask: Callable[[], T], *, is_live: bool = False) -> Reading[T]:
    """What a store says, or said last; see `Memory.read`. Only the very first time is worth a sign of waiting.

    Args:
        is_live: the page draws itself again in seconds, so that a young answer may stand until then. Elsewhere it might
            be acted upon: a champion of twenty seconds ago is not to be rolled back from.
    """
    first = nullcontext() if memory().knows(question) else st.spinner(words()("app.reading"))
    with first:
        return memory().read(question, store, ask, fresh_seconds=FRESH_SECONDS, old_seconds=OLD_SECONDS * is_live)


def words() -> Words:
    """The session's language: from the address (`?lang=zh`) at first, then from the switch."""
    if "language" not in st.session_state:
        wanted = st.query_params.get("lang", "en")
        st.session_state["language"] = wanted if wanted in LANGUAGES else "en"
    language: Language = st.session_state["language"]
    return Words(language)
