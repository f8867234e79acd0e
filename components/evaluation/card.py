"""The model card: what a version is, what made it, what it is worth and what it must not be taken for."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from components.assets import get_asset
from components.data import packing
from components.data.tables import TableInfo
from components.data.versioning import Manifest
from components.evaluation.parity import Parity
from components.evaluation.scores import Scores
from components.recipes import Finetune, Preference, Pretrain
from components.tasks import get_task
from components.training.run import TrainingRun

if TYPE_CHECKING:
    from components.training.search import Found

NUM_RESAMPLES = 200
"""A few seconds for a thousand examples; the ends of an interval then move in their third digit."""
PUBLIC_BASE = (
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
    reference: Scores | None = None,
    parity: Mapping[str, Parity] | None = None,
    packed: packing.Packed | None = None,
    search: "Found | None" = None,
) -> str:
    """Markdown.

    Args:
        parity: engine → what came of holding it against the trainer.
        packed: what a pretraining on a packed corpus was given.
        search: what found the recipe's fields.
    """
    return "\n\n".join(
        part
        for part in (
            f"# {run.model}: {recipe.name}",
            _what(recipe, packed),
            f"## Intended use\n\n{_use(recipe, info=info)}",
            _worth(recipe, run=run, scores=scores, baseline=baseline, reference=reference),
            _parity(parity or {}, writes=isinstance(recipe, Finetune) and get_task(recipe.task).head == "generator"),
            _data(recipe, run=run, manifest=manifest, info=info, packed=packed),
            _made_of(recipe, run=run),
            _recipe(recipe),
            _search(search),
            _energy(run),
            f"## Limits\n\n{_limits(recipe)}",
        )
        if part
    )


def _what(recipe: Pretrain | Finetune, packed: packing.Packed | None) -> str:
    if isinstance(recipe, Pretrain):
        corpus = f"packed corpus `{packed.name}`" if packed else f"table `{recipe.table}`"
        return f"A {recipe.family} of {recipe.num_layers} layers, pretrained from nothing on the {corpus}."
    task, how = get_task(recipe.task), "whole" if recipe.adaptation == "full" else "by LoRA, merged"
    if recipe.keep_adapters:
        how = f"by LoRA, kept as adapters on `{recipe.base}`"
    role = "\n\nA **control**: trained for comparison only, never promoted." if recipe.role == "control" else ""
    if isinstance(recipe, Preference):
        how = f"by what people prefer ({recipe.method.upper()}), {how}"
    of = f"`{recipe.base}`, fine-tuned {how}" if recipe.fresh is None else f"A fresh {recipe.fresh.family}, trained"
    return f"{task.title}. {of} on the table `{recipe.table}`.{role}"


def _use(recipe: Pretrain | Finetune, *, info: TableInfo) -> str:
    if isinstance(recipe, Pretrain):
        return "To continue texts like those of its corpus, and to be compared with other families on the same data."
    if recipe.role == "control":
        return "None: it shows what the same training makes of other rows."
    answers = f" It answers with one of {len(info.labels)} labels: {', '.join(info.labels)}." if info.labels else ""
    return (
        f"Inputs like the rows of `{recipe.table}`, up to {recipe.max_length_tokens} tokens; what is longer is cut."
        f"{answers} Not for decisions about people, and not where nobody looks at an answer before it has effect."
    )


def _worth(
    recipe: Pretrain | Finetune,
    *,
    run: TrainingRun,
    scores: Scores | None,
    baseline: Scores | None,
    reference: Scores | None,
) -> str:
    name = get_task(recipe.task).baseline_name if isinstance(recipe, Finetune) else ""
    beside = {name: baseline, "what it started from": reference}
    if isinstance(recipe, Pretrain):
        columns = _of_held_out_text(run.metrics)
    else:
        columns = [("this model", scores.metrics if scores else run.metrics, _intervals(recipe, scores))]
        columns += [(head, one.metrics, _intervals(recipe, one)) for head, one in beside.items() if one]
    lines = [f"| | {' | '.join(head for head, _, _ in columns)} |", "|---" * (1 + len(columns)) + "|"]
    for metric in columns[0][1]:
        cells = [
            f"{figures[metric]:.4g}{ranges.get(metric, '')}" if metric in figures else ""
            for _, figures, ranges in columns
        ]
        lines.append(f"| {metric} | {' | '.join(cells)} |")
    ranges = [of for _, _, of in columns]
    of = "the test examples" if scores else "the held-out rows"
    said = f"\n\nIn brackets: 95 % intervals, by resampling {of}." if any(ranges) else ""
    if scores and baseline and isinstance(recipe, Finetune):
        said += _difference(scores, baseline, metric=get_task(recipe.task).metric_name, name=name)
    sample = f"\n\nA sample:\n\n```\n{run.sample}\n```" if run.sample else ""
    where = "On the test split, which nobody trains on" if scores else "On held-out text"
    return f"## What it is worth\n\n{where}:\n\n" + "\n".join(lines) + said + sample


def _of_held_out_text(metrics: Mapping[str, float]) -> list[tuple[str, Mapping[str, float], dict[str, str]]]:
    """A pretrained model's figures with their intervals, and what a model that counts tokens comes to."""
    figures, loss = dict(metrics), metrics.get("heldout_loss")
    low, high = figures.pop("heldout_loss_low", None), figures.pop("heldout_loss_high", None)
    counting = figures.pop("baseline_loss", None)
    if loss is None or low is None or high is None or counting is None:  # of a run of before they were taken
        return [("this model", figures, {})]
    # All are of the same targets, so that bits a byte are nats a target times the same number.
    of_loss: dict[str, float] = {
        name: figures[name] / loss for name in ("heldout_loss", "bits_per_byte") if name in figures
    }
    ranges = {name: f" ({low * scale:.4g} to {high * scale:.4g})" for name, scale in of_loss.items()}
    return [
        ("this model", figures, ranges),
        ("counting tokens", {name: counting * scale for name, scale in of_loss.items()}, {}),
    ]


