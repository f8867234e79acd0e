"""`banyan task`: the language tasks, and what their models are worth."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from components.evaluation.on_file import FileEvaluation
    from components.settings import Settings

app = typer.Typer(
    name="task", help="The language tasks and what their models are worth.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _group() -> None: ...


@app.command("list")
def list_tasks(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """List the tasks: metrics, champions, the last result beside its baseline."""
    from components.settings import load_settings

    found = tasks(load_settings())
    lines = []
    for one in found:
        lines.append(f"{one['name']}: {one['title']}")
        lines.append(f"  metrics: {', '.join(one['metrics'])}; baseline: {one['baseline']}")
        if one["champion"]:
            lines.append(f"  champion: {one['champion']['model']} v{one['champion']['version']}")
        if last := one["last_result"]:
            beside = "" if last["baseline"] is None else f" (baseline {last['baseline']:.3f})"
            lines.append(f"  last: {last['metric']} {last['value']:.3f}{beside} on {last['on']}")
    print(json.dumps({"tasks": found}, ensure_ascii=False) if as_json else "\n".join(lines), flush=True)


@app.command()
def harness(
    model: Annotated[str, typer.Argument(help="A registered causal model (generation@2), or an asset (smollm2).")],
    path: Annotated[Path, typer.Argument(help="A task of the LM Evaluation Harness (YAML), or a folder of them.")],
    max_rows: Annotated[int | None, typer.Option("--max-rows", min=1, help="Of each task, the first so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Measure a causal model by the LM Evaluation Harness on local task files (the extra `eval`)."""
    from components.evaluation.harness import run_harness
    from components.settings import load_settings

    found = run_harness(model, path, settings=load_settings(), max_rows=max_rows)
    lines = [f"{found['model']}, lm-eval {found['lm_eval']}"]
    for task, figures in found["tasks"].items():
        told = ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if isinstance(value, float))
        lines.append(f"  {task}: {told}")
    print(json.dumps(found, ensure_ascii=False, default=str) if as_json else "\n".join(lines), flush=True)


def tasks(settings: "Settings") -> list[dict[str, Any]]:
    """Every task with its metrics, its newest champion (null without a running stack) and its last result."""
    from components.tasks import all_tasks

    champions = _champions(settings)
    found = []
    for task in all_tasks():
        champion = champions.get(task.name)
        last = champion and champion.pop("result")
        found.append(
            {
                "name": task.name,
                "title": task.title,
                "head": task.head,
                "columns": list(task.columns),
                "metrics": [task.metric_name, *task.metrics],
                "baseline": task.baseline_name,
                "formats": [one.name for one in task.formats],
                "champion": champion,
                "last_result": _on_file(task.name, task.metric_name, settings) or last,
            }
        )
    return found


def _on_file(task: str, metric: str, settings: "Settings") -> dict[str, Any] | None:
    from components.evaluation.on_file import last_result

    last = last_result(task, settings=settings)
    if last is None or metric not in last.metrics:  # of a version that measured it by another
        return None
    return {
        "model": last.model,
        "version": last.version,
        "on": last.file,
        "metric": metric,
        "value": last.metrics[metric],
        "interval": list(last.intervals[metric]),
        "baseline": (last.baseline or {}).get(metric),
        "num_examples": last.num_rows,
    }


def _champions(settings: "Settings") -> dict[str, dict[str, Any]]:
    """Task → the champion that was registered last, with its figures on its test split."""
    from components.errors import RegistryError, ServiceDown
    from components.registry import Registry
    from components.supervisor import addresses
    from components.tasks import all_tasks

    metric = {task.name: task.metric_name for task in all_tasks()}
    try:
        registry = Registry(addresses(settings).mlflow)
        infos = [registry.get(ref) for ref in registry.champions().values()]
    except (ServiceDown, RegistryError):
        return {}
    found: dict[str, dict[str, Any]] = {}
    for info in sorted(infos, key=lambda one: one.created_at):
        name = metric.get(info.task, "")
        if name in info.metrics:
            result = {
                "model": info.ref.name,
                "version": info.ref.version,
                "on": f"test split of {info.data_version[:12]}",
                "metric": name,
                "value": info.metrics[name],
                "baseline": info.metrics.get(f"baseline_{name}"),
                "num_examples": info.metrics.get("num_examples"),
            }
            found[info.task] = {"model": info.ref.name, "version": info.ref.version, "result": result}
    return found


def evaluate_file(
    which: str,
    *,
    task: str | None,
    file: Path | None,
    format: str | None,
    columns: str,
    max_rows: int | None,
    num_samples: int | None,
) -> tuple[dict[str, Any], list[str]]:
    """`banyan evaluate MODEL --task T --file F`: the result for a machine, and as lines for a person.

    Raises:
        UsageError: a file without a task, or a task without one; columns that read as no pairs; or as the evaluation.
    """
    from components.errors import UsageError
    from components.evaluation.on_file import evaluate_on_file
    from components.settings import load_settings

    if task is None or file is None:
        raise UsageError("a file is measured as a task", "give both: --task T --file F")
    pairs = [pair.partition("=") for pair in columns.split(",") if pair.strip()]
    if any(not ours.strip() or not theirs.strip() for ours, _, theirs in pairs):
        raise UsageError(f"--columns {columns!r} does not read as pairs", "for example: --columns text=body,label=kind")
    result = evaluate_on_file(
        which,
        file,
        task=task,
        settings=load_settings(),
        format=format,
        columns={ours.strip(): theirs.strip() for ours, _, theirs in pairs},
        max_rows=max_rows,
        num_samples=num_samples,
    )
    return result.model_dump(mode="json"), result_lines(result)


def result_lines(result: "FileEvaluation") -> list[str]:
    """What a person reads of an evaluation: a figure a line, with its interval and the baseline's beside it."""
    lines = [f"{result.model} v{result.version} on {result.file}, {result.num_rows} rows"]
    served = result.champion
    for name, (low, high) in result.intervals.items():
        others = {f"champion v{served.version}": served.metrics} if served else {}
        others |= {"baseline": result.baseline} if result.baseline else {}
        # a figure may be one that the others' answers cannot give
        beside = "".join(f"   {who} {found[name]:.3f}" for who, found in others.items() if name in found)
        lines.append(f"  {name:<20} {result.metrics[name]:.3f}  [{low:.3f}, {high:.3f}]{beside}")
    if served:
        low, high = served.difference_interval
        lines.append(f"  beside champion v{served.version}: {served.difference:+.3f}  [{low:+.3f}, {high:+.3f}]")
    for one in result.slices:
        beside = "".join(
            f"   {who} {mean:.3f}"
            for who, mean in (("champion", one.champion), ("baseline", one.baseline))
            if mean is not None
        )
        low, high = one.interval
        lines.append(f"  {one.name:<20} {one.mean:.3f}  [{low:.3f}, {high:.3f}]{beside}   {one.num_rows} rows")
    if result.rejected:
        lines.append("  not measured on: " + ", ".join(f"{n} rows: {why}" for why, n in result.rejected.items()))
    if result.unknown_labels:
        lines.append(f"  labels that the model was never taught: {', '.join(result.unknown_labels)}")
    return [*lines, f"  row by row: {result.per_example}"]
