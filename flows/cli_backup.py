"""`banyan backup` and `banyan restore`: the workspace in one file, and back."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.console import Json

app = typer.Typer(no_args_is_help=True)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="A new file, outside the workspace.")],
    as_json: Json = False,
) -> None:
    """Write the workspace into one file; a running stack goes on."""
    from components import backup as backups
    from components.settings import load_settings

    made = backups.backup(load_settings(), to=file, progress=_show)
    if as_json:
        print(json.dumps(asdict(made), default=str))
        return
    print(f"{made.num_files:,} files, {made.size_bytes / 1e6:,.0f} MB: {made.path}")
    print("It holds the key of the pseudonyms and what people wrote: keep it as you keep a password.")
    for store in made.elsewhere:
        print(f"Not in it, because it lies elsewhere: {store}")
    print(f"Put it back with: BANYAN_WORKSPACE=NEW-FOLDER banyan restore {made.path}")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `banyan backup` wrote.")],
    as_json: Json = False,
) -> None:
    """Put a backup back as a new workspace (BANYAN_WORKSPACE), and verify what came."""
    from components import backup as backups
    from components.settings import load_settings

    came = backups.restore(load_settings(), source=file)
    if as_json:
        print(json.dumps(asdict(came), default=str))
        return
    print(f"{came.num_files:,} files in {came.root}; every hash is the one that was taken.")
    print(f"Ledger: {came.num_answers:,} answers, {came.num_feedback:,} rows of feedback.")
    print(f"Journal: {came.num_journal_entries} entries, every link holds.")
    print(f"Data version: {came.data_version or 'none'}")
    for store in came.elsewhere:
        print(f"Not in it, because it lay elsewhere: {store}")
    print("Next: banyan up")


def _show(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r  {done / 1e6:,.0f} of {total / 1e6:,.0f} MB", end=end, file=sys.stderr, flush=True)
