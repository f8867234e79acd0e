"""A recipe becomes tables in a staging folder; nothing is a data version yet."""

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd

from components.data import files, filters, sources
from components.data.asking import AskedModels, Models
from components.data.back_translation import back_translated
from components.data.catalogues import read_catalogues
from components.data.cleaning import FILE_SHARE, IN_TEST, QUOTA, Row, kept
from components.data.decontamination import drop_contaminated
from components.data.dedup import drop_duplicates, drop_near_duplicates
from components.data.privacy import Span, mask_row
from components.data.readers import parsed
from components.data.readers.opening import InputNote
from components.data.splits import split_by_quota, split_by_share, split_corpus
from components.data.tables import (
    CORPUS,
    columns,
    read_split,
    table_names,
    target_column,
    write_split,
    write_table_info,
)
from components.errors import DataError, MappingError, RecipeError
from components.recipes import (
    BookSource,
    CatalogueSource,
    DocstringSource,
    FileSource,
    Ingest,
    InterpreterSource,
    PackageSource,
)
from components.settings import Settings
from components.tasks import get_task
from components.tasks.base import Task, column_type

Progress = Callable[[str], None]
"""Takes a line of text for whoever watches."""


class FindsNames(Protocol):
    """Finds names of persons; `model` says which model does it."""

    model: str

    def __call__(self, texts: list[str]) -> list[list[Span]]:
        """For each text the persons in it."""
        ...


NameModels = Callable[[str], FindsNames]
"""From what a recipe calls it to the model."""
SURPLUS = 1.6


def silent(_: str) -> None:
    """Nobody watches."""


@dataclass
class BuildReport:
    """What a build did. `staging_dir` holds the tables, `rejects_path` every row that was not kept, with its reason."""

    name: str
    staging_dir: Path
    rejects_path: Path
    tables: dict[str, str] = field(default_factory=dict)
    """Table → task."""
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    """Table → split → rows kept."""
    rejects: dict[str, dict[str, int]] = field(default_factory=dict)
    """Table → reason → rows."""
    changed: dict[str, dict[str, int]] = field(default_factory=dict)
    """Table → what was done to how many kept rows: masked, shortened, filled in."""
    inputs: dict[str, InputNote] = field(default_factory=dict)
    """Own table → what was read, and how."""
    statistics: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """Own table → source → rows, kept, characters, words, languages (see `filters.statistics`)."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage → seconds."""


def build(
    recipe: Ingest,
    *,
    settings: Settings,
    base: Path | None = None,
    progress: Progress = silent,
    names: NameModels | None = None,
    models: Models | None = None,
) -> BuildReport:
    """Read, clean, mask, deduplicate, split and write every table of a recipe.

    `base` is the folder of a data version whose other tables are carried over as they are. `names` gives the models
    that a recipe's `names_model` asks for, `models` those that fill in and translate.

    Raises:
        RecipeError: a source asks for a model, and what gives it is not given.
        AssetError, InputFileError, MappingError: a source cannot be had or read.
        DataError: too few rows to fill a split.
    """
    staging = settings.workspace.data / "staging"
    staging.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=staging, prefix=f"{recipe.name}-{os.getpid()}-"))
    try:
        report = _build(recipe, settings, base, progress, folder, names, models)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return report


