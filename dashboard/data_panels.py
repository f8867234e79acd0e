"""What the data page is made of, panel by panel; each fetches what it shows."""

from typing import TYPE_CHECKING

import streamlit as st

from dashboard import versions, widgets
from dashboard.live import proposed
from dashboard.records import DataState, DataVersion
from dashboard.state import read, stores
from dashboard.text import Words
from dashboard.versions import VersionFacts
from dashboard.viewmodels import versions as shown
from dashboard.viewmodels.data import DataView, label_of
from dashboard.viewmodels.shapes import notice

if TYPE_CHECKING:
    import altair as alt

HUES = ("#2f9e6d", "#3b82d6", "#d9822b", "#c2517d", "#8a63d2", "#1f9bab", "#b08d1e", "#d25543", "#7b8794", "#86a82c")
"""Legible on both grounds."""


@widgets.part
def timeline(state: DataState, say: Words) -> None:
    """The versions as a line through time."""
    widgets.section(say("data.time"), say("data.time.lead"))
    if grown := shown.growth(state.versions):
        st.altair_chart(growth(grown, say), width="stretch")
    widgets.lines(shown.line_of_versions(state.versions, say))


def growth(grown: shown.Growth, say: Words) -> "alt.Chart":
    """Rows of each table by version. A table with a single version is a dot; more tables than colours are dashed."""
    import altair as alt  # 0.3 s, and Streamlit's charts need it all the same

    when, rows = grown.when, grown.rows
    points = [
        {"version": version, "rows": count, "table": table, "again": place // len(HUES)}
        for place, (table, counts) in enumerate(rows.items())
        for version, count in zip(when, counts, strict=True)
    ]
    hues = [HUES[place % len(HUES)] for place in range(len(rows))]
    number = alt.Axis(labelAngle=0, labelExpr="split(datum.label, ' ')[0]", labelOverlap=True)
    chart: alt.Chart = (
        alt.Chart({"values": points}, height=440)  # with the legend beneath
        .mark_line(point=True)
        .encode(
            x=alt.X("version:O", title=say("data.version"), axis=number),
            y=alt.Y("rows:Q", title=say("data.rows")),
            color=alt.Color(
                "table:N",
                scale=alt.Scale(domain=list(rows), range=hues),
                legend=alt.Legend(orient="bottom", columns=3, title=None, symbolType="circle"),
            ),
            strokeDash=alt.StrokeDash("again:O", scale=alt.Scale(domain=[0, 1], range=[[1, 0], [4, 3]]), legend=None),
            tooltip=[
                alt.Tooltip("version:O", title=say("data.version")),
                alt.Tooltip("table:N", title=say("data.table")),
                alt.Tooltip("rows:Q", title=say("data.rows")),
            ],
        )
    )
    return chart


@widgets.part
def facts(version: DataVersion, say: Words) -> VersionFacts | None:
    """What its manifest and rejects say."""
    ask = stores().settings
    reading = read(f"data facts {version.version}", "data", lambda: versions.facts(ask, version.version))
    widgets.box(notice(reading, say))
    return reading.value


@widgets.part
def composition(view: DataView, about: VersionFacts | None, say: Words) -> None:
    """Table by table: by split, source, label and language."""
    widgets.section(say("data.tables"), say("data.table.lead"))
    for tab, table in zip(st.tabs([table.name for table in view.tables]), view.tables, strict=True):
        with tab:
            left, right = st.columns(2, gap="large")
            languages = shown.language_bars(about.languages.get(table.name, {}) if about else {}, say)
            with left:
                _titled(say("data.splits"), table.bars)
                _titled(say("data.by_language"), languages, otherwise=say("data.language.unknown"))
            with right:
                _titled(say("data.by_source"), table.sources)
                _titled(say("data.by_label"), table.labels, otherwise=say("data.no_labels"))


def _titled(title: str, bars: object, *, otherwise: str = "") -> None:
    widgets.note(title)
    widgets.bars(bars, otherwise=otherwise)  # type: ignore[arg-type]


@widgets.part
def rejects(view: DataView, about: VersionFacts | None, say: Words) -> None:
    """What was left out and why, with examples; and what was changed in passing."""
    widgets.section(say("data.rejects"))
    widgets.bars(view.rejects, otherwise=say("data.rejects.none"))
    if about is None:
        return
    if about.rejected:
        with st.expander(say("data.examples"), icon=":material/block:"):
            chosen = st.selectbox(
                say("data.examples.reason"), about.rejected, format_func=lambda one: shown.reason_label(one, say)
            )
            widgets.lines(shown.example_lines(chosen, say))
    if changed := shown.changed_bars(about.changed, say):
        widgets.section(say("data.changed"), say("data.changed.lead"))
        widgets.bars(changed)
    if about.added:
        widgets.section(say("data.added"), say("data.added.lead"))
        widgets.lines(shown.added_lines(about.added, say))


@widgets.part
def checks(view: DataView, version: DataVersion, about: VersionFacts | None, say: Words) -> None:
    """The suites' results, readable; and Great Expectations' own report."""
    widgets.section(say("data.checks"))
    widgets.status("ready" if view.is_checked else "empty", view.checks)
    done = about.checks if about else ()
    for table in shown.tables_checked(done):
        with st.expander(shown.suite_label(done, table, say)):
            widgets.lines(shown.suite_lines(done, table, say))
    if version.num_checks and not done:
        widgets.note(say("data.suite.none"))
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


@widgets.part
def difference(state: DataState, version: DataVersion, say: Words) -> None:
    """Any two versions side by side; at first the chosen one and the one that it grew from."""
    widgets.section(say("data.diff"), say("data.diff.lead"))
    if len(state.versions) < 2:
        widgets.note(say("data.diff.choose"))
        return
    known = {one.version: one for one in state.versions}
    parent = version.parent if version.parent in known else list(known)[-1]

    def label(one: str) -> str:
        return label_of(known[one], say)

    left, right = st.columns(2, gap="large")
    with left:
        key = proposed("version before", parent)
        before = st.selectbox(say("data.diff.before"), list(known), format_func=label, key=key)
    with right:
        key = proposed("version after", version.version)
        after = st.selectbox(say("data.diff.after"), list(known), format_func=label, key=key)
    ask = stores().settings
    reading = read(f"data diff {before} {after}", "data", lambda: versions.compare(ask, before, after))
    widgets.box(notice(reading, say))
    if reading.value is None:
        return
    if not reading.value:
        widgets.note(say("data.diff.same"))
    for card in shown.diff_cards(reading.value, say):
        with st.expander(card.title, expanded=True):
            widgets.note(card.same)
            widgets.bars(card.bars)
            widgets.lines(card.lines)
