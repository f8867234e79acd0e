"""`banyan feedback` and `banyan appeal`: bring feedback in, look at it, take it out, overrule a refusal."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from components.errors import UsageError
from flows.console import Json, read_settings, say

if TYPE_CHECKING:
    import pandas as pd

    from components.feedback.curation import Curated
    from components.feedback.imports import Said
    from components.ledger.schema import Feedback
    from components.settings import Settings

app = typer.Typer(no_args_is_help=True)
feedback_app = typer.Typer(no_args_is_help=True, help="Bring feedback in, look at it, take it out.")
app.add_typer(feedback_app, name="feedback")

Table = Annotated[str, typer.Argument(help="The table, as in `ingest --table`.")]


@feedback_app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSONL, or an export of Label Studio or Argilla.")],
    table: Annotated[str, typer.Option("--table", help="The table whose model the rows are about.")],
    format_: Annotated[
        Literal["jsonl", "label-studio", "argilla"], typer.Option("--format", help="What wrote the file.")
    ] = "jsonl",
    text_field: Annotated[str, typer.Option("--text-field", help="The field that holds the text.")] = "text",
    as_json: Json = False,
) -> None:
    """Hand a file's answers in as feedback.

    The champion is asked each text; its answer is approved or corrected. Screening decides later what may teach.
    """
    from components.feedback import imports

    settings = read_settings()
    if format_ == "jsonl" and (opinions := imports.opinions(file)):
        from flows import gateway

        with typer.progressbar(opinions, label="rows", file=_nowhere() if as_json else None) as waiting:
            for opinion in waiting:
                gateway.rate(opinion, settings=settings)
        kinds = Counter(str(one["kind"]) for one in opinions)
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        say(
            as_json,
            {"rows": len(opinions), **kinds},
            f"{len(opinions)} rows about answers that were given here: {told}",
        )
        return
    said = imports.read(file, format=format_, text_field=text_field)
    counts = {"approve": 0, "correct": 0, "already": 0}
    with typer.progressbar(said, label="rows", file=_nowhere() if as_json else None) as rows:
        for one in rows:
            counts[_hand_in(one, table, settings)] += 1
    say(
        as_json,
        {"rows": len(said), **counts},
        f"{len(said)} rows: {counts['approve']} approve what {table} answers, {counts['correct']} correct it, "
        f"{counts['already']} were here already.",
        f"Next: banyan feedback list {table} | banyan retrain {table}",
    )


@feedback_app.command("list")
def list_(
    table: Table,
    refused: Annotated[bool, typer.Option("--refused", help="Only what was refused.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 50,
    as_json: Json = False,
) -> None:
    """Show a table's newest feedback and what became of it."""
    from components.ledger.store import Ledger

    with Ledger(read_settings()) as ledger:
        rows = ledger.feedback(table, fate="refused" if refused else None, limit=limit)
    shown = [{name: getattr(row, name) for name in ("feedback_id", "kind", "fate", "reason", "text")} for row in rows]
    lines = [
        f"{row.feedback_id}  {row.kind:<8} {_standing(row):<50.50} {' '.join(row.text.split())[:40]}" for row in rows
    ]
    say(as_json, {"table": table, "feedback": shown}, *(lines or [f"There is no such feedback on {table}."]))


@feedback_app.command()
def export(
    table: Table,
    file: Annotated[Path, typer.Argument(help="The Parquet file to write.")],
    what: Annotated[
        Literal["rows", "kept-aside", "dpo", "kto"],
        typer.Option("--what", help="Training rows, the feedback test set, or preference data."),
    ] = "rows",
    as_json: Json = False,
) -> None:
    """Write what screening leaves of all feedback so far to a file."""
    curated, rows = _curated(table, read_settings())
    frame = _part(what, curated, rows)
    frame.to_parquet(file, index=False)
    say(as_json, {"rows": len(frame), "file": str(file)}, f"{len(frame)} rows in {file}")


