"""The gate between staging and a data version: a Great Expectations checkpoint per batch, with Data Docs kept.

Three questions, each a batch: is the schema right; are the rows right; was the raw batch sound (or do so many
rejects say that it is poisoned)? A check that could not run is another answer than data that fails it: Great
Expectations says `success=False` for both, and only `exception_info` tells them apart.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from components.data import expectations
from components.data.expectations import Batch
from components.data.tables import read_split, split_names, table_info, table_names
from components.errors import BanyanError, CheckBroken, DataStoreError, ValidationFailed
from components.recipes import RejectLimits
from components.settings import Workspace


class Check(BaseModel):
    """One expectation's outcome."""

    model_config = ConfigDict(frozen=True)

    batch: str
    """Table and what of it was looked at, e.g. `library rows`."""
    expectation: str
    meaning: str
    """What it protects, in words."""
    success: bool
    unexpected_count: int = 0
    element_count: int = 0
    examples: tuple[str, ...] = ()
    severity: str = "critical"
    """A warning that fails is shown, and stops nothing."""


class ValidationReport(BaseModel):
    """What the gate said."""

    model_config = ConfigDict(frozen=True)

    success: bool
    checks: tuple[Check, ...]
    docs: str
    """The Data Docs' index page."""
    seconds: float

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.success and check.severity == "critical")

    @property
    def warnings(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.success and check.severity != "critical")


def validate(
    staging_dir: Path,
    *,
    workspace: Workspace,
    tables: Iterable[str] | None = None,
    previous: Path | None = None,
    accepted: Path | None = None,
    rejects: Path | None = None,
    limits: RejectLimits | None = None,
    made: Collection[str] | None = None,
) -> ValidationReport:
    """Check the tables of a staging folder (all, unless named); the report is kept beside it as `validation.json`.

    With `previous`, a version's folder, the test splits must be the same rows as there. With `accepted`, such a
    folder, drift against it is measured. With `rejects`, the share of bad rows in each raw table must stay under
    `limits`; its languages and near-duplicates are asked of the tables `made` (all, unless named).

    Raises:
        ValidationFailed: the data is bad; says which check, how many rows, and where the report lies.
        CheckBroken: a check could not run; nothing is said about the data.
    """
    started = time.monotonic()
    names = sorted(tables) if tables is not None else table_names(staging_dir)
    checkpoint = _Checkpoint(workspace.data / "docs" / staging_dir.parent.name)
    try:
        for table in names:
            _look_at(
                checkpoint,
                staging_dir,
                table,
                previous=previous,
                accepted=accepted,
                rejects=rejects,
                limits=limits,
                made=made,
            )
    except BanyanError:
        raise
    except Exception as err:  # a measure of ours that raises is a broken check: what it would have said is not known
        raise CheckBroken(
            f"a check on {table} could not run: {type(err).__name__}: {err}",
            "this says nothing about the data; the last good version stands",
        ) from err
    report = ValidationReport(
        success=all(check.success or check.severity != "critical" for check in checkpoint.checks),
        checks=tuple(checkpoint.checks),
        docs=str(checkpoint.write_docs()),
        seconds=round(time.monotonic() - started, 2),
    )
    report_path = staging_dir.parent / "validation.json"
    report_path.write_text(report.model_dump_json(indent=1), "utf-8")
    if report.failed:
        first = report.failed[0]
        more = f" (and {len(report.failed) - 1} more checks)" if len(report.failed) > 1 else ""
        what = f"{first.unexpected_count} of {first.element_count} rows" if first.element_count else "the table"
        shown = f", e.g. {first.examples[0]!r}" if first.examples else ""
        raise ValidationFailed(
            f"{first.batch}: {first.meaning}: {what} failed{shown}{more}; report: {report.docs}",
            "look at the report, repair the source, ingest again; the last good version stands",
        )
    return report


def _look_at(
    checkpoint: "_Checkpoint",
    staging_dir: Path,
    table: str,
    *,
    previous: Path | None,
    accepted: Path | None,
    rejects: Path | None,
    limits: RejectLimits | None,
    made: Collection[str] | None,
) -> None:
    info = table_info(staging_dir, table)
    outcomes = [checkpoint.run(batch) for batch in expectations.schema_batches(staging_dir, table, info)]
    if all(outcomes):  # the rows are looked at only if the schema holds
        try:
            frame = expectations.all_rows(staging_dir, table, info)
        except DataStoreError as err:
            checkpoint.run(expectations.unreadable_batch(table, err.message))
            return
        checkpoint.run(expectations.rows_batch(frame, table, info))
        if expectations.has_labels(info):
            checkpoint.run(expectations.labels_batch(frame, table, info))
        if limits is not None and (made is None or table in made):
            if limits.languages:
                checkpoint.run(expectations.languages_batch(frame, table, limits.languages))
            if limits.leak_similarity is not None:
                checkpoint.run(expectations.leaks_batch(frame, table, info, similarity=limits.leak_similarity))
        if previous is not None and table in table_names(previous) and "test" in split_names(previous, table):
            checkpoint.run(expectations.same_test_batch(frame, table, read_split(previous, table, "test")))
        if accepted is not None and table in table_names(accepted):
            before = expectations.trained_before(accepted, table, info)
            if table_info(accepted, table).task == info.task and len(before):
                most = (limits or RejectLimits()).drift
                checkpoint.run(expectations.drift_batch(frame, table, info, before, most=most))
    if rejects is not None and info.task != "corpus":
        checkpoint.run(expectations.raw_batch(staging_dir, table, rejects, limits or RejectLimits()))


