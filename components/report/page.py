"""The report as one self-contained HTML file: no script, no font and no picture from elsewhere."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from components.evaluation.cost import CostPair, ModelCost
from components.feedback.rater import NAME as RATER
from components.ledger.schema import VerdictRow
from components.registry import PREFIX
from components.report import pictures
from components.report.facts import Facts, Score, collect, demo_figures
from components.settings import Settings

STYLE = """
:root { color-scheme: light; }
body { background: #fbfaf6; color: #1d2a24; font: 16px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 60rem;
  padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { border-top: 1px solid #dedacb; font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: 1.25rem; }
p { margin: .5rem 0; max-width: 46rem; } .soft { color: #5a675f; }
.verdict { border-left: .4rem solid #8b958e; background: #fff; margin: 1.25rem 0; padding: .9rem 1.2rem; }
.verdict strong { display: block; font-size: 1.3rem; }
.promote { border-color: #1f7a4d; } .reject { border-color: #b3362b; } .inconclusive { border-color: #c9b48f; }
figure { margin: 1rem 0; overflow-x: auto; } svg { height: auto; max-width: 100%; }
table { border-collapse: collapse; display: block; font-size: .92rem; margin: .75rem 0; overflow-x: auto; }
th, td { border-bottom: 1px solid #dedacb; padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; }
th { color: #5a675f; font-weight: 600; } td.n, th.n { font-variant-numeric: tabular-nums; text-align: right; }
code { font-size: .9em; overflow-wrap: anywhere; } a { color: #1f66b5; }
"""


def report(settings: Settings, *, table: str, path: Path, run_id: str | None = None) -> dict[str, Any]:
    """Write the page at `path` (whole or not at all), and give the figures that `DEMO_JSON` gets.

    Raises:
        as `collect`; OSError when `path` cannot be written.
    """
    facts = collect(settings, table=table, run_id=run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(page(facts), "utf-8")
    beside.replace(path)
    return demo_figures(facts)


def page(facts: Facts) -> str:
    """The whole page."""
    parts = [
        _opening(facts),
        _contest(facts),
        _feedback(facts),
        _others(facts),
        _data(facts),
        _time(facts),
        _journal(facts),
        _where(facts),
    ]
    title = f"Banyan: one turn of the loop on {facts.table}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(filter(None, parts)) + "\n</body></html>\n"
    )


# ---------------------------------------------------------------- the parts


def _opening(facts: Facts) -> str:
    version = facts.data[0].ref.version if facts.data else None
    made = facts.data[0].created_at.strftime("%Y-%m-%d %H:%M UTC") if facts.data else ""
    lead = (
        f"The loop, turned once on the table <b>{escape(facts.table)}</b>"
        + (f", data version <code>{version}</code> of {made}" if version else "")
        + ". Every figure here was read from the stores: the registry, the ledger and the data versions."
    )
    promoted = facts.verdict is not None and facts.verdict.verdict == "promote"
    title = "Feedback became a better model" if promoted else "One turn of the loop"
    return f"<h1>{title}</h1><p class=soft>{lead}</p>" + _result(facts)


def _result(facts: Facts) -> str:
    before, after, verdict = facts.champion_before, facts.champion_after, facts.verdict
    if before is None or after is None:
        return _box("inconclusive", "There is no champion", "Nothing has passed the gate yet.")
    if verdict is None:
        text = f"Version {after.version} answers, with {_share(after.accuracy)}. Nothing has challenged it yet."
        return _box("inconclusive", f"Champion v{after.version}", text)
    span = (
        f"{_points(verdict.difference)} ({_level(verdict)} interval {_points(verdict.low)} to {_points(verdict.high)}, "
        f"paired on {verdict.num_examples} examples that no training has seen)"
    )
    if verdict.verdict == "promote":
        text = f"Version {verdict.model_version}, trained from the base weights with the feedback, is better by {span}."
        if after.version != verdict.model_version:
            text += f" Since then version {after.version} has taken its place."
    elif verdict.verdict == "reject":
        text = f"Version {verdict.model_version} is not better: {span}. Version {after.version} goes on answering."
    else:
        more = f" About {verdict.num_more_needed} more examples would decide." if verdict.num_more_needed else ""
        text = f"Version {verdict.model_version} cannot be told from version {verdict.against_version}: {span}.{more}"
    gain = f"{_share(before.accuracy)} → {_share(after.accuracy)}"
    return _box(verdict.verdict, f"{verdict.verdict.capitalize()}: {facts.metric} {gain}", text)


def _contest(facts: Facts) -> str:
    contestants = _contestants(facts)
    if not contestants:
        return ""
    parts = [
        "<h2>Who is better, and by how much</h2>",
        "<p>On the test split, which shares neither a text nor a source file with what any model was trained on. "
        "Lines: 95% intervals of each mean"
        + ("; diamonds: the right label is among the first three" if facts.chance else "")
        + ".</p>",
        _figure(pictures.contest(contestants, metric=facts.metric, chance=facts.chance)),
    ]
    if facts.control:
        parts.append(
            "<p class=soft>The control is trained on as many random labelled rows as feedback rows were admitted. What "
            "it gains, more labels of any kind gain; the gate never promotes it.</p>"
        )
    if facts.verdicts:
        controls = {facts.control.version} if facts.control else set()
        named = [(_comparison(row, controls), row) for row in facts.verdicts]
        parts.append("<p>The gate compares row by row, so what is hard for both sides cancels out:</p>")
        parts.append(_figure(pictures.differences(named)))
    if facts.cost and facts.verdict:
        parts.append(_costs(facts.cost, facts.verdict))
    before, after = facts.champion_before, facts.champion_after
    if facts.chance and before and after and before.version != after.version:
        parts.append(_figure(pictures.by_label(before, after)))
    parts.append(
        "<p class=soft>The base weights were pretrained in public on text that may hold these very sources. That "
        "raises all models here alike; the comparison between them stands.</p>"
    )
    return "".join(parts)


def _costs(cost: CostPair, verdict: VerdictRow) -> str:
    """What both models take, as a table; a measure that neither has is left out."""

    def cell(model: ModelCost | None, name: str, say: Callable[[float], str]) -> str:
        value = getattr(model, name) if model else None
        return "–" if value is None else say(value)

    measures: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("Time per answer", "seconds_per_example", lambda value: f"{1000 * value:.1f} ms"),
        ("Training, processor time", "cpu_seconds", lambda value: f"{value:.0f} s"),
        ("Training, energy", "energy_joules", lambda value: f"{value / 3600:.3g} Wh"),
        ("Training, money", "money", lambda value: f"{value:.2g} {cost.currency}".strip()),
        ("Weights on disk", "weight_bytes", lambda value: f"{value / 1e6:.1f} MB"),
    )
    rows = [(label, cell(cost.challenger, name, say), cell(cost.champion, name, say)) for label, name, say in measures]
    against = f"v{verdict.against_version}" if cost.champion else "baseline"
    note = f" Timed on {cost.num_timed} test rows on the machine that judged." if cost.num_timed else ""
    return (
        _table(
            ("What they take", f"#v{verdict.model_version}", f"#{against}"),
            [row for row in rows if set(row[1:]) != {"–"}],
        )
        + f"<p class=soft>Beside the verdict; it decides nothing.{note}</p>"
    )


def _contestants(facts: Facts) -> list[tuple[str, Score, str]]:
    found: list[tuple[str, Score, str]] = []
    if facts.baseline:
        found.append((f"Plain baseline\n{facts.baseline.version}", facts.baseline, pictures.SAND))
    if facts.champion_before:
        found.append((f"Champion before, v{facts.champion_before.version}", facts.champion_before, "#7fb89a"))
    if facts.control:
        found.append((f"Control, v{facts.control.version}", facts.control, pictures.SKY))
    after = facts.champion_after
    if after and (facts.champion_before is None or after.version != facts.champion_before.version):
        found.append((f"Champion after, v{after.version}", after, pictures.LEAF))
    return found


def _comparison(row: VerdictRow, controls: Iterable[object]) -> str:
    role = "control v" if row.model_version in controls else "v"
    other = "the plain baseline" if row.against == "baseline" else f"v{row.against_version}"
    return f"{role}{row.model_version} − {other}"


def _feedback(facts: Facts) -> str:
    if not facts.num_feedback:
        return "<h2>What became of the feedback</h2><p>None has been given yet.</p>"
    kinds = ", ".join(f"{count} × {kind}" for kind, count in sorted(facts.kinds.items()))
    answers = ", ".join(f"{count} by v{version}" for version, count in facts.num_answers.items())
    parts = [
        "<h2>What became of the feedback</h2>",
        f"<p>{sum(facts.num_answers.values())} answers were given ({answers}), and {facts.num_feedback} of them rated "
        f"({kinds}). In a demo the ratings are those of the <b>{RATER.replace('-', ' ')}</b>: a program that replays "
        "held-back labelled rows, silent on some and wrong on a few on purpose. It is no person.</p>",
        _figure(pictures.fates(facts.fates)),
    ]
    if facts.refusals:
        parts.append(_table(("Refused because", "#Rows"), facts.refusals.items()))
    if facts.corrected_now_right is not None:
        parts.append(
            f"<p>Of the answers that were corrected and trained on, the new model gets "
            f"<b>{_share(facts.corrected_now_right)}</b> right. It has seen those rows: this says that feedback "
            "arrives. That the model became better, the test split alone says.</p>"
        )
    rows = [
        (row.text, row.output, row.correction or "", (fate.effect or {}).get("output_after", ""))
        for row, fate in facts.effects
    ]
    if rows:
        parts.append(_table(("Asked", "Answer then", "Correction", "Answer now"), rows))
    return "".join(parts)


def _others(facts: Facts) -> str:
    if not facts.others and not facts.curves:
        return ""
    rows = []
    for info in facts.others:
        shown = {k: v for k, v in info.metrics.items() if k not in {"num_examples", "standard_error"}}
        figures = ", ".join(f"{name} {value:.3f}" for name, value in sorted(shown.items()))
        champion = "champion" if "champion" in info.aliases else "—"
        rows.append((f"{info.ref.name} v{info.ref.version}", info.task, figures, champion))
    table = _table(("Model", "Task", "Figures", "Serving"), rows) if rows else ""
    drawn = "".join(_figure(pictures.curve(one)) for one in facts.curves)
    text = "<p>Pretraining from scratch, on text held out from it:</p>" if drawn else ""
    return f"<h2>The other models</h2>{table}{text}{drawn}"


def _data(facts: Facts) -> str:
    if not facts.data:
        return ""
    newest = facts.data[0]
    splits = sorted({split for table in newest.rows.values() for split in table})
    rows = [
        (table, *(found[split].total if split in found else "" for split in splits))
        for table, found in sorted(newest.rows.items())
    ]
    built = next((one for one in facts.data if one.rejects), newest)  # one that only admits feedback drops nothing
    dropped = Counter[str]()
    for reasons in built.rejects.values():
        dropped.update(reasons)
    versions = [
        (one.ref.version, one.name, one.created_at.strftime("%H:%M:%S"), one.num_checks, one.parent or "—")
        for one in facts.data
    ]
    return (
        "<h2>The data</h2><p>Rows by table and split:</p>"
        + _table(("Table", *(f"#{split}" for split in splits)), rows)
        + (_table(("Dropped because", "#Rows"), dropped.most_common()) if dropped else "")
        + "<p>Versions, newest first; each passed its checks before it became one:</p>"
        + _table(("Version", "Made by", "At (UTC)", "#Checks", "After"), versions)
    )


def _time(facts: Facts) -> str:
    if not facts.stages:
        return ""
    total = sum(facts.stages.values())
    return f"<h2>Where the time went</h2><p>{total:.0f} seconds in all.</p>" + _figure(pictures.stages(facts.stages))


def _journal(facts: Facts) -> str:
    rows = [
        (
            datetime.fromtimestamp(entry.at, UTC).strftime("%H:%M:%S"),
            entry.name.removeprefix(PREFIX),
            entry.action,
            f"v{entry.from_version}" if entry.from_version else "—",
            f"v{entry.to_version}",
            entry.actor,
            entry.hash[:12],
        )
        for entry in facts.journal
        if entry.state == "done"
    ]
    if not rows:
        return ""
    head = ("At (UTC)", "Table", "Move", "From", "To", "By", "Link")
    return "<h2>The journal</h2><p>Every move of <code>champion</code>, hash-chained:</p>" + _table(head, rows)


def _where(facts: Facts) -> str:
    if not facts.urls:
        return ""
    links = [f'<li>{escape(name)}: <a href="{escape(url)}">{escape(url)}</a></li>' for name, url in facts.urls.items()]
    return f"<h2>Where to look, while the stack is up</h2><ul>{''.join(links)}</ul>"


# ---------------------------------------------------------------- pieces


def _box(kind: str, title: str, text: str) -> str:
    return f'<div class="verdict {kind}"><strong>{escape(title)}</strong>{escape(text)}</div>'


def _figure(svg: str) -> str:
    return f"<figure>{svg}</figure>"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns whose head begins with # hold numbers."""
    classes = [' class="n"' if name.startswith("#") else "" for name in head]
    top = "".join(f"<th{c}>{escape(name.removeprefix('#'))}</th>" for name, c in zip(head, classes, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{c}>{escape(str(cell))}</td>" for cell, c in zip(row, classes, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _level(verdict: VerdictRow) -> str:
    return f"{verdict.policy.get('confidence_level', 0.95):.0%}"


def _share(value: float) -> str:
    return f"{value:.1%}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"
