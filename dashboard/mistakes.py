"""Answers row by row and figures on files, as parts of the models page."""

import streamlit as st

from dashboard import widgets
from dashboard.records import ModelVersion
from dashboard.state import read, stores, words
from dashboard.text import Words
from dashboard.viewmodels.mistakes import file_rows, mistakes_view, slices_of
from dashboard.viewmodels.shapes import metric_of, notice

COLUMNS = ("text", "target", "prediction", "score", "confidence")
FILE_COLUMNS = ("file", "version", "rows", "metric", "value", "interval", "champion", "baseline", "at")


@widgets.part
def panel(shown: ModelVersion, say: Words) -> None:
    """Both parts, of a version that answers a task."""
    if shown.task == "corpus":
        return
    _rows(shown)
    found = read(f"on files {shown.name}", "registry", lambda: stores().on_files(shown)).value
    if found:
        widgets.section(say("files.title"), say("files.lead"))
        heads = {name: say(f"files.column.{name}") for name in FILE_COLUMNS}
        lines = [{head: getattr(row, name) for name, head in heads.items()} for row in file_rows(found, say)]
        st.dataframe(lines, hide_index=True)


@st.fragment
def _rows(shown: ModelVersion) -> None:
    """Nothing is read before it is asked for: the rows are a file of the registry's, and a page is to be there soon."""
    say = words()
    widgets.section(say("mistakes.title"), say("mistakes.lead", model=f"{shown.table} v{shown.version}"))
    if not st.toggle(say("mistakes.open"), key=f"mistakes {shown.name}"):
        return
    rows = read(f"rows {shown.name} {shown.version}", "registry", lambda: stores().rows_measured(shown))
    widgets.box(notice(rows, say))
    if not rows.value:
        widgets.note(say("mistakes.none"))
        return
    names = {"": say("mistakes.all")} | slices_of(rows.value, say)
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        inside = st.selectbox(say("mistakes.slice"), list(names), format_func=names.__getitem__)
    with right:
        only = st.toggle(say("mistakes.only"), value=True)
    view = mistakes_view(rows.value, metric_of(shown), say, inside=inside, only_errors=only)
    widgets.note(view.told)
    if not view.has_texts:
        widgets.note(say("mistakes.no_texts"))
    heads = {name: say(f"mistakes.column.{name}") for name in COLUMNS if name != "text" or view.has_texts}
    wide = {heads[name]: st.column_config.TextColumn(width="large") for name in ("text",) if name in heads}
    lines = [{head: getattr(row, name) for name, head in heads.items()} for row in view.rows]
    st.dataframe(lines, hide_index=True, column_config=wide)
