"""From NLP to pretraining: the family tree, and what of it this installation has grown."""

from html import escape

from dashboard import pictures, widgets
from dashboard.state import read, stores, words
from dashboard.viewmodels.evolution import FamilyCard, evolution
from dashboard.viewmodels.shapes import notice


def card(shown: FamilyCard) -> str:
    if shown.is_foundation:
        foot = widgets.small(shown.status)
    else:
        foot = widgets.state("ready" if shown.is_grown else "empty", shown.status)
    paper = f'<p><a href="{escape(shown.paper_url)}" target="_blank">{escape(shown.paper)}</a></p>'
    return widgets.card(shown.title, shown.year, [shown.meaning], foot=paper + foot)


def show() -> None:
    say = words()
    widgets.heading(say("page.evolution"), say("evolution.lead"))
    models = read("models", "registry", stores().models)
    widgets.box(notice(models, say))
    view = evolution(models.value or (), say)
    if view.is_empty and not models.is_failed:
        widgets.empty(say, "evolution.none")
    widgets.picture(pictures.tree(view.tree), key="tree")
    widgets.section(say("evolution.families"))
    widgets.cards((card(shown) for shown in view.cards), least=340)


show()
