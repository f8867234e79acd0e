"""The gate's evidence, the journal and the lineage, as parts of the models page."""

import streamlit as st

from dashboard import charts, people, widgets
from dashboard.live import follow, proposed
from dashboard.records import DataState, LedgerState, ModelVersion
from dashboard.state import read, stores
from dashboard.text import Words
from dashboard.viewmodels.evidence import EvidenceView, choices, evidence_view, look_of
from dashboard.viewmodels.lineage import lineage_view
from dashboard.viewmodels.models import ModelsView, earlier_champions
from dashboard.viewmodels.parity import COLUMNS, parity_rows
from dashboard.viewmodels.shapes import SHARES, notice

TABS = ("both", "slices", "calibration", "stream", "robust")


@widgets.part
def gate(view: ModelsView, models: tuple[ModelVersion, ...], ledger: LedgerState, say: Words) -> None:
    """One comparison, with all that was found in it."""
    name = view.shown.name
    shown = choices(ledger.verdicts, name, say)
    widgets.section(say("gate.title"), say("gate.lead"))
    if not shown:
        widgets.note(say("models.verdict.none"))
        return
    looks = follow(f"looks {name}", "ledger", lambda: stores().looks(name))
    widgets.box(notice(looks, say))
    newest = next((key for key, row in shown.items() if look_of(row, looks.value or ())), next(iter(shown)))
    chosen = st.selectbox(say("gate.choose"), list(shown), width=520, key=proposed(f"gate {name}", newest))
    row = shown[chosen]
    found = evidence_view(row, looks.value or (), models, say)
    by_version = {model.version: model for model in models if model.name == name}
    tabs = dict(zip(TABS, st.tabs([say(f"gate.tab.{tab}") for tab in TABS]), strict=True))
    with tabs["both"]:
        _both(found, say)
    with tabs["slices"]:
        if found.slices:
            st.html(charts.forest(found.slices))
        widgets.note(found.slices_note)
    with tabs["calibration"]:
        challenger, against = by_version.get(row.model_version), by_version.get(row.against_version)
        _calibration(found, challenger, against if row.against == "champion" else None, say)
    with tabs["stream"]:
        _stream(found, row.metric, say)
    with tabs["robust"]:
        _robust(found, say)


def _both(found: EvidenceView, say: Words) -> None:
    widgets.interval(found.verdict.interval)
    widgets.note(" · ".join(part for part in (found.verdict.detail, found.decided, found.verdict.more) if part))
    if found.sides:
        heads = (say("gate.measure"), found.challenger, found.against, say("gate.difference"))
        st.html(charts.sides(found.sides, heads=heads, better=say("gate.better"), worse=say("gate.worse")))
    else:
        widgets.note(say("gate.sides.none"))
    if found.reason:
        widgets.note(f"{say('gate.reason')}: {found.reason}")


def _calibration(
    found: EvidenceView, challenger: ModelVersion | None, against: ModelVersion | None, say: Words
) -> None:
    if not found.calibration or challenger is None:
        widgets.note(say("gate.calibration.none"))
        return
    store, series = stores(), []
    mine = read(f"bins {challenger.name} {challenger.version}", "registry", lambda: store.reliability(challenger))
    if mine.value:
        series.append(("a", found.challenger, mine.value))
    if against:
        its = read(f"bins {against.name} {against.version}", "registry", lambda: store.reliability(against))
    else:
        key = f"bins of baseline {challenger.name} {challenger.version}"
        its = read(key, "registry", lambda: store.reliability_of_baseline(challenger))
    if its.value:
        series.append(("b", found.against, its.value))
    left, right = st.columns(2, gap="large")
    with left:
        if series:
            label, x, y = (say(f"gate.calibration.{part}") for part in ("picture", "x", "y"))
            markup = charts.reliability(series, label=label, x_label=x, y_label=y)
            widgets.picture(markup, key="reliability")
    with right:
        heads = (say("gate.measure"), found.challenger, found.against, say("gate.difference"))
        st.html(charts.sides(found.calibration, heads=heads, better=say("gate.better"), worse=say("gate.worse")))
        if found.brier:
            widgets.note(say("gate.brier"))
            widgets.interval(found.brier)
        widgets.note(say("gate.calibration.note"))


def _stream(found: EvidenceView, metric: str, say: Words) -> None:
    if found.stream is None:
        widgets.note(say("gate.stream.none"))
        return
    unit = 100.0 if metric in SHARES else 1.0
    label, error = say("gate.stream.picture"), say("gate.stream.level")
    widgets.picture(charts.looks(found.stream, label=label, error_label=error, unit=unit), key="looks")
    st.progress(found.stream.share, text=found.stream.budget)
    if found.stream.spent:
        widgets.note(found.stream.spent)


def _robust(found: EvidenceView, say: Words) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        widgets.section(say("gate.seeds"))
        if found.seeds:
            widgets.interval(found.seeds)
        widgets.note(found.seeds_note)
        if found.speed:
            widgets.section(say("gate.probe.time"))
            widgets.bars(found.speed)
    with right:
        widgets.section(say("gate.probe"))
        widgets.bars(found.probe, otherwise=found.probe_note)
        if found.probe:
            widgets.note(found.probe_note)


@widgets.part
def parity(shown: ModelVersion, say: Words) -> None:
    """Each engine that was held against the version's trainer."""
    widgets.section(say("parity.title"), say("parity.lead"))
    found = read(f"parity {shown.name} {shown.version}", "registry", lambda: stores().parity(shown))
    widgets.box(notice(found, say))
    rows = parity_rows(found.value or {}, say)
    if not rows:
        widgets.note(say("parity.none"))
        return
    heads = {name: say(key) for name, key in COLUMNS.items() if name != "problem" or any(row.problem for row in rows)}
    st.dataframe([{head: getattr(row, name) for name, head in heads.items()} for row in rows], hide_index=True)


@widgets.part
def journal(view: ModelsView, ledger: LedgerState | None, say: Words) -> None:
    """The champion's moves down a line, and the way back for operators."""
    widgets.section(say("models.journal"))
    if view.moves:
        st.html(charts.timeline(view.moves))
    else:
        widgets.note(say("models.journal.empty"))
    if view.champion:
        people.rollback(view.champion, earlier_champions(ledger, view.champion), say)


@widgets.part
def lineage(
    mine: list[ModelVersion], shown: ModelVersion, data: DataState | None, ledger: LedgerState | None, say: Words
) -> None:
    """Any version: back to what it was made of, forward to its answers."""
    known = {one.version: one for one in mine}
    chosen = known[
        st.selectbox(
            say("lineage.choose"),
            list(known),
            width=260,
            format_func=lambda version: say("version", version=version),
            key=proposed(f"lineage {shown.name}", shown.version if shown in mine else mine[0].version),
        )
    ]
    key = f"answers {chosen.name} {chosen.version}"
    answers = follow(key, "ledger", lambda: stores().answered_by(chosen))
    view = lineage_view(chosen, data=data, ledger=ledger, answers=answers.value or (), words=say)
    st.html(charts.lineage(view))
    if view.said:
        widgets.section(say("lineage.newest"))
        widgets.lines(view.said)