def _build(
    recipe: Ingest,
    settings: Settings,
    base: Path | None,
    progress: Progress,
    folder: Path,
    names: NameModels | None,
    models: Models | None,
) -> BuildReport:
    report = BuildReport(recipe.name, folder / "data", folder / "rejects.parquet")
    report.staging_dir.mkdir()
    clock = _Clock(report, progress)
    made: dict[str, list[Row]] = {}
    texts = sources.Texts()
    own_files: list[FileSource] = []
    marked_up: list[DocstringSource | CatalogueSource] = []
    for source in recipe.sources:
        if isinstance(source, FileSource):
            own_files.append(source)
        elif isinstance(source, DocstringSource | CatalogueSource):
            marked_up.append(source)
        else:
            texts.extend(_read(source, recipe, settings))
    clock.stage("read")
    for table, task, rows in (
        ("library", "classification", texts.descriptions),
        ("summary", "summarisation", texts.functions),
    ):
        if rows:
            _clean(rows, report, table)
            drop_near_duplicates(rows)
            quotas = recipe.table_split_rows.get(table, recipe.split_rows)
            strata = "answer" if task == "classification" else "source"
            split_by_quota(rows, quotas, seed=recipe.seed, strata=strata)
            _check_quotas(table, rows, quotas)
            made[table], report.tables[table] = rows, task
            clock.stage(f"{table}: mask, deduplicate, split")
    if texts.documents:
        in_test = {row.group for rows in made.values() for row in rows if row.split == "test"}
        for row in kept(texts.documents):
            row.reason = IN_TEST if row.group in in_test else ""
        split_corpus(
            texts.documents,
            max_chars=recipe.corpus_chars_per_source,
            heldout_share=recipe.corpus_heldout_share,
            seed=recipe.seed,
        )
        _clean(texts.documents, report, "corpus")  # after the quota: masking is what costs
        made["corpus"], report.tables["corpus"] = texts.documents, "corpus"
        clock.stage("corpus: split, mask, deduplicate")
    for gold in marked_up:
        made[gold.table] = _gold_table(gold, recipe, report, settings)
        report.tables[gold.table] = gold.task
        clock.stage(f"{gold.table}: read, mask, deduplicate, split")
    for own in own_files:
        others = {table: rows for table, rows in made.items() if table != own.table}
        asked = AskedModels(models, cache=settings.workspace.inputs)
        made[own.table] = _own_table(
            own, recipe, report, settings, base=base, others=others, names=_names_of(own, names), models=asked
        )
        report.inputs[own.table] = report.inputs[own.table].model_copy(update={"models": asked.used})
        report.tables[own.table] = own.task
        clock.stage(f"{own.table}: read, mask, deduplicate, split")
    for table, rows in made.items():
        _write(table, rows, report)
    _write_rejects(made, report)
    for table in table_names(base) if base else []:
        if table not in made:
            shutil.copytree(base / table, report.staging_dir / table, copy_function=shutil.copyfile)  # type: ignore[operator]
            (report.staging_dir / table).chmod(0o755)
    clock.stage("write")
    return report


def _read(source: PackageSource | BookSource | InterpreterSource, recipe: Ingest, settings: Settings) -> sources.Texts:
    if isinstance(source, PackageSource):
        return sources.read_packages(
            source.assets,
            settings=settings,
            max_chars=recipe.max_text_chars,
            enough=_enough(recipe, num_sources=len(source.assets)),
            seed=recipe.seed,
        )
    if isinstance(source, BookSource):
        return sources.read_books(source.asset, settings=settings)
    return sources.read_interpreter(max_chars=recipe.max_text_chars)


def _enough(recipe: Ingest, *, num_sources: int) -> sources.Enough:
    """Half as much again as the splits need: duplicates go, and so does the rest of a test file."""

    def need(table: str) -> int:
        quotas = recipe.table_split_rows.get(table, recipe.split_rows)
        return int(SURPLUS * sum(quotas.values()) / num_sources)

    return sources.Enough(need("library"), need("summary"), int(SURPLUS * recipe.corpus_chars_per_source))


def _names_of(own: FileSource, names: NameModels | None) -> FindsNames | None:
    if own.names_model is None:
        return None
    if names is None:
        raise RecipeError(f"{own.table}: names_model needs the registry", "ingest it through the stack")
    return names(own.names_model)


def _clean(rows: Sequence[Row], report: BuildReport, table: str, *, task: Task | None = None) -> None:
    """Mask what is personal, then drop duplicates: two texts that differ in an address only are one."""
    report.changed.setdefault(table, {}).update(_mask(rows, task, None))
    drop_duplicates(rows)


def _mask(rows: Sequence[Row], task: Task | None, names: FindsNames | None) -> dict[str, int]:
    """Mask what is personal; in how many kept rows.

    A label is a name, not a text: it is not masked. What points into a text is fitted to the masked one.
    """
    num_masked = num_named = 0
    good = kept(rows)
    persons = names([row.text for row in good]) if names else [[] for _ in good]
    for row, found in zip(good, persons, strict=True):
        before = [row.text, row.answer, *row.more.values()]
        row.text, answer, *more = mask_row(before, [found, *([] for _ in before[1:])])
        num_named += bool(found)
        row.answer = row.answer if _has_labels(task) else answer
        row.more = dict(zip(row.more, more, strict=True))
        if [row.text, row.answer, *more] != before:
            num_masked += 1
            if task:
                files.fit_row(row, task)
    if not names:
        return {"masked": num_masked}
    bad = [row for row in rows if row.reason]  # they are kept as well, beside the version
    for row, found in zip(bad, names([row.text for row in bad]), strict=True):
        row.text = mask_row([row.text], [found])[0]
    return {"masked": num_masked, "names masked": num_named}


