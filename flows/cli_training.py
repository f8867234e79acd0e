"""`banyan verify`, `export`, `lock` and `plan`: what a training was and left, whether it can be had again, its cost."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.cli_scaling import app as scaling_app
from flows.console import Json, read_settings, say

if TYPE_CHECKING:
    from components.refs import DataRef
    from components.settings import Settings
    from components.training.lock import Difference, Lock
    from components.training.plan import Plan
    from components.training.result import Progress
    from components.training.verify import Verification

app = typer.Typer(no_args_is_help=True)
lock_app = typer.Typer(no_args_is_help=True, help="Show what determined a model's weights.")
app.add_typer(lock_app, name="lock")
app.add_typer(scaling_app)

Model = Annotated[str, typer.Argument(help="MODEL[@VERSION], as library@3; without a version the champion.")]


@app.command()
def verify(
    model: Model,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Train even where the environment differs: equal bits say it is no matter.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Retrain a registered version from its lock and compare the weights.

    Exit code 0: identical, 1: different, 3: not comparable here (and what to do).
    """
    from components.training import verify as verification

    settings = read_settings()
    ref = verification.find(_registry(settings), model)
    found = verification.verify(ref, settings=settings, anyway=anyway, watch=None if as_json else _show)
    if not as_json and sys.stderr.isatty():
        print(file=sys.stderr)
    say(as_json, {**found.model_dump(mode="json"), "exit_code": found.exit_code}, *_verdict_lines(found))
    raise typer.Exit(found.exit_code)


@app.command()
def export(
    model: Model,
    to: Annotated[Path, typer.Option("--to", help="A new folder, or file.")],
    as_: Annotated[
        Literal["folder", "gguf"], typer.Option("--format", help="gguf: a file for llama.cpp, of the family gpt.")
    ] = "folder",
    as_json: Json = False,
) -> None:
    """Write a registered version as a plain Hugging Face folder, adapters merged, or as a GGUF file."""
    from components import exchange
    from components.training import verify as verification

    settings = read_settings()
    ref = verification.find(_registry(settings), model)
    merged = exchange.export(ref, to=to, settings=settings, as_=as_)
    how = ", its adapters merged into their base" if merged else ""
    say(
        as_json,
        {"model": str(ref), "file" if as_ == "gguf" else "folder": str(to), "merged": merged},
        f"{ref} is in {to}{how}",
    )


