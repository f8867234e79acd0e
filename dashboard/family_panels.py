"""Families side by side: what each costs, how well it predicts, what it writes."""

from collections.abc import Sequence
from html import escape

from dashboard import charts, widgets
from dashboard.live import follow
from dashboard.records import ModelVersion
from dashboard.state import read, stores, words
from dashboard.viewmodels.measured import MeasuredView, Point, measured


def sample_of(point: Point) -> str:
    """A family's best model and what it writes."""
    model = point.model
    sample = read(f"sample {model.name} {model.version}", "registry", lambda: stores().sample(model)).value
    text = f'<pre class="b-pre">{escape(sample)}</pre>' if sample else widgets.small(words()("evolution.sample.none"))
    return widgets.card(point.title, "", [point.said], foot=text)


def compared(models: Sequence[ModelVersion]) -> None:
    """What was measured here, family beside family."""
    say = words()
    costs = follow("costs", "ledger", stores().costs).value
    view = measured(models, costs, follow("data", "data", stores().data).value, say) if costs else MeasuredView((), 0)
    if not view.points:
        return
    widgets.section(say("evolution.measured"), say("evolution.measured.lead"))
    labels = {name: say(f"evolution.measured.{name}") for name in ("label", "x_label", "y_label")}
    widgets.picture(charts.scatter(view.points, ticks=say.duration, **labels), key="measured")
    if view.num_elsewhere:
        widgets.note(say("evolution.measured.elsewhere", count=view.num_elsewhere))
    widgets.cards((sample_of(point) for point in view.best), least=340)