def _screen(
    rows: Sequence[Row], own: FileSource, task: Task | None, names: FindsNames | None, *, cache: Path
) -> dict[str, int]:
    """A recipe's rules, then masking, portion by portion; what an interrupted ingest has done is not done again."""
    total: Counter[str] = Counter({"masked": 0} | ({"names masked": 0} if names else {}))
    blocked = own.rules.blocked_words
    how = {
        "rules": own.rules.sha256(),
        "blocked": blocked.read_text("utf-8", "replace") if blocked and blocked.is_file() else "",
        "task": own.task,
        "names": names.model if names else "",
    }
    for start in range(0, len(rows), parsed.PORTION_ROWS):
        portion = rows[start : start + parsed.PORTION_ROWS]
        is_whole = len(portion) == parsed.PORTION_ROWS
        before = [[row.text, row.answer, row.reason, row.more] for row in portion] if is_whole else []
        kept_before = parsed.Portions(cache if is_whole else None, {**how, "rows": before})
        done = kept_before.get("rows")
        if done is None:
            changed = filters.apply_rules(portion, own.rules)
            if task is not None and changed:
                for row in kept(portion):
                    files.fit_row(row, task)  # what points into a text must point into the one that it has become
            changed = _mask(portion, task, names) | changed
            after = [[row.text, row.answer, row.reason, row.more] for row in portion]
            kept_before.keep("rows", {"changed": changed, "rows": after})
        else:
            changed = done["changed"]
            for row, cells in zip(portion, done["rows"], strict=True):
                row.text, row.answer, row.reason, row.more = cells
        total.update(changed)
    return dict(total)


def _has_labels(task: Task | None) -> bool:
    return task is not None and column_type(task, task.columns[1]) == "label"


def _own_table(
    own: FileSource,
    recipe: Ingest,
    report: BuildReport,
    settings: Settings,
    *,
    base: Path | None,
    others: Mapping[str, Sequence[Row]],
    names: FindsNames | None,
    models: AskedModels,
) -> list[Row]:
    reading = files.read_file(own, max_chars=recipe.max_text_chars, cache=settings.workspace.inputs, models=models)
    rows, num_shortened = reading.rows, reading.num_shortened
    report.inputs[own.table] = reading.note.model_copy(update={"names_model": names.model if names else ""})
    task = None if own.task == CORPUS else get_task(own.task)
    changed = _screen(rows, own, task, names, cache=settings.workspace.inputs)
    drop_duplicates(rows)
    measured = _measured_by(base, own.table)
    if task is None or task.distinct_texts:
        drop_near_duplicates(rows, threshold=own.rules.near_duplicate_threshold, first=measured)
    benchmark = filters.read_benchmarks(own.rules.decontaminate)
    if own.rules.decontaminate_own_tests:
        benchmark += _test_texts(base, others, without=own.table)
    if benchmark:
        drop_contaminated(rows, benchmark, num_words=own.rules.decontaminate_words)
    for row in kept(rows):
        row.group = row.group or row.id
    if own.task == CORPUS:
        share = recipe.corpus_heldout_share
        split_corpus(rows, max_chars=1 << 40, heldout_share=share, seed=recipe.seed, before=measured)
    else:
        split_by_share(
            rows,
            recipe.test_share,
            seed=recipe.seed,
            by_label=_has_labels(task),
            before=dict.fromkeys(measured, "test"),
            stratified=own.stratified,
        )
    report.statistics[own.table] = filters.statistics(rows)
    report.changed[own.table] = changed
    report.changed[own.table] |= {"shortened": num_shortened, "filled in": sum(bool(row.imputed) for row in kept(rows))}
    _check_usable(own, rows)
    return [*rows, *_back_translated(own, rows, recipe, report, models)]


def _back_translated(
    own: FileSource, rows: Sequence[Row], recipe: Ingest, report: BuildReport, models: AskedModels
) -> list[Row]:
    if own.back_translation is None:
        return []
    if own.task == CORPUS or get_task(own.task).head in {"tagger", "span"}:
        why = "a corpus has no answers to keep" if own.task == CORPUS else "the answers point into the text"
        raise RecipeError(f"{own.table}: back_translation: {why}", "leave it out")
    made = back_translated(rows, own.back_translation, seed=recipe.seed, models=models)
    report.changed[own.table]["back-translated"] = len(made)
    return made


def _measured_by(base: Path | None, table: str) -> set[str]:
    """Ids of the rows that the version before measured by: they are never trained on later."""
    if base is None or table not in table_names(base):
        return set()
    return {row_id for split in ("test", "heldout") for row_id in read_split(base, table, split)["id"]}


def _test_texts(base: Path | None, made: Mapping[str, Sequence[Row]], *, without: str) -> list[str]:
    texts = [row.text for rows in made.values() for row in kept(rows) if row.split == "test"]
    for table in table_names(base) if base else []:
        if base and table not in made and table != without:
            texts += read_split(base, table, "test")["text"].tolist()
    return texts


