"""What the data page says of documents: what they say to a query, and the graph of what they speak of."""

import streamlit as st

from dashboard import charts, documents, widgets
from dashboard.live import follow
from dashboard.records import StoreError
from dashboard.state import stores
from dashboard.text import Words
from dashboard.viewmodels.shapes import Box


@widgets.part
def panel(say: Words) -> None:
    """Search, and the knowledge graph."""
    settings = stores().settings
    known = documents.graphs(settings)
    follow("graphs", "data", lambda: documents.graphs(settings))
    widgets.section(say("documents.title"), say("documents.lead"))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        query = st.text_input(say("documents.query"), key="documents query").strip()
        graph = st.selectbox(say("documents.graph"), known, width=260, key="documents graph") if known else ""
    try:
        if query:
            with st.spinner(say("documents.waiting")):
                _hits(documents.search(settings, query, graph=graph or ""), say)
        _drawn(graph or "", say)
    except StoreError as err:
        widgets.box(Box("failed", say("documents.failed"), str(err)))


def _hits(hits: documents.Hits, say: Words) -> None:
    if not hits.found:
        widgets.note(say("documents.nothing"))
    for place, hit in enumerate(hits.found):
        widgets.note(f"{place + 1}. {hit.document}")
        st.text(" ".join(hit.sentence.split()))
        with st.expander(say("documents.passage"), icon=":material/description:"):
            st.text(hit.text)
    for document, shared in hits.related:
        widgets.note(say("documents.related", document=document, shared=shared))


def _drawn(graph: str, say: Words) -> None:
    widgets.section(say("documents.drawn"))
    if not graph:
        widgets.empty(say, "documents.none")
        return
    entity = st.text_input(say("documents.entity"), key="documents entity").strip()
    shown = documents.drawn(stores().settings, graph, entity=entity)
    counts = {"entities": say.number(shown.num_entities), "relations": say.number(shown.num_relations)}
    widgets.note(say("documents.counts", **counts))
    if not shown.relations:
        widgets.note(say("documents.unknown", entity=entity))
        return

    def named(kind: str) -> str:
        return say(f"relation.{kind}")

    st.graphviz_chart(documents.dot(shown, centre=entity, named=named), width="stretch")
    heads = tuple(say(f"documents.column.{name}") for name in ("relation", "sentence", "document"))
    rows = [
        (f"{shown.names[one.subject]} → {named(one.type)} → {shown.names[one.object]}", one.sentence[:160],
         one.document)
        for one in shown.relations
    ]  # fmt: skip
    with st.expander(say("documents.support"), icon=":material/format_quote:"):
        st.html(charts.table(heads, rows, numeric_from=9))
