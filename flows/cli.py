"""`banyan`: the command line.

Nothing heavy is imported before a command needs it. What runs on the worker is started through Prefect's API
and followed; a user's mistake is one plain line on stderr with the error's exit code (2 for usage).
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from components.errors import BanyanError, UsageError
from flows.cli_backup import app as backup_app
from flows.cli_chat import app as chat_app
from flows.cli_data import app as data_app
from flows.cli_explain import app as explain_app
from flows.cli_feedback import app as feedback_app
from flows.cli_graph import app as graph_app
from flows.cli_key import app as key_app
from flows.cli_records import app as records_app
from flows.cli_schedule import app as schedule_app
from flows.cli_task import app as task_app
from flows.cli_traffic import app as traffic_app
from flows.cli_training import app as training_app
from flows.cli_worker import app as worker_app
from flows.console import Json, read_settings, say
from flows.following import run_on_worker

app = typer.Typer(
    name="banyan",
    help="Banyan: grow your own language models, from data to feedback and back.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Pool = Annotated[str | None, typer.Option("--pool", help="Work pool, cpu or gpu (default: by what the recipe needs).")]
Table = Annotated[str, typer.Argument(help="The table, as in `ingest --table`; its model is banyan-TABLE.")]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"banyan {version('banyan-llm')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None: ...


# ---------------------------------------------------------------- the stack


@app.command()
def demo(
    json_file: Annotated[
        Path | None, typer.Option("--json-file", envvar="DEMO_JSON", help="Write the summary's figures here.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use the interpreter's own library instead of downloads.")
    ] = False,
    stay: Annotated[
        bool | None, typer.Option("--stay/--stop", help="Leave the stack up until Ctrl-C (default: on a terminal).")
    ] = None,
) -> None:
    """Run the whole loop once on real text."""
    from flows.demo import run_demo

    raise typer.Exit(run_demo(read_settings(), json_file=json_file, offline=offline, stay=stay))


@app.command()
def up(
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, and stop everything on Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Start the local stack of services."""
    from flows import stack

    settings = read_settings()
    if foreground:
        with stack.start(settings, on_event=_note) as running:
            say(as_json, {"urls": running.urls}, *_urls(running.urls), "Stop it with Ctrl-C or: banyan down")
            running.wait()
        return
    from flows.background import start_in_background

    urls = start_in_background(settings, on_event=_note)
    say(as_json, {"urls": urls}, *_urls(urls), "Next: banyan status | banyan demo. Stop it with: banyan down")


@app.command()
def down() -> None:
    """Stop the local stack."""
    from flows import stack

    stopped = stack.down(read_settings())
    print("The stack is stopped; what it made is kept." if stopped else "No stack was running.")


@app.command()
def status(as_json: Json = False) -> None:
    """Say what runs, who serves, what feedback waits.

    Exit code 1 when the stack does not run.
    """
    from flows.status import collect

    facts = collect(read_settings())
    say(as_json, facts.as_dict(), *facts.lines())
    raise typer.Exit(0 if facts.is_running else 1)