def _intervals(recipe: Finetune, scores: Scores | None) -> dict[str, str]:
    """Metric → its interval in words, where rows were scored."""
    from components.evaluation.metrics import interval

    if scores is None:
        return {}
    found = interval(scores.rows(), get_task(recipe.task), num_resamples=NUM_RESAMPLES)
    return {metric: f" ({low:.4g} to {high:.4g})" for metric, (low, high) in found.items() if not math.isnan(low)}


def _difference(scores: Scores, baseline: Scores, *, metric: str, name: str) -> str:
    """Example by example, so that what is easy or hard for both cancels out."""
    pairs = scores.rows().merge(baseline.rows(), on="id", suffixes=("", "_baseline"))
    if len(pairs) < 2:
        return ""
    apart = pairs["score"] - pairs["score_baseline"]
    half = 1.96 * float(apart.std(ddof=1)) / math.sqrt(len(apart))
    mean = float(apart.mean())
    return (
        f" Paired over {len(apart)} examples, {metric} is {mean:+.4g} ({mean - half:+.4g} to {mean + half:+.4g}) "
        f"from that of the {name}."
    )


def _parity(found: Mapping[str, Parity], *, writes: bool) -> str:
    if not found:
        return ""
    unit = "log-probabilities, in nats" if writes else "probabilities"
    lines = [
        f"| {one.engine} | {one.precision} | {one.num_probes} | {one.largest:.2g} of {one.tolerance:g} | "
        f"{one.mean:.2g} of {one.mean_tolerance:g} | {'passed' if one.passed else f'blocked: {one.mismatch}'} |"
        for one in found.values()
    ]
    return (
        "## Parity\n\nWhat serves it was held against what trained it before it was registered: the same tokens, and "
        f"differences of {unit}, alone and in a mixed batch. Other engines are held against the same reference where "
        "they are to serve.\n\n| engine | precision | probes | largest difference | mean | |\n"
        + "|---" * 6
        + "|\n"
        + "\n".join(lines)
    )


def _data(
    recipe: Pretrain | Finetune,
    *,
    run: TrainingRun,
    manifest: Manifest,
    info: TableInfo,
    packed: packing.Packed | None,
) -> str:
    if packed is not None:
        held = "; ".join(f"{one.tokens} tokens of {one.documents} documents {n}" for n, one in packed.splits.items())
        return (
            f"## Data\n\nPacked corpus `{packed.name}` (sha256 `{packed.sha256()[:16]}…`): {held}.\n\n"
            "Licences: not stated. A packed corpus does not carry those of its documents."
        )
    rows = ", ".join(f"{one.total} {split}" for split, one in manifest.rows.get(recipe.table, {}).items())
    licences = "\n".join(f"- {source}: {licence}" for source, licence in info.licences.items())
    learnt = ""
    if isinstance(recipe, Preference):
        unit = "pairs of answers" if recipe.method == "dpo" else "wanted and unwanted answers"
        learnt = (
            f"\n\nIt learnt from {run.metrics['num_rows']:.0f} {unit} that feedback gave (sha256 "
            f"`{recipe.rows[:16]}…`, the run's artifact `preferences.jsonl`); of the table it saw no row."
        )
    return (
        f"## Data\n\nVersion `{manifest.ref.version}`, table `{recipe.table}` "
        f"(sha256 `{manifest.ref.tables[recipe.table][:16]}…`): {rows} rows.\n\n{licences}{learnt}"
    )