@app.command()
def appeal(
    feedback_id: Annotated[str, typer.Argument(help="As in `banyan feedback list TABLE --refused`.")],
    why: Annotated[str, typer.Option("--why", help="Kept with it, and read by whoever gave the feedback.")],
    as_json: Json = False,
) -> None:
    """Overrule the refusal of a feedback row.

    The next retraining admits it.
    """
    from components.feedback import appeals
    from components.ledger.actions import at_this_machine
    from components.ledger.store import Ledger

    with Ledger(read_settings()) as ledger:
        sequence = appeals.appeal(ledger, feedback_id, actor=at_this_machine(), why=why)
    say(
        as_json,
        {"feedback_id": feedback_id, "sequence": sequence},
        f"Feedback {feedback_id} is admitted by the next retraining. See: banyan rate {feedback_id} --fate",
    )


# ---------------------------------------------------------------- shared


def opinion_of(request_id: str, *, good: bool, bad: bool, more: dict[str, Any]) -> dict[str, Any]:
    """What `POST /v1/feedback` takes, from what `banyan rate` was given.

    Raises:
        UsageError: nothing was said, or more than one thing.
    """
    named = {"correct": "correction", "rate": "rating", "prefer": "other_request_id"}
    said = {"approve": good, "reject": bad} | {kind: more[name] is not None for kind, name in named.items()}
    kinds = [kind for kind, given in said.items() if given]
    if len(kinds) != 1 and not (more["comment"] and not kinds):
        raise UsageError(
            "say one of --good, --bad, --correct ANSWER, --rating N and --over REQUEST, or --comment alone",
            "for example: banyan rate last --good",
        )
    opinion = {"request_id": request_id, "kind": kinds[0] if kinds else "comment", "channel": "cli"}
    return opinion | {name: value for name, value in more.items() if value}


def _hand_in(one: "Said", table: str, settings: "Settings") -> str:
    from flows import gateway

    feedback_id = one.feedback_id(table)
    try:
        gateway.fate(feedback_id, settings=settings)
    except UsageError:
        pass  # not there yet
    else:
        return "already"
    answer = gateway.ask(table, one.text, subject=one.subject, settings=settings)
    kind = "approve" if " ".join(answer["output"].split()) == " ".join(one.answer.split()) else "correct"
    opinion: dict[str, Any] = {
        "feedback_id": feedback_id,
        "request_id": answer["request_id"],
        "kind": kind,
        "channel": "import",
    }
    opinion |= {"correction": one.answer} if kind == "correct" else {}
    opinion |= {k: v for k, v in {"subject": one.subject, "comment": one.comment}.items() if v}
    gateway.rate(opinion, settings=settings)
    return kind


def _curated(table: str, settings: "Settings") -> "tuple[Curated, list[Feedback]]":
    from components.data import versioning
    from components.data.tables import table_info
    from components.feedback.curation import rows_for_training
    from components.ledger.store import Ledger
    from components.tasks import get_task
    from flows import policies

    ref = versioning.head(settings)
    if ref is None:
        raise UsageError("there is no data version", "first: banyan ingest FILE")
    data_dir = versioning.path_of(ref, settings)
    task = get_task(table_info(data_dir, table).task)
    with Ledger(settings) as ledger:
        cut = ledger.cut()
        curated = rows_for_training(ledger, table, cut, task=task, data_dir=data_dir, policy=policies.screening())
        return curated, ledger.feedback_upto(table, cut)


def _part(what: str, curated: "Curated", rows: "list[Feedback]") -> "pd.DataFrame":
    from components.feedback import preferences

    if what == "rows":
        return curated.rows
    if what == "kept-aside":
        return curated.kept_aside
    usable = preferences.usable(rows, curated.refused)
    return preferences.dpo_pairs(usable) if what == "dpo" else preferences.kto_rows(usable)


def _standing(row: "Feedback") -> str:
    return f"{row.fate}: {row.reason}" if row.reason else row.fate


def _nowhere() -> Any:
    import io

    return io.StringIO()
