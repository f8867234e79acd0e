"""From NLP to pretraining: the family tree, and what of it this installation has grown."""

from html import escape

import streamlit as st

from dashboard import charts, family_panels, pictures, widgets
from dashboard.live import follow
from dashboard.state import stores, words
from dashboard.text import Words
from dashboard.viewmodels.curves import curves
from dashboard.viewmodels.evolution import FamilyCard, evolution
from dashboard.viewmodels.shapes import notice


def card(shown: FamilyCard) -> str:
    if shown.is_foundation:
        foot = widgets.small(shown.status)
    else:
        foot = widgets.state("ready" if shown.is_grown else "empty", shown.status)
    paper = f'<p><a href="{escape(shown.paper_url)}" target="_blank">{escape(shown.paper)}</a></p>'
    return widgets.card(shown.title, shown.year, [shown.meaning], foot=paper + foot)


def panels_of_pretraining(say: Words, *, is_down: bool) -> None:
    finding = follow("label efficiency", "registry", lambda: stores().finding("label-efficiency")).value or {}
    shown = curves(finding, say)
    if is_down and not shown:  # the page says that nobody answers: no place to say that something was not measured
        return
    widgets.section(say("curves.title"), say("curves.lead", seeds=finding.get("seeds", "–")) if shown else "")
    if not shown:
        widgets.empty(say, "curves.none")
    for left, right in zip(shown[::2], shown[1::2], strict=True):
        for one, place in zip((left, right), st.columns(2, gap="large"), strict=True):
            with place:
                widgets.note(one.title)
                markup = charts.curves(one, x_label=say("curves.rows"), y_label=say("curves.accuracy"))
                widgets.picture(markup, key=f"curves {one.title}")
                st.html(charts.table(one.heads, one.rows))


def show() -> None:
    say = words()
    widgets.heading(say("page.evolution"), say("evolution.lead"))
    models = follow("models", "registry", stores().models)
    widgets.box(notice(models, say))
    view = evolution(models.value or (), say)
    if view.is_empty and not models.is_failed:
        widgets.empty(say, "evolution.none")
    widgets.picture(pictures.tree(view.tree), key="tree")
    family_panels.compared(models.value or ())
    panels_of_pretraining(say, is_down=models.is_failed)
    widgets.section(say("evolution.families"))
    widgets.cards((card(shown) for shown in view.cards), least=340)


show()