# ---------------------------------------------------------------- Great Expectations


class _Checkpoint:
    """Great Expectations with nothing of its own on disk but the Data Docs."""

    def __init__(self, docs_dir: Path) -> None:
        os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
        import great_expectations as gx  # 2–4 s, 283 MB: only where data is validated
        from great_expectations.data_context.types.base import ProgressBarsConfig

        self.gx = gx
        self.docs_dir = docs_dir
        self.checks: list[Check] = []
        self.context = gx.get_context(mode="ephemeral")
        self.context.variables.progress_bars = ProgressBarsConfig(globally=False)
        for name, site in list(
            (self.context.variables.data_docs_sites or {}).items()
        ):  # its own, in a temporary folder
            shutil.rmtree(site["store_backend"]["base_directory"], ignore_errors=True)
            self.context.delete_data_docs_site(name)
        self.context.add_data_docs_site(
            site_name="banyan",
            site_config={
                "class_name": "SiteBuilder",
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs_dir)},
            },
        )
        self.source = self.context.data_sources.add_pandas("staging")

    def run(self, batch: Batch) -> bool:
        """Whether the batch passes; the outcomes are kept.

        Raises:
            CheckBroken: an expectation raised instead of answering.
        """
        definition = self.source.add_dataframe_asset(batch.name).add_batch_definition_whole_dataframe("rows")
        suite = self.gx.ExpectationSuite(
            name=batch.name,
            expectations=[
                getattr(self.gx.expectations, check.kind)(
                    **check.arguments, notes=check.meaning, severity=check.severity
                )
                for check in batch.expectations
            ],
        )
        validation = self.gx.ValidationDefinition(
            name=batch.name, data=definition, suite=self.context.suites.add(suite)
        )
        self.context.validation_definitions.add(validation)
        checkpoint = self.context.checkpoints.add(
            self.gx.Checkpoint(name=batch.name, validation_definitions=[validation], result_format="SUMMARY")
        )
        with _no_fingerprint():
            outcome = checkpoint.run(batch_parameters={"dataframe": batch.frame})
        passed = True
        results: list[Any] = next(iter(outcome.run_results.values())).results
        for result in results:
            kind = result.expectation_config.type
            if broken := _raised(result.exception_info):
                raise CheckBroken(
                    f"check {kind} on {batch.name} could not run: {broken}",
                    "this says nothing about the data; the last good version stands",
                )
            passed &= bool(result.success)
            self.checks.append(_check(batch.name, result))
        return passed

    def write_docs(self) -> Path:
        """The Data Docs' index page, without their fonts and moving pictures (4 MB a site, one site a version)."""
        self.context.build_data_docs(site_names=["banyan"])
        shutil.rmtree(self.docs_dir / "static" / "fonts", ignore_errors=True)
        for picture in (self.docs_dir / "static" / "images").glob("*.gif"):
            picture.unlink()
        return self.docs_dir / "index.html"


@contextlib.contextmanager
def _no_fingerprint() -> Iterator[None]:
    """Great Expectations hashes every cell of a frame for a mark that nobody reads: 2.0 of 3.5 s on a million rows."""
    from great_expectations.execution_engine import pandas_execution_engine as engine

    name = "hash_pandas_dataframe"
    before = getattr(engine, name, None)
    if before is not None:
        setattr(engine, name, lambda _: "")
    try:
        yield
    finally:
        if before is not None:
            setattr(engine, name, before)


def _raised(exception_info: dict[str, Any] | None) -> str:
    """The message of the exception inside, '' when there is none. One dict, or one per metric."""
    info = exception_info or {}
    for entry in [info, *(value for value in info.values() if isinstance(value, dict))]:
        if entry.get("raised_exception"):
            return str(entry.get("exception_message") or "no message")
    return ""


def _check(batch: str, result: Any) -> Check:
    found = result.result or {}
    examples = found.get("partial_unexpected_list") or []
    if not examples and not result.success and found.get("observed_value") is not None:
        examples = [found["observed_value"]]
    column = result.expectation_config.kwargs.get("column", "")
    kind = result.expectation_config.type
    notes = result.expectation_config.notes
    return Check(
        batch=batch,
        expectation=f"{kind}({column})",
        meaning=notes if isinstance(notes, str) else " ".join(notes or ()),
        success=bool(result.success),
        unexpected_count=int(found.get("unexpected_count") or 0),
        element_count=int(found.get("element_count") or 0),
        severity=str(getattr(result.expectation_config.severity, "value", None) or "critical"),
        examples=tuple(dict.fromkeys(str(example)[:120] for example in examples[:5])),
    )