@app.command()
def dashboard(
    browse: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Open a browser (default: if one can).")
    ] = None,
) -> None:
    """Open the dashboard of the running stack."""
    from components.supervisor import addresses

    url = addresses(read_settings()).dashboard
    print(f"The dashboard is at {url}")
    if browse if browse is not None else sys.stdout.isatty():
        import webbrowser

        webbrowser.open(url)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is missing here and how to get it."""
    from flows.doctor import examine

    checks = examine(read_settings())
    missing = [check.name for check in checks if check.level == "missing"]
    lines = [
        f"{check.level:<8} {check.name:<13} {check.found}" + (f"  → {check.remedy}" if check.remedy else "")
        for check in checks
    ]
    last = f"Missing: {', '.join(missing)}." if missing else "All that is needed is here. Next: banyan demo"
    say(as_json, {"checks": [check.__dict__ for check in checks]}, *lines, last)
    raise typer.Exit(1 if missing else 0)


# ---------------------------------------------------------------- data and models


@app.command()
def ingest(
    what: Annotated[
        str | None,
        typer.Argument(
            help="A file (text, Markdown, HTML, PDF, CSV, TSV, JSON, JSONL, Parquet, Arrow; also .gz, .zst), a folder, "
            "a quoted glob, a saved `datasets` folder, https://…, s3://…, or a database: postgresql://ann@host/shop."
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Language task: classification, summarisation, corpus …")
    ] = None,
    table: Annotated[str | None, typer.Option("--table", help="Name of the table (default: the file's).")] = None,
    columns: Annotated[
        str, typer.Option("--columns", help="Where names differ, ours=the file's: text=body,label=kind")
    ] = "",
    query: Annotated[str | None, typer.Option("--query", help="Of a database: the SELECT that gives the rows.")] = None,
    mapping: Annotated[
        Path | None,
        typer.Option("--mapping", help="YAML with the fields of a `file` source: all that there is no flag for."),
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence of the rows.")] = None,
    by_recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="Instead of all these: an ingest recipe's file, or its name in flows/recipes."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a data version from text or tables of your own.

    The same input again changes nothing.
    """
    from components.data.manifests import head
    from flows.own import ingest_recipe, own_data, recipe_for, task_of

    settings = read_settings()
    if by_recipe is not None:
        if any((what, task, table, columns, query, mapping, licence)):
            raise UsageError("--recipe says all that there is to say", "give it alone, or leave it out")
        recipe = ingest_recipe(by_recipe)
    else:
        recipe = own_data(
            what,
            task=task,
            table=table,
            columns=columns,
            licence=licence,
            query=query,
            mapping=mapping,
            cache=settings.workspace.inputs,
        )
    before = head(settings)
    run = run_on_worker(settings, "ingest/cpu", {"recipe": recipe.model_dump(mode="json")}, as_json=as_json)
    from flows.outcomes import data_outcome

    facts, lines = data_outcome(settings, table=getattr(recipe.sources[0], "table", None))
    if facts["data_version"] == (before and before.version):
        lines.insert(0, "Nothing has changed: this input gives the version that was current before.")
    base = recipe_for(task_of(recipe))
    next_step = f"Next: banyan train {base} --table {facts['table']}" if facts["table"] else "Next: banyan train RECIPE"
    say(
        as_json,
        {"run": run.id, "changed": facts["data_version"] != (before and before.version), **facts},
        *lines,
        next_step,
    )


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of one in flows/recipes.")],
    table: Annotated[str | None, typer.Option("--table", help="Train on this table instead of the recipe's.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field of the recipe: --set num_epochs=3 (repeatable).")
    ] = None,
    pool: Pool = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Go through everything with two steps, here and now; keep nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train by a recipe, evaluate, gate and register; by a search's, find out first what to train by."""
    from flows.outcomes import model_outcome
    from flows.own import by_hash, gathered, training_request
    from flows.places import place_of

    settings = read_settings()
    flow, given, chosen = training_request(recipe, table=table, changes=set_ or [])
    if dry_run:
        from dataclasses import asdict

        from components.training.dry_run import dry_run_on_newest

        rehearsed = dry_run_on_newest(gathered(chosen, settings), settings=settings)
        say(as_json, asdict(rehearsed), *rehearsed.lines(), f"Next: banyan train {recipe}")
        return
    if pool is None:
        pool, why = place_of(chosen, settings=settings)
        print(why, file=sys.stderr, end="\n" if why else "")
    given |= by_hash(settings, pool=pool)
    run = run_on_worker(settings, f"{flow}/{pool}", given, as_json=as_json)
    if chosen.kind != "pretrain":
        name, next_step = chosen.table, f'Next: banyan ask {chosen.table} "…"'
    else:
        name, next_step = chosen.family, "Next: banyan dashboard"
    facts, lines = model_outcome(settings, table=name, version=run.result.get("version"))
    say(as_json, {"run": run.id, **facts}, *lines, next_step)


