"""The dashboard: `streamlit run dashboard/app.py`. Frame and navigation; the pages are in `views/`."""

import logging
from typing import Any

import streamlit as st

from components.errors import BanyanError
from dashboard import live, people, roles, state, widgets
from dashboard.text import LANGUAGES
from dashboard.viewmodels.shapes import Box, service_lines

log = logging.getLogger("banyan.dashboard")
PAGES = {
    "ecosystem": ":material/cycle:",
    "evolution": ":material/park:",
    "models": ":material/model_training:",
    "data": ":material/database:",
    "runs": ":material/play_circle:",
    "playground": ":material/forum:",
    "feedback": ":material/thumbs_up_down:",
    "cost": ":material/payments:",
}


def main() -> None:
    words = state.words()
    st.set_page_config(page_title=words("app.name"), page_icon="🌳", layout="wide")
    widgets.style(words)
    live.begin()
    pages = [
        st.Page(f"views/{name}.py", title=words(f"page.{name}"), icon=icon, default=name == "ecosystem")
        for name, icon in PAGES.items()
    ]
    page: Any = st.navigation(pages, position="hidden")  # drawn by hand below: the name of the house comes first
    try:
        roles.refuse_open_binding()
        visitor = roles.visitor()
    except BanyanError as err:
        log.error("%s", err)
        widgets.box(Box("failed", words("people.open"), str(err)))
        return
    with st.sidebar:
        widgets.brand(words)
        for one in pages if visitor else ():
            st.page_link(one)
        st.segmented_control(
            words("app.language"),
            list(LANGUAGES),
            format_func=lambda language: LANGUAGES[language],
            key="language",
            required=True,
            label_visibility="collapsed",
        )
        people.badge(visitor, words)
    if visitor is None:
        people.welcome(words)
        return
    try:
        with st.sidebar:
            widgets.services(words("app.services"), service_lines(state.stores().services(), words))
        page.run()
    except BanyanError as err:  # a setting with a typo, for one: said, not traced
        widgets.box(Box("failed", words("box.crashed"), str(err)))
    except Exception:  # blanket: the page's edge (Streamlit's own control flow is not an Exception)
        log.exception("page %s", page.title)
        widgets.box(Box("failed", words("box.crashed"), words("box.crashed.hint")))
    live.end()


if __name__ == "__main__":  # as Streamlit runs it; tests import the table of pages
    main()
