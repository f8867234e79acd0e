"""From any version back to its data, recipe, parent and code, and forward to what it has answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from components.ledger.schema import Answer
from dashboard.records import DataState, LedgerState, ModelVersion
from dashboard.text import Words
from dashboard.viewmodels.shapes import Line, short


@dataclass(frozen=True)
class LineageNode:
    kind: str
    title: str
    digest: str = ""
    lines: tuple[str, ...] = ()
    href: str = ""
    """A page of ours that says more."""


@dataclass(frozen=True)
class LineageView:
    label: str
    made_of: tuple[LineageNode, ...]
    version: LineageNode
    answers: LineageNode
    said: tuple[Line, ...]


def lineage_view(
    model: ModelVersion,
    *,
    data: DataState | None,
    ledger: LedgerState | None,
    answers: Sequence[Answer],
    words: Words,
) -> LineageView:
    """`answers`: the newest of this very version."""
    activity = next((table for table in ledger.tables if table.table == model.table), None) if ledger else None
    count = activity.answers_by_version.get(model.version, 0) if activity else 0
    return LineageView(
        label=words("models.lineage", model=f"{model.table} v{model.version}"),
        made_of=(_data(model, data, words), _recipe(model, words), _parent(model, words), _code(model, words)),
        version=LineageNode(
            words("lineage.version"),
            f"{model.table} v{model.version}",
            short(model.weights_sha256),
            tuple(line for line in (words.moment(model.created_at), _lock(model, words)) if line),
        ),
        answers=LineageNode(
            words("lineage.answers"),
            words.number(count),
            "",
            (words("lineage.answers.note") if count else words("lineage.answers.none"),),
        ),
        said=tuple(_said(answer, words) for answer in answers),
    )


def _data(model: ModelVersion, data: DataState | None, words: Words) -> LineageNode:
    version = model.tags.get("banyan.data_version", "")
    known = next((one for one in data.versions if one.version == version), None) if data else None
    rows = known.rows.get(_table(model), {}) if known else {}
    lines = [words("lineage.rows", rows=words.counted("row", rows["train"]))] if "train" in rows else []
    if model.metrics.get("num_rows"):
        lines = [words("lineage.rows", rows=words.counted("row", int(model.metrics["num_rows"])))]
    href = "data?" + urlencode({"version": version, "lang": words.language}) if known else ""
    return LineageNode(
        words("models.lineage.data"), known.name if known else words("tile.unknown"), short(version), tuple(lines), href
    )


def _table(model: ModelVersion) -> str:
    return str(model.recipe.get("table") or model.table)


def _recipe(model: ModelVersion, words: Words) -> LineageNode:
    name = str(model.recipe.get("name") or words("tile.unknown"))
    length = model.recipe.get("num_steps"), model.recipe.get("num_epochs")
    lines = [words("lineage.steps", count=length[0])] if length[0] else []
    lines += [words("lineage.epochs", count=f"{length[1]:g}")] if length[1] else []
    lines += [words("lineage.seed", seed=model.recipe["seed"])] if "seed" in model.recipe else []
    digest = short(model.tags.get("banyan.recipe_sha256", ""))
    return LineageNode(words("lineage.recipe"), name, digest, tuple(lines))


def _parent(model: ModelVersion, words: Words) -> LineageNode:
    base, family = model.recipe.get("base"), model.recipe.get("family")
    if base and base != "fresh":
        key = (
            "lineage.parent.own" if "@" in str(base) else "lineage.parent.base"
        )  # a version of a model that was made here
        return LineageNode(words("lineage.parent"), str(base), "", (words(key),))
    family = family or (model.recipe.get("fresh") or {}).get("family")
    title = str(family or words("tile.unknown"))
    return LineageNode(words("lineage.parent"), title, "", (words("lineage.parent.none"),) if family else ())


def _code(model: ModelVersion, words: Words) -> LineageNode:
    revision = model.tags.get("banyan.revision", "")
    digest = short(model.tags.get("banyan.code_sha256", ""))
    return LineageNode(words("lineage.code"), short(revision) or words("tile.unknown"), digest)


def _lock(model: ModelVersion, words: Words) -> str:
    key = model.tags.get("banyan.lock_key", "")
    return f"{words('models.lineage.lock')} {short(key)}" if key else ""


def _said(answer: Answer, words: Words) -> Line:
    flat = " ".join(answer.text.split())
    return Line(
        when=words.moment(answer.at),
        text=" ".join(answer.output.split())[:160],
        note=flat if len(flat) <= 160 else f"{flat[:159]}…",
        state="ready",
        state_text=words.percent(answer.confidence, decimals=0)
        if answer.confidence is not None
        else words("lineage.said"),
        end=answer.request_id[:8],
    )
