"""The model card: what a version is, what made it, what it is worth and what it must not be taken for."""

from components.assets import get_asset
from components.data.tables import TableInfo
from components.data.versioning import Manifest
from components.evaluation.scores import Scores
from components.recipes import Finetune, Pretrain
from components.tasks import get_task
from components.training.run import TrainingRun

CAVEAT = (
    "The base weights are public and were pretrained by others on text from the web: they may have seen these texts. "
    "So the figures say which of our models is better, not how well any would do on texts that nobody has published."
)


def card_of(
    recipe: Pretrain | Finetune,
    *,
    run: TrainingRun,
    manifest: Manifest,
    info: TableInfo,
    scores: Scores | None,
    baseline: Scores | None,
) -> str:
    """Markdown."""
    return "\n\n".join(
        part
        for part in (
            f"# {run.model}: {recipe.name}",
            _what(recipe),
            _worth(recipe, run=run, scores=scores, baseline=baseline),
            _data(recipe, manifest=manifest, info=info),
            _made_of(recipe, run=run),
            f"## Limits\n\n{_limits(recipe)}",
        )
        if part
    )


def _what(recipe: Pretrain | Finetune) -> str:
    if isinstance(recipe, Pretrain):
        return (
            f"A {recipe.family} of {recipe.num_layers} layers, pretrained from nothing on the table `{recipe.table}`."
        )
    task, how = get_task(recipe.task), "whole" if recipe.adaptation == "full" else "by LoRA, merged"
    role = "\n\nA **control**: trained for comparison only, never promoted." if recipe.role == "control" else ""
    return f"{task.title}. `{recipe.base}`, fine-tuned {how} on the table `{recipe.table}`.{role}"


def _worth(recipe: Pretrain | Finetune, *, run: TrainingRun, scores: Scores | None, baseline: Scores | None) -> str:
    mine = scores.metrics if scores else run.metrics
    other = baseline.metrics if baseline else {}
    name = get_task(recipe.task).baseline_name if isinstance(recipe, Finetune) else ""
    lines = [f"| | this model | {name} |", "|---|---|---|"] if other else ["| | this model |", "|---|---|"]
    for metric, value in mine.items():
        lines.append(f"| {metric} | {value:.4g} |" + (f" {other[metric]:.4g} |" if metric in other else ""))
    sample = f"\n\nA sample:\n\n```\n{run.sample}\n```" if run.sample else ""
    where = "On the test split, which nobody trains on" if scores else "On held-out text"
    return f"## What it is worth\n\n{where}:\n\n" + "\n".join(lines) + sample


def _data(recipe: Pretrain | Finetune, *, manifest: Manifest, info: TableInfo) -> str:
    rows = ", ".join(f"{one.total} {split}" for split, one in manifest.rows.get(recipe.table, {}).items())
    licences = "\n".join(f"- {source}: {licence}" for source, licence in info.licences.items())
    return (
        f"## Data\n\nVersion `{manifest.ref.version}`, table `{recipe.table}` "
        f"(sha256 `{manifest.ref.tables[recipe.table][:16]}…`): {rows} rows.\n\n{licences}"
    )


def _made_of(recipe: Pretrain | Finetune, *, run: TrainingRun) -> str:
    lock = run.lock
    base = ""
    if isinstance(recipe, Finetune):
        asset = get_asset(recipe.base)
        base = f"- base: {asset.package} {asset.version}, {asset.licence}, weights `{str(lock['parent'])[:16]}…`\n"
    dirty = " with uncommitted changes" if lock["dirty"] else ""
    return (
        f"## Made of\n\n{base}- weights `{run.weights_sha256}`\n- lock `{lock['key']}`\n- recipe `{lock['recipe']}`\n"
        f"- code `{str(lock['code'])[:16]}…`, revision {lock['revision'] or 'unknown'}{dirty}\n"
        f"- {run.num_steps} steps in {run.seconds:.0f} s, seed {lock['seed']}, {lock['threads']} threads of "
        f"{lock['device']}"
    )


def _limits(recipe: Pretrain | Finetune) -> str:
    if isinstance(recipe, Pretrain):
        return "A small model of a small corpus: it shows that the pipeline works, and answers nobody."
    return CAVEAT