def _gold_table(
    gold: DocstringSource | CatalogueSource, recipe: Ingest, report: BuildReport, settings: Settings
) -> list[Row]:
    task = get_task(gold.task)
    quotas = recipe.table_split_rows.get(gold.table, recipe.split_rows)
    if isinstance(gold, CatalogueSource):
        rows = read_catalogues(gold, settings=settings, max_chars=recipe.max_text_chars)
    else:
        enough = int(SURPLUS * sum(quotas.values()))  # of each: one package may hold most of what there is
        rows = sources.read_gold(
            gold.assets, task=task, settings=settings, max_chars=recipe.max_text_chars, enough=enough, seed=recipe.seed
        )
    _clean(rows, report, gold.table, task=task)
    if task.distinct_texts:
        drop_near_duplicates(rows)
    split_by_quota(rows, quotas, seed=recipe.seed, strata="origin")  # one stratum
    _check_quotas(gold.table, rows, quotas)
    return rows


def _check_usable(own: FileSource, rows: Sequence[Row]) -> None:
    splits = Counter(row.split for row in kept(rows))
    reasons = Counter(row.reason for row in rows if row.reason)
    why = "; ".join(f"{reason}: {number}" for reason, number in reasons.most_common(4)) or "none was rejected"
    if own.task != CORPUS and _has_labels(get_task(own.task)):
        labels = sorted({row.answer for row in kept(rows)})
        if len(labels) < 2:
            left = ", ".join(labels) or "none"
            raise MappingError(
                f"{own.address} leaves {len(labels)} usable label(s) of {len(rows)} rows: {left} ({why})",
                "a classification needs at least two labels with at least two different texts each",
            )
    if len(splits) < 2:
        raise MappingError(
            f"{own.address} has too few usable rows to split: {sum(splits.values())} of {len(rows)} ({why})",
            "give more rows, or another test_share",
        )


def _check_quotas(table: str, rows: Sequence[Row], quotas: dict[str, int]) -> None:
    found = Counter(row.split for row in kept(rows))
    short = {split: number for split, number in quotas.items() if found[split] < number}
    if short:
        what = ", ".join(f"{split} {found[split]} of {number}" for split, number in short.items())
        raise DataError(
            f"table {table}: the sources do not fill the splits: {what}", "lower split_rows, or add sources"
        )


def _write(table: str, rows: Sequence[Row], report: BuildReport) -> None:
    task = report.tables[table]
    names, answer = columns(task), target_column(task)
    good = kept(rows)
    report.rows[table] = dict(sorted(Counter(row.split for row in good).items()))
    for split in report.rows[table]:
        in_split = [row for row in good if row.split == split]
        cells = {name: [_cell(row, name, answer) for row in in_split] for name in names}
        write_split(report.staging_dir, table, split, pd.DataFrame(cells, dtype="str"), task=task)
    labels = set() if task == CORPUS else get_task(task).labels([row.answer for row in good])
    licences = {row.source: row.licence for row in good}
    write_table_info(report.staging_dir, table, task=task, labels=labels, licences=licences)


def _cell(row: Row, column: str, answer_column: str) -> str:
    if column in row.more:
        return row.more[column]
    return str(getattr(row, "answer" if column == answer_column else column, ""))  # a column of some sources only


def _write_rejects(made: dict[str, list[Row]], report: BuildReport) -> None:
    rejected = [(table, row) for table, rows in made.items() for row in rows if row.reason]
    for table, rows in made.items():
        report.rejects[table] = dict(Counter(row.reason.split(":")[0] for row in rows if row.reason).most_common())
    frame = pd.DataFrame(
        {
            "table": [table for table, _ in rejected],
            "reason": [row.reason for _, row in rejected],
            "text": [_shown(row) if table != "corpus" else "" for table, row in rejected],
            "answer": [row.answer for _, row in rejected],
            "source": [row.source for _, row in rejected],
            "group": [row.group for _, row in rejected],
        },
        dtype="str",
    )
    frame.to_parquet(report.rejects_path, index=False, compression="zstd")


def _shown(row: Row) -> str:
    """A reject's text, masked; nothing where the row was good and only too many."""
    return "" if row.reason in {QUOTA, FILE_SHARE} else mask_row([row.text])[0]


class _Clock:
    def __init__(self, report: BuildReport, progress: Progress) -> None:
        self.report, self.progress, self.started = report, progress, time.monotonic()

    def stage(self, name: str) -> None:
        """The stage that has just ended."""
        now = time.monotonic()
        self.report.seconds[name] = round(now - self.started, 2)
        self.progress(f"{name}: {now - self.started:.1f} s")
        self.started = now


def read_rejects(path: Path) -> pd.DataFrame:
    """Every rejected row: table, reason, text (masked; '' in a corpus), answer, source, group.

    Raises:
        RecipeError: there is no such file.
    """
    if not path.is_file():
        raise RecipeError(f"there are no rejects at {path}")
    return pd.read_parquet(path)
