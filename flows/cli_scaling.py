"""`banyan scaling`: trainings over two decades of compute, and the law that they give."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flows.console import Json, read_settings, say

if TYPE_CHECKING:
    from components.recipes import Pretrain
    from components.refs import DataRef
    from components.settings import Settings
    from components.training.result import Progress
    from components.training.run import TrainingRun
    from components.training.scaling import Forecast, Law

app = typer.Typer(no_args_is_help=True)


@app.command()
def scaling(
    recipe: Annotated[str, typer.Argument(help="The pretraining whose family and rows are kept.")] = "scaling-gpt",
    runs: Annotated[int, typer.Option("--runs", help="How many trainings; at least 12.")] = 12,
    from_flops: Annotated[float, typer.Option("--from-flops", help="Operations of the smallest one.")] = 2e10,
    decades: Annotated[float, typer.Option("--decades", help="Of compute between it and the largest.")] = 2.1,
    fit_only: Annotated[bool, typer.Option("--fit-only", help="Train nothing: only say what is known.")] = False,
    as_json: Json = False,
) -> None:
    """Train small models over two decades of compute and fit this installation's scaling law.

    `banyan plan` uses it from then on. Trainings run here, one after another; what is trained already is kept.
    """
    from components.training import run as training
    from components.training import scaling as laws
    from components.training import sweep

    settings = read_settings()
    data = _newest(settings)
    asked = sweep.recipes(_template(recipe), num_runs=runs, smallest_flops=from_flops, decades=decades)

    def told(number: int, run: "TrainingRun") -> None:
        if not as_json:
            print(_line(f"{number + 1} of {len(asked)}", run), flush=True)

    if not fit_only:
        sweep.train(asked, data=data, settings=settings, on_run=told, watch=_quiet if as_json else _show)
    largest = asked[-1]
    lock = training.take_lock(largest, data=data, settings=settings)
    points = laws.kept(settings.workspace.runs)
    asked_for = {"flops": points[-1].flops, "num_tokens": points[-1].num_tokens} if points else {}
    known = {"flops": from_flops, "num_tokens": 1.0} | asked_for
    found = laws.forecast(largest, lock, **known, runs=settings.workspace.runs, workers=settings.workers)
    facts = found.model_dump(mode="json") | {"points": [one.model_dump(mode="json") for one in points]}
    say(as_json, facts, *law_lines(found))


def _template(recipe: str) -> "Pretrain":
    from components.errors import RecipeError
    from components.recipes import Pretrain
    from flows.own import chosen_recipe

    template = chosen_recipe(recipe, table=None, changes=[])
    if not isinstance(template, Pretrain):
        raise RecipeError(f"{recipe} is no pretraining", "the law is of losses that compare: name a pretrain recipe")
    return template


def _newest(settings: "Settings") -> "DataRef":
    from components.data import versioning
    from components.errors import DataStoreError

    found = versioning.head(settings)
    if found is None:
        raise DataStoreError("there is no data version yet", "first: banyan ingest FILE --task T")
    return found


def law_lines(found: "Forecast") -> list[str]:
    """The laws, each with the error of a run that was left out; or why there is none."""
    lines = [_law_line(law) if law else why for law, why in _both(found)]
    return [line[0].upper() + line[1:] for line in lines if line]


def _both(found: "Forecast") -> "list[tuple[Law | None, str]]":
    return [(found.loss_law, found.why_no_loss), (found.seconds_law, found.why_no_seconds)]


def _law_line(law: "Law") -> str:
    floor = f"{law.floor:.3f} + " if law.floor else ""
    over = f"{law.decades:.1f} decades ({law.smallest_flops:.1e} to {law.largest_flops:.1e} operations)"
    missed = f"{law.left_out_error:.1%} (median; at worst {law.left_out_error_worst:.1%})"
    return (
        f"{law.of}: {floor}{law.scale:.3g} × C^{law.exponent:.3f}, of {law.num_runs} runs over {over}; one left out is "
        f"missed by {missed}, the largest by {law.last_error:+.1%}"
    )


def _line(which: str, run: "TrainingRun") -> str:
    loss = run.metrics.get("bits_per_byte", float("nan"))
    took = f"{run.flops:.2e} operations in {run.seconds:6.1f} s ({run.utilisation:.0%} of this machine's best)"
    return f"{which:<10} {took}, {loss:.3f} bits a byte"


def _show(progress: "Progress") -> None:
    if sys.stderr.isatty():
        print(f"\r  step {progress.step} of {progress.num_steps}   \r", end="", file=sys.stderr, flush=True)


def _quiet(_: "Progress") -> None: ...