@app.command()
def evaluate(
    table: Annotated[str, typer.Argument(help="A table or its model; on a file also MODEL@VERSION.")],
    version: Annotated[int | None, typer.Option("--version", help="Model version (default: the champion).")] = None,
    task: Annotated[str | None, typer.Option("--task", help="With --file: its language task.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Measure on this file, here and now.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="squad, iob2, tsv, jsonl, mbpp … (default: by the file's ending).")
    ] = None,
    columns: Annotated[str, typer.Option("--columns", help="Where names differ, ours=the file's: text=body")] = "",
    max_rows: Annotated[int | None, typer.Option("--max-rows", min=1, help="The first so many rows only.")] = None,
    num_samples: Annotated[int | None, typer.Option("--samples", min=1, help="Of code: pass@K of 2K drawn.")] = None,
    as_json: Json = False,
) -> None:
    """Measure a registered version on the newest data, or on a file."""
    if file or task or format_ or columns or max_rows or num_samples:
        from flows.cli_task import evaluate_file

        which = table if version is None else f"{table}@{version}"
        facts, lines = evaluate_file(
            which, task=task, file=file, format=format_, columns=columns, max_rows=max_rows, num_samples=num_samples
        )
        say(as_json, facts, *lines, "Next: banyan task list")
        return
    from flows.outcomes import figures

    settings = read_settings()
    run = run_on_worker(settings, "evaluate/cpu", {"table": table, "version": version}, as_json=as_json)
    which = f"v{version}" if version is not None else "the champion"
    lines = [f"{table}, {which}, on the newest data: {figures(run.result)}", f"The run: {run.name}"]
    say(as_json, {"run": run.id, "metrics": run.result}, *lines, f"Next: banyan promote {table} --version N")


@app.command()
def promote(
    table: Table,
    version: Annotated[int, typer.Option("--version", help="The version that would replace the champion.")],
    as_json: Json = False,
) -> None:
    """Make a version champion, if the gate says so.

    Exit code 1 if it does not.
    """
    from flows.outcomes import model_outcome

    settings = read_settings()
    run = run_on_worker(settings, "promote/cpu", {"table": table, "version": version}, as_json=as_json)
    facts, lines = model_outcome(settings, table=table, version=version)
    say(as_json, {"run": run.id, **facts}, *lines)
    raise typer.Exit(0 if "champion" in facts["aliases"] else 1)


@app.command()
def rollback(
    table: Table,
    to: Annotated[str, typer.Option("--to", help="A version, or who served at an ISO time; else the one before.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Kept in the journal.")] = "asked for at the command line",
    as_json: Json = False,
) -> None:
    """Serve an earlier champion again."""
    from flows.outcomes import roll_back

    now = roll_back(read_settings(), table=table, to=to, reason=reason)
    say(as_json, now.model_dump(), f"{now} is champion again; the gateway swaps within a second or two.")


@app.command()
def retrain(
    table: Table,
    pool: Pool = None,
    as_json: Json = False,
) -> None:
    """Retrain on all admitted feedback, and ask the gate."""
    from flows.outcomes import model_outcome
    from flows.own import by_hash

    settings, there = read_settings(), pool or "cpu"
    given = {"table": table, **by_hash(settings, pool=there)}
    run = run_on_worker(settings, f"retrain/{there}", given, as_json=as_json)
    if run.outcome != "Completed":
        say(as_json, {"run": run.id, "outcome": run.outcome, "reason": run.message}, f"Not retrained: {run.message}")
        return
    facts, lines = model_outcome(settings, table=table, version=run.result.get("version"))
    say(as_json, {"run": run.id, **facts}, *lines, "Next: banyan status | banyan dashboard")


@app.command()
def loop(
    recipe: Annotated[str, typer.Argument(help="A loop's recipe: a file, or a name in flows/recipes.")] = "loop",
    force: Annotated[bool, typer.Option("--force", help="Do again what has not changed as well.")] = False,
    as_json: Json = False,
) -> None:
    """Run one turn of the loop on the worker; what is unchanged is not done again."""
    from flows.own import loop_recipe

    given = {"recipe": loop_recipe(recipe).model_dump(mode="json"), "force": force}
    run = run_on_worker(read_settings(), "loop/cpu", given, as_json=as_json)
    facts = {"run": run.id, "steps": {step.name: step.seconds for step in run.steps}}
    say(as_json, facts, f"{run.name} is done.", "Next: banyan status | banyan dashboard")


# ---------------------------------------------------------------- asking and rating


@app.command()
def ask(
    table: Table,
    text: Annotated[str, typer.Argument(help="What to ask; - reads standard input.")],
    subject: Annotated[str | None, typer.Option("--subject", help="Who asks; kept as a keyed pseudonym.")] = None,
    as_json: Json = False,
) -> None:
    """Ask the champion; get an answer with a receipt."""
    from flows import gateway

    settings = read_settings()
    answer = gateway.ask(table, sys.stdin.read() if text == "-" else text, subject=subject, settings=settings)
    receipt = answer["receipt"]
    gateway.remember(answer["request_id"], settings=settings)
    others = ", ".join(f"{a['label']} {a['probability']:.2f}" for a in answer["alternatives"][1:4])
    say(
        as_json,
        answer,
        f"{answer['output']}  (confidence {answer['confidence']:.2f}{f'; then {others}' if others else ''})",
        f"{receipt['model']} v{receipt['version']}, weights {receipt['weights_sha256'][:12]}, "
        f"request {answer['request_id']}",
        "Next: banyan rate last --good | --bad | --correct ANSWER",
    )


@app.command()
def rate(
    request: Annotated[str, typer.Argument(help="A request id, or `last`: the last answer to `banyan ask` here.")],
    good: Annotated[bool, typer.Option("--good", help="The answer is right.")] = False,
    bad: Annotated[bool, typer.Option("--bad", help="The answer is wrong.")] = False,
    correct: Annotated[str | None, typer.Option("--correct", help="What the answer should have been.")] = None,
    rating: Annotated[int | None, typer.Option("--rating", min=1, max=5, help="How good it is, 1 to 5.")] = None,
    over: Annotated[
        str | None, typer.Option("--over", help="Another request id: that answer to the same text is the worse one.")
    ] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="Anything else, or only this.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Who rates; kept as a keyed pseudonym.")] = None,
    fate: Annotated[bool, typer.Option("--fate", help="REQUEST is a feedback id: say what became of it.")] = False,
    as_json: Json = False,
) -> None:
    """Rate an answer, or see what became of a rating."""
    from flows import gateway

    settings = read_settings()
    if fate:
        found = gateway.fate(request, settings=settings)
        say(as_json, found, *gateway.history_lines(found))
        return
    from flows.cli_feedback import opinion_of

    more = {"correction": correct, "rating": rating, "other_request_id": over, "comment": comment, "subject": subject}
    opinion = opinion_of(request, good=good, bad=bad, more=more)
    if request == "last":
        opinion["request_id"] = gateway.last_request(settings)
    kept = gateway.rate(opinion, settings=settings)
    say(
        as_json,
        kept,
        f"Kept: feedback {kept['feedback_id']} is {kept['fate']}.",
        f"See what becomes of it: banyan rate {kept['feedback_id']} --fate",
    )


