"""What it costs: compute, energy, money; per training and per accepted point; plan against actual."""

import streamlit as st

from dashboard import charts, people, widgets
from dashboard.live import follow
from dashboard.state import stores, words
from dashboard.viewmodels.cost import CostView, cost_view
from dashboard.viewmodels.shapes import notice

say = words()
MODELS = ("model", "trainings", "time", "energy", "money", "points", "per_point")
RUNS = ("model", "when", "time", "memory", "energy", "source", "money")
PLANS = ("recipe", "plan", "actual", "ratio", "energy")


def table(columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...], *, numeric_from: int = 1) -> None:
    st.html(charts.table([say(f"cost.column.{name}") for name in columns], rows, numeric_from=numeric_from))


def spending(view: CostView) -> None:
    widgets.section(say("cost.models"), say("cost.models.lead"))
    table(MODELS, view.models)
    widgets.note(view.money_note)
    widgets.section(say("cost.runs"))
    table(RUNS, view.runs, numeric_from=2)
    if view.num_more:
        widgets.note(say("cost.runs.more", count=say.number(view.num_more)))
    widgets.note(view.energy_note)


def show() -> None:
    widgets.heading(say("page.cost"), say("cost.lead"))
    costs = follow("costs", "ledger", stores().costs)
    models = follow("models", "registry", stores().models)
    ledger = follow("ledger", "ledger", stores().ledger)
    for reading in (costs, models):
        widgets.box(notice(reading, say))
    if costs.value is None:
        return
    view = cost_view(costs.value, models.value or (), ledger.value, say)
    if view.is_empty:
        widgets.empty(say, "cost.empty")
    else:
        widgets.tiles(view.tiles)
        spending(view)
    left, right = st.columns(2, gap="large")
    with left:
        widgets.section(say("cost.stages"))
        widgets.bars(view.stages, otherwise=say("cost.stages.none"))
    with right:
        widgets.section(say("cost.plans"))
        if view.plans:
            table(PLANS, view.plans)
        else:
            widgets.note(say("cost.plans.none"))
    widgets.section(say("actions.title"), say("actions.lead"))
    people.actions(say)


show()