@app.command()
def plan(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of one in flows/recipes.")],
    table: Annotated[str | None, typer.Option("--table", help="Train on this table instead of the recipe's.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field of the recipe: --set num_epochs=3 (repeatable).")
    ] = None,
    price: Annotated[
        float | None, typer.Option("--kwh-price", min=0, help="Price of a kWh, in your currency (default: assumed).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a training would need and reach: memory, time, energy, cost, loss.

    Runs six steps on the newest data here; what it says of GPUs is extrapolated from their data sheets. The loss is by
    the law of this installation's own runs, once there are enough of them: `banyan scaling` makes some.
    """
    from components.training import plan as planning
    from flows.own import chosen_recipe, gathered

    settings = read_settings()
    chosen = gathered(chosen_recipe(recipe, table=table, changes=set_ or []), settings)
    price = planning.PRICE_A_KWH if price is None else price
    found = planning.plan(chosen, data=_newest(chosen, settings), settings=settings, price_a_kwh=price)
    say(as_json, planning.summary(found), *_plan_lines(found))


@lock_app.command("show")
def show(model: Model, as_json: Json = False) -> None:
    """Say everything that determined a version's weights."""
    from components.training import verify as verification

    registry = _registry(read_settings())
    ref = verification.find(registry, model)
    lock = verification.lock_of(registry, ref)
    say(as_json, {"model": str(ref), **lock.as_dict()}, f"{ref}, weights {ref.weights_sha256}", *_lock_lines(lock))


@lock_app.command("diff")
def diff(first: Model, second: Model, as_json: Json = False) -> None:
    """Say in what two versions' locks differ.

    Exit code 1 where they do in what decides bits.
    """
    from components.training import verify as verification
    from components.training.lock import differences

    registry = _registry(read_settings())
    refs = [verification.find(registry, model) for model in (first, second)]
    locks = [verification.lock_of(registry, ref) for ref in refs]
    found = differences(*locks)
    is_exact = any(one.is_exact for one in found)
    facts = {"first": str(refs[0]), "second": str(refs[1]), "differences": [one.__dict__ for one in found]}
    lines = [f"{refs[0]} → {refs[1]}", *(f"  {one}{_remark(one)}" for one in found)]
    if not is_exact:
        lines.append("Nothing that decides bits differs: the same weights are due.")
    say(as_json, {**facts, "same_bits_due": not is_exact}, *lines)
    raise typer.Exit(1 if is_exact else 0)


# ---------------------------------------------------------------- lines


def _verdict_lines(found: "Verification") -> list[str]:
    lines = [f"{found.model}: {found.verdict}"]
    if found.verdict == "identical":
        lines.append(f"Retrained for {found.num_steps} steps in {found.seconds:.0f} s: {found.registered_sha256}")
    elif found.retrained_sha256:
        lines.append(f"registered {found.registered_sha256}\nretrained  {found.retrained_sha256}")
        lines.append(f"All {found.num_steps} losses are equal: they part after the last forward pass.")
    if found.parted_at_step is not None:
        one, other = found.registered_loss, "no number" if found.retrained_loss is None else found.retrained_loss
        lines.append(
            f"The loss parts at step {found.parted_at_step} of {found.num_steps}: {one} registered, {other} here"
        )
    if found.division:
        parts = ", ".join(f"{parts} parts from {at} on" for at, parts in found.division.items())
        lines.append(f"Micro-batches divided as the registered training's were: {parts}")
    if found.environment:
        lines += ["What differs (registered → here):", *(f"  {one}" for one in found.environment)]
    if found.remedy:
        lines.append(f"To compare: {found.remedy}")
    return lines


def _plan_lines(found: "Plan") -> list[str]:
    parts = found.memory
    sizes = (parts.weights, parts.gradients, parts.optimizer, parts.activations)
    named = zip(("weights", "gradients", "optimizer", "activations"), sizes, strict=True)
    counted = f"; counted on one step: {found.flops_counted:.2e}" if found.flops_counted else ""
    lines = [
        f"{found.name}: {found.num_steps} steps, {found.num_tokens:,} tokens",
        f"  parameters  {found.num_parameters:,}, of which {found.num_trainable:,} are trained",
        f"  flops       {found.flops:.2e} (6ND, Kaplan 2020), {found.flops_of_attention / found.flops:.0%} attention's"
        + counted,
        f"  memory      {parts.total / 1e9:.2f} GB: " + ", ".join(f"{name} {size / 1e9:.2f}" for name, size in named),
        f"  before      {found.setup_seconds:.0f} s until the first step",
        *_forecast_lines(found),
        "",
        f"  {'where':<24} {'time':>10} {'kWh':>9} {'cost':>8} {'of peak':>8}  memory",
    ]
    for place in (found.here, *found.gpus):
        held = "fits" if place.fits else "too small"
        label = place.name + (" *" if place.is_extrapolated else "")
        lines.append(
            f"  {label:<24} {_duration(place.seconds):>10} {place.kwh:>9.2g} {place.cost:>8.2g} "
            f"{place.utilisation:>8.0%}  {held}"
        )
    return [
        *lines,
        "",
        f"* extrapolated from the vendor's data sheet at an assumed {found.gpus[0].utilisation:.0%} of its peak; never "
        "measured, and small models reach less.",
        f"Energy is estimated (12 W a busy core, a GPU's board limit); cost is at {found.price_a_kwh:g} a kWh, without "
        "the machine's price.",
    ]


def _forecast_lines(found: "Plan") -> list[str]:
    """What the installation's own runs say, beside the probe."""
    from flows.cli_scaling import law_lines

    told = found.forecast
    lines = []
    if told.loss is not None:
        lines.append(f"  loss        {told.loss:.3f} held-out bits a byte, by the law below")
    if told.seconds is not None:
        lines.append(f"  time        {_duration(told.seconds)} by the law of runs here; the probe's is in the table")
    lines += [f"  note        {caveat}" for caveat in told.caveats]
    return [*lines, *(f"  law         {line}" for line in law_lines(told))]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _lock_lines(lock: "Lock") -> list[str]:
    dirty = f", with uncommitted changes {lock.dirty[:12]}…" if lock.dirty else ""
    return [
        f"  key        {lock.key}",
        f"  exact key  {lock.exact_key}",
        *(f"  table      {name} {sha256}" for name, sha256 in lock.tables.items()),
        f"  recipe     {lock.recipe}",
        f"  parent     {lock.parent or 'none: from nothing'}",
        f"  code       {lock.code} ({len(lock.modules)} modules)",
        f"  revision   {lock.revision or 'unknown'}{dirty}",
        f"  seed       {lock.seed}",
        f"  packages   {', '.join(f'{name} {version}' for name, version in lock.packages.items())}",
        f"  runs on    {lock.threads} threads of {lock.device}, {lock.isa}",
        *([f"  workers    {lock.parallel}"] if lock.parallel else []),
        *(f"  divided    {parts} parts from {at} on: a batch did not fit" for at, parts in lock.division.items()),
    ]


def _remark(one: "Difference") -> str:
    return "" if one.is_exact else "  (told for people; decides no bit)"


def _show(progress: "Progress") -> None:
    if sys.stderr.isatty():
        left = f"{progress.remaining_seconds:.0f} s left"
        print(f"\r  step {progress.step} of {progress.num_steps}, {left}   ", end="", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- shared


def _newest(recipe: object, settings: "Settings") -> "DataRef":
    from components.data.packed_versions import data_for
    from components.errors import DataStoreError

    found = data_for(recipe, settings=settings)
    if found is None:
        raise DataStoreError("there is no data version yet", "first: banyan ingest FILE --task T")
    return found


def _registry(settings: "Settings") -> Any:
    from components.registry import Registry
    from components.supervisor import addresses

    return Registry(addresses(settings).mlflow)