# ---------------------------------------------------------------- groups

app.add_typer(training_app)
app.add_typer(worker_app)
app.add_typer(feedback_app)
app.add_typer(explain_app)
app.add_typer(records_app)
app.add_typer(key_app, name="key")
app.add_typer(schedule_app, name="schedule")
app.add_typer(backup_app)
app.add_typer(task_app, name="task")
app.add_typer(data_app, name="data")
app.add_typer(graph_app, name="graph")
app.add_typer(traffic_app)
app.add_typer(chat_app)


# ---------------------------------------------------------------- shared


def _urls(urls: Any) -> list[str]:
    return [f"  {name:<10} {url}" for name, url in urls.items()]


def _note(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def main() -> None:
    """The entry point of `banyan`."""
    try:
        app(prog_name="banyan")
    except BanyanError as err:
        sys.exit(_fail(str(err), err.exit_code))
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as err:
        sys.exit(_fail(str(err), 1))
    except Exception as err:  # blanket: the edge; a bug of ours still owes its place
        sys.exit(_fail(f"internal error: {type(err).__name__}: {err} — the trace is in {_keep_trace()}", 1))


def _fail(message: str, code: int) -> int:
    print(f"banyan: {' '.join(message.split())}", file=sys.stderr)
    return code


def _keep_trace() -> Path:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="banyan-", suffix=".txt", delete=False) as file:
        traceback.print_exc(file=file)
    return Path(file.name)


if __name__ == "__main__":
    main()
