"""One application's models: the champion, how good it is, why it was chosen, where it comes from."""

import streamlit as st

from dashboard import evidence, mistakes, widgets
from dashboard.live import follow
from dashboard.state import read, stores, words
from dashboard.viewmodels.models import ModelsView, models_view, names
from dashboard.viewmodels.shapes import notice

say = words()


def verdict(view: ModelsView) -> None:
    widgets.section(say("models.verdict"))
    if view.verdict is None:
        widgets.note(say("models.verdict.none"))
        return
    shown = view.verdict
    said = [part for part in (shown.detail, shown.more, shown.since) if part]
    widgets.cards([widgets.card(shown.title, shown.against, said)])
    widgets.interval(shown.interval)


@widgets.part
def versions(view: ModelsView) -> None:
    widgets.section(say("models.versions"))
    columns = ("version", "role", "score", "data", "trained")
    rows = [{say(f"models.column.{name}"): getattr(row, name) for name in columns} for row in view.versions]
    for row, shown in zip(rows, view.versions, strict=True):
        row[say("models.column.link")] = shown.url
    link = st.column_config.LinkColumn(display_text=":material/open_in_new:", width="small")
    st.dataframe(rows, hide_index=True, column_config={say("models.column.link"): link})


def show() -> None:
    widgets.heading(say("page.models"), say("models.lead"))
    models, ledger = follow("models", "registry", stores().models), follow("ledger", "ledger", stores().ledger)
    for reading in (models, ledger):
        widgets.box(notice(reading, say))
    if models.value is None:
        return
    if not models.value:
        widgets.empty(say, "models.empty")
        return
    name = st.segmented_control(
        say("models.choose"), names(models.value), default=names(models.value)[0], required=True,
        format_func=lambda known: known.removeprefix("banyan-"), label_visibility="collapsed",
        key="models of",
    )  # fmt: skip
    view = models_view(models.value, ledger.value, name, say)
    left, right = st.columns([3, 2], gap="large")
    with left:
        widgets.section(say("models.compare", metric=view.metric))
        widgets.note(say("models.compare.lead.lower" if view.is_lower_better else "models.compare.lead"))
        widgets.bars(view.bars)
    with right:
        verdict(view)
    with st.container():
        if view.champion is None:
            widgets.status("waiting", say("models.no_champion"))
        if ledger.value is not None:
            evidence.gate(view, models.value, ledger.value, say)
    versions(view)
    mistakes.panel(view.shown, say)
    evidence.parity(view.shown, say)
    evidence.journal(view, ledger.value, say)
    widgets.section(say("models.lineage", model=view.lineage_of))
    data = follow("data", "data", stores().data)
    evidence.lineage([one for one in models.value if one.name == name], view.shown, data.value, ledger.value, say)
    with st.expander(say("lineage.details"), icon=":material/fingerprint:"):
        widgets.facts(view.lineage)
    card = read(f"card {view.shown.name} {view.shown.version}", "registry", lambda: stores().card(view.shown)).value
    if card:
        with st.expander(say("models.card"), icon=":material/description:"):
            st.markdown(card)


show()
