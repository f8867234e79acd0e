"""The report's pictures, as SVG text to be put into a page. Colours are the dashboard's."""

import io
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from components.ledger.schema import VerdictRow
from components.report.facts import Curve, Score

INK, SOFT, LINE = "#1d2a24", "#5a675f", "#dedacb"
LEAF, BARK, SKY, SAND, OCHRE, RUST = "#1f7a4d", "#7a5c43", "#1f66b5", "#c9b48f", "#96650a", "#b3362b"
FATE_COLOURS = {"received": SKY, "refused": RUST, "admitted": SAND, "trained": "#7fb89a", "measured": LEAF}

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the reader's font
    "svg.hashsalt": "banyan",  # the same figures give the same file
    "text.parse_math": False,  # a label with a dollar sign is no formula
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#eeeae0",
}


def drawn(draw: Callable[[Any], None], *, width: float, height: float, label: str) -> str:
    """An `<svg>` element of the given size in inches, named `label` for those who do not see it."""
    import matplotlib  # 0.3 s
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a glyph its own font lacks; the reader's has it
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Title": label})
    text = file.getvalue()
    return text[text.index("<svg") :].replace("<svg", '<svg role="img"', 1)


def contest(scores: Sequence[tuple[str, Score, str]], *, metric: str, chance: float | None) -> str:
    """Bars of (name, score, colour) with 95 % intervals of the mean, top 3 as a mark, chance as a line."""

    def draw(axes: Any) -> None:
        places = range(len(scores))
        means = [score.accuracy for _, score, _ in scores]
        axes.barh(places, means, color=[colour for *_, colour in scores], height=0.62)
        errors = [1.96 * score.standard_error for _, score, _ in scores]
        axes.errorbar(means, places, xerr=errors, fmt="none", ecolor=INK, elinewidth=1, capsize=3)
        for place, (_, score, _) in zip(places, scores, strict=True):
            text = f"{score.accuracy:.1%}"
            if score.top3 is not None:
                axes.plot([score.top3], [place], marker="D", color=INK, markersize=5, linestyle="none")
                text += f" (top 3: {score.top3:.1%})"
            axes.text(1.03, place, text, va="center")
        if chance is not None:
            axes.axvline(chance, color=SOFT, linestyle="--", linewidth=1)
            axes.text(chance, -0.65, f"chance {chance:.1%}", color=SOFT, fontsize=8, va="bottom", ha="center")
        axes.set_yticks(places, [name for name, *_ in scores])
        axes.set_xlim(0, 1)
        axes.set_ylim(len(scores) - 0.4, -0.65)
        axes.set_xlabel(metric)
        axes.grid(visible=False, axis="y")
        _percent(axes)

    return drawn(draw, width=8.6, height=0.9 + 0.55 * len(scores), label=f"{metric} of each contestant")


def differences(rows: Sequence[tuple[str, VerdictRow]]) -> str:
    """Each comparison's difference with its interval, beside zero."""

    def draw(axes: Any) -> None:
        axes.axvline(0, color=INK, linewidth=1)
        for place, (_, row) in enumerate(rows):
            colour = {"promote": LEAF, "reject": RUST}.get(row.verdict, OCHRE)
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=3, solid_capstyle="butt")
            axes.plot([row.difference], [place], marker="o", color=colour, markersize=8)
            axes.text(1.02, place, row.verdict, va="center", color=colour, transform=axes.get_yaxis_transform())
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(f"difference in {rows[0][1].metric}")
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.08)

    return drawn(draw, width=8.6, height=0.9 + 0.45 * len(rows), label="What the gate compared")


def fates(counts: Mapping[str, int]) -> str:
    """One bar, as long as all feedback, in its rows' current fates."""

    def draw(axes: Any) -> None:
        left = 0
        for fate, count in counts.items():
            if count:
                axes.barh([0], [count], left=left, color=FATE_COLOURS.get(fate, SOFT), label=f"{fate} {count}")
                left += count
        axes.set_yticks([])
        axes.set_xlabel("feedback rows")
        axes.set_xlim(0, max(left, 1))
        axes.spines["left"].set_visible(False)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, frameon=False, borderaxespad=0.2)

    return drawn(draw, width=8.6, height=1.35, label="Feedback rows by current fate")


def by_label(before: Score, after: Score) -> str:
    """Each label's share of right answers, before and after."""

    def draw(axes: Any) -> None:
        old, new = (one.rows.groupby("target")["score"].mean() for one in (before, after))
        labels = sorted(set(old.index) | set(new.index), key=lambda label: -new.get(label, 0.0))
        for place, label in enumerate(labels):
            a, b = old.get(label, 0.0), new.get(label, 0.0)
            axes.annotate("", (b, place), (a, place), arrowprops={"arrowstyle": "-|>", "color": SOFT})
            axes.plot([a], [place], marker="o", color=SAND, markersize=7)
            axes.plot([b], [place], marker="o", color=LEAF, markersize=7)
        axes.plot([], [], marker="o", color=SAND, linestyle="none", label=f"v{before.version}")
        axes.plot([], [], marker="o", color=LEAF, linestyle="none", label=f"v{after.version}")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of this label's test rows that were answered right")
        _percent(axes)

    num_labels = before.rows["target"].nunique()
    return drawn(draw, width=8.6, height=1.2 + 0.3 * num_labels, label="Right answers by label, before and after")


def curve(found: Curve) -> str:
    """A metric over the steps of a training."""

    def draw(axes: Any) -> None:
        steps, values = zip(*found.points, strict=True)
        axes.plot(steps, values, color=BARK, marker="o", markersize=4)
        end = (steps[-1], values[-1])
        axes.annotate(f"{values[-1]:.2f}", end, (5, 0), textcoords="offset points", va="center")
        axes.set_xlabel("step")
        axes.set_ylabel(found.metric.replace("_", " "))
        axes.margins(x=0.08)

    return drawn(draw, width=5.2, height=2.6, label=f"{found.metric} of {found.model}")


def stages(seconds: Mapping[str, float]) -> str:
    """Where the time went: bars in order of time."""

    def draw(axes: Any) -> None:
        places = range(len(seconds))
        axes.barh(places, list(seconds.values()), color=BARK, height=0.6)
        for place, value in zip(places, seconds.values(), strict=True):
            axes.annotate(f"{value:.1f} s", (value, place), (5, 0), textcoords="offset points", va="center")
        axes.set_yticks(places, list(seconds))
        axes.set_ylim(len(seconds) - 0.4, -0.6)
        axes.set_xlabel("seconds")
        axes.margins(x=0.12)
        axes.grid(visible=False, axis="y")

    return drawn(draw, width=8.6, height=0.8 + 0.3 * len(seconds), label="Seconds by stage")


def _percent(axes: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