def _made_of(recipe: Pretrain | Finetune, *, run: TrainingRun) -> str:
    lock = run.lock
    base = ""
    if isinstance(recipe, Finetune):
        base = f"- base: {_base(recipe)}, weights `{str(lock['parent'])[:16]}…`\n"
        if recipe.keep_adapters:
            size = sum(file.stat().st_size for file in run.model_dir.iterdir()) / 1e6
            base += f"- adapters: {size:.3g} MB with all that lies beside them, of no use without that base\n"
    dirty = " with uncommitted changes" if lock["dirty"] else ""
    return (
        f"## Made of\n\n{base}- weights `{run.weights_sha256}`\n- lock `{lock['key']}`\n- recipe `{lock['recipe']}`\n"
        f"- code `{str(lock['code'])[:16]}…`, revision {lock['revision'] or 'unknown'}{dirty}\n"
        f"- {run.num_steps} steps in {run.seconds:.0f} s, seed {lock['seed']}, {lock['threads']} threads of "
        f"{lock['device']}"
        + "".join(
            f"\n- a batch did not fit: micro-batches in {n} parts from {at} on"
            for at, n in lock.get("division", {}).items()
        )
    ) + (f"\n- {run.flops:.2e} operations, {run.utilisation:.1%} of the machine's best" if run.utilisation else "")


def _base(recipe: Finetune) -> str:
    if recipe.fresh is not None:
        return f"none; a {recipe.fresh.family} drawn from the seed"
    if recipe.own_base[1]:
        return f"{recipe.base}, {'trained' if isinstance(recipe, Preference) else 'pretrained'} here"
    asset = get_asset(recipe.base)
    return f"{asset.package} {asset.version}, {asset.licence}"


def _recipe(recipe: Pretrain | Finetune) -> str:
    import yaml

    content = yaml.safe_dump(recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)
    return f"## Recipe\n\nWhat is not said is by default.\n\n```yaml\nkind: {recipe.kind}\n{content}```"


def _search(found: "Found | None") -> str:
    """All trials, the best first: what was chosen is worth as much as what it was chosen from."""
    if found is None:
        return ""
    names = list(dict.fromkeys(name for trial in found.trials for name in trial.fields))
    scores = found.best.score is not None
    by = "by what the gate compares" if scores else "in nats per target"
    heads = [*names, "held-out loss", *(["held-out score"] if scores else [])]
    lines = [f"| trial | {' | '.join(heads)} | | seconds |", "|---" * (len(heads) + 3) + "|"]
    for trial in found.ranked():
        cells = [_cell(trial.fields.get(name, "")) for name in names]
        cells += ["" if value is None else f"{value:.4f}" for value in (trial.loss, trial.score)[: 1 + scores]]
        state = "**chosen**" if trial == found.best else "pruned" if trial.state == "stopped" else trial.state
        lines.append(f"| {trial.number} | {' | '.join(cells)} | {state} | {trial.seconds:.0f} |")
    return (
        f"## Search\n\nThese fields were chosen by {len(found.trials)} short trainings, judged {by} on "
        f"{found.validation_rows} training rows that they did not see, in {found.seconds:.0f} s. No trial saw the test "
        "split. A pruned one lagged behind, and its loss is that of when it was stopped.\n\n" + "\n".join(lines)
    )


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")


def _energy(run: TrainingRun) -> str:
    """As the run counted it: of all its workers, measured where the machine does."""
    missing = "Not in it: evaluation, cooling, failed attempts."
    if run.energy_joules is None:  # of a run of before they were kept
        return ""
    wh, source = f"{run.energy_joules / 3600:.3g} Wh for {run.seconds:.0f} s of training", run.energy_source
    if not source.startswith("estimate"):
        return f"## Energy\n\n{wh}, by {source}. {missing}"
    return (
        f"## Energy\n\nAbout {wh}. An **estimate** from time, not measured: {source.removeprefix('estimate: ')} "
        f"(Lannelongue et al. 2021). {missing}"
    )


def _limits(recipe: Pretrain | Finetune) -> str:
    if isinstance(recipe, Pretrain):
        return "A small model of a small corpus: it shows that the pipeline works, and answers nobody."
    said = (
        "The figures hold for inputs like those of the test split. What the rows get wrong or leave out, "
        "it gets wrong; its confidence is a number of its own, not a probability that was checked on your texts."
    )
    if recipe.has_asset:
        return f"{PUBLIC_BASE}\n\n{said}"
    return said if recipe.fresh else f"What its base has read stands on the card of `{recipe.base}`.\n\n{said}"
