"""What the models learn from: versions, rows, sources, what was left out, and the checks."""

import streamlit as st

from dashboard import widgets
from dashboard.records import DataVersion
from dashboard.state import read, stores, words
from dashboard.viewmodels.data import DataView, data_view, label_of
from dashboard.viewmodels.shapes import notice

say = words()


def tables(view: DataView) -> None:
    widgets.section(say("data.tables"), say("data.table.lead"))
    for tab, table in zip(st.tabs([table.name for table in view.tables]), view.tables, strict=True):
        with tab:
            left, right = st.columns(2, gap="large")
            with left:
                widgets.bars(table.bars)
            with right:
                widgets.bars(table.sources)


def checks(view: DataView, version: DataVersion) -> None:
    widgets.section(say("data.checks"))
    widgets.status("ready" if view.is_checked else "empty", view.checks)
    if version.docs is None:
        return
    pages = stores().report_pages(version.docs)
    if not pages:
        widgets.note(say("data.docs.missing"))
        return
    with st.expander(say("data.docs"), icon=":material/fact_check:"):
        page = st.selectbox(say("data.docs.page"), pages, format_func=lambda path: path.parts[-4])
        report = read(f"report {page}", "data", lambda: stores().report(page))
        widgets.box(notice(report, say))
        if report.value:
            st.iframe(report.value, height=560)


def show() -> None:
    widgets.heading(say("page.data"), say("data.lead"))
    reading = read("data", "data", stores().data)
    widgets.box(notice(reading, say))
    if reading.value is None:
        return
    if not reading.value.versions:
        widgets.empty(say, "data.empty")
        return
    version = st.selectbox(
        say("data.version"), reading.value.versions, format_func=lambda one: label_of(one, say), width=420
    )
    view = data_view(reading.value, version, say)
    widgets.box(view.failed)
    widgets.tiles(view.tiles)
    tables(view)
    widgets.section(say("data.rejects"))
    widgets.bars(view.rejects, otherwise=say("data.rejects.none"))
    checks(view, version)
    widgets.section(say("data.lineage"))
    widgets.facts(view.facts)


show()
