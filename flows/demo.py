"""`banyan demo`: one turn of the loop on the local stack, and a summary of one screen.

Every figure that is printed or written comes from the stores (`components/report`), after the run.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.errors import WorkspaceBusy
from components.recipes import Finetune, Ingest, Loop, load_recipe
from components.settings import Settings
from flows import stack
from flows.display import RunDisplay
from flows.own import RECIPES
from flows.remote import Prefect, Run, failure

MINUTES = 10
"""What the loop may take on 2 cores that do nothing else, installation and downloads aside."""
MEGABYTES_PER_SECOND = 5
"""Assumed of the network, to say how long the downloads take."""


def run_demo(settings: Settings, *, json_file: Path | None, offline: bool, stay: bool | None) -> int:
    """The exit code: 0 only if the loop closed.

    Raises:
        BanyanError: whatever kept it from closing, of the class that the flow raised.
    """
    stays = sys.stdout.isatty() and sys.stdin.isatty() if stay is None else stay
    recipe = load_recipe(RECIPES / ("offline-loop.yaml" if offline else "loop.yaml"))
    print("\n".join(announcement(settings, recipe)), flush=True)
    started = time.monotonic()
    with _stack(settings) as running:
        run = _turn(settings, recipe)
        from components.report import report  # mlflow, pandas, matplotlib: 2 s

        page = settings.workspace.root / "report.html"
        figures = report(settings, table=recipe.rater.table, path=page, run_id=run.id)
        if json_file is not None:
            json_file.parent.mkdir(parents=True, exist_ok=True)
            json_file.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", "utf-8")
        missing = unclosed(figures)
        seconds = time.monotonic() - started
        print("\n".join(summary(figures, page=page, seconds=seconds, missing=missing)), flush=True)
        if stays and running is not None:
            print("\nThe stack stays up for you to look around; Ctrl-C stops it, and what it made is kept.", flush=True)
            running.wait()
        elif running is None:
            print("\nThe stack was running before and still is.", flush=True)
    return 1 if missing else 0


def announcement(settings: Settings, recipe: Loop) -> list[str]:
    """What will be downloaded, and how long it all takes."""
    from components.assets import download_size_bytes, is_present

    names = assets_of(recipe)
    absent = [name for name in names if not is_present(name, settings=settings)]
    megabytes = download_size_bytes(absent) / 1e6
    lines = ["Banyan: one turn of the loop, from text to a better model."]
    if absent:
        minutes = megabytes / MEGABYTES_PER_SECOND / 60
        lines.append(
            f"  downloads {megabytes:.0f} MB once ({', '.join(absent)}; hashes checked), about {minutes:.0f} min, "
            f"into {settings.workspace.assets}"
        )
    else:
        lines.append("  nothing to download" + ("" if names else ": it uses the interpreter's own library"))
    lines.append(f"  then up to {MINUTES} minutes on 2 idle cores the first time; what is unchanged is reused later")
    return lines


def assets_of(recipe: Loop) -> list[str]:
    """The names of the assets that a loop needs."""
    ingest = load_recipe(RECIPES / f"{recipe.ingest}.yaml")
    finetunes = [load_recipe(RECIPES / f"{name}.yaml") for name in recipe.finetune]
    assert isinstance(ingest, Ingest)
    names = [name for source in ingest.sources if source.kind == "packages" for name in source.assets]
    names += [source.asset for source in ingest.sources if source.kind == "books"]
    return [*names, *(recipe.base for recipe in finetunes if isinstance(recipe, Finetune) and recipe.has_asset)]


@contextmanager
def _stack(settings: Settings) -> Iterator[stack.Stack | None]:
    """The local stack, stopped at the end; None where one runs on this workspace already, which is joined."""
    try:
        running = stack.start(settings, on_event=_note)
    except WorkspaceBusy:
        if not stack.describe(settings).is_running:
            raise
        _note(f"a stack runs on {settings.workspace.root} already: joining it")
        yield None
        return
    with running:
        yield running


def _turn(settings: Settings, recipe: Loop) -> Run:
    """One run of the loop: one that a killed stack left unfinished, or a new one."""
    prefect = Prefect(settings)
    with RunDisplay("loop") as display:
        run_id = prefect.unfinished("loop/cpu")
        if run_id is None:
            run_id = prefect.start("loop/cpu", {"recipe": recipe.model_dump(mode="json")})
        else:
            display.line("an unfinished run of the loop is there: following it")
        display.line(f"the loop runs on the worker: {prefect.page(run_id)}")
        run = prefect.follow(run_id, seen=display.see)
    if run.state != "COMPLETED":
        raise failure(run, prefect.page(run_id))
    return run


# ---------------------------------------------------------------- the screen


def unclosed(figures: Mapping[str, Any]) -> list[str]:
    """What is missing for the loop to have closed; empty when it has. A rejected challenger closes it as well."""
    needed = {
        "champion_before": "no model passed the gate",
        "champion_after": "nothing is served",
        "baseline": "no baseline was measured",
        "control": "no control was trained",
        "verdict": "no retraining reached the gate",
    }
    missing = [reason for name, reason in needed.items() if figures[name] is None]
    return missing + (["no feedback was received"] if not figures["feedback"]["received"] else [])


def summary(figures: Mapping[str, Any], *, page: Path, seconds: float, missing: list[str]) -> list[str]:
    """One screen."""
    lines = ["", f"{'On the untouched test split':<48} accuracy    top-3"]
    for name, title in (
        ("baseline", "plain baseline"),
        ("champion_before", "champion before"),
        ("champion_after", "champion after"),
        ("control", "control"),
    ):
        if score := figures[name]:
            version = f"v{score['version']}" if isinstance(score["version"], int) else score["version"]
            top3 = f"{score['top3']:8.1%}" if score["top3"] is not None else ""
            lines.append(f"  {title:<16} {version:<30} {score['accuracy']:7.1%} {top3}")
    lines.append("  (control: the same training on as many random labelled rows as there was admitted feedback)")
    if figures["verdict"]:
        low, high = figures["difference_interval"]
        stays = "" if figures["verdict"] == "promote" else "; the champion stays"
        lines.append(
            f"Gate: {figures['verdict']}{stays}. Challenger − champion: {low:+.1%} to {high:+.1%} (95 % interval)"
        )
    if figures["corrected_now_right"] is not None:
        lines.append(f"Corrected answers that the new model gets right: {figures['corrected_now_right']:.0%}")
    fates = ", ".join(f"{count} {fate}" for fate, count in figures["feedback"]["fates"].items() if count)
    lines.append(f"Feedback of the scripted rater: {figures['feedback']['received']} rows; now {fates or 'none'}")
    stages = [f"{name} {spent:.0f}" for name, spent in figures["stages"].items()]
    lines.append(f"Where {seconds / 60:.1f} minutes went, in seconds: {', '.join(stages)}")
    lines.append(f"Report with pictures: {page}")
    lines += [f"  {name:<10} {url}" for name, url in figures["urls"].items()]
    lines.append(
        f"The loop did not close: {'; '.join(missing)}."
        if missing
        else "The loop closed. Next: banyan ask library TEXT | banyan dashboard | your own data: README.md"
    )
    return lines


def _note(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)
