"""What is expected of a data version's tables: one batch a question, each expectation with what it protects.

Nothing here runs a check; `validation.py` gives these to Great Expectations.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.data import cleaning
from components.data.dedup import near_pairs
from components.data.drift import SAMPLE, drifts
from components.data.language import identify
from components.data.tables import (
    BACK_TRANSLATED,
    CORPUS_SPLITS,
    SPLITS,
    TableInfo,
    columns,
    content_id,
    read_split,
    split_names,
    target_column,
)
from components.recipes import RejectLimits
from components.tasks import get_task
from components.tasks.base import column_type

MAX_CHARS = 10_000_000
"""Of one text: beyond, a file was taken for a row."""
WORTH_A_WARNING = 0.3
"""Of a drift: a medium effect (Cohen 1988)."""


@dataclass(frozen=True)
class Expectation:
    """A Great Expectations class by name, its arguments, and in words what it protects."""

    kind: str
    arguments: dict[str, Any]
    meaning: str
    severity: Literal["critical", "warning"] = "critical"
    """A warning is shown, and stops nothing."""


@dataclass(frozen=True)
class Batch:
    """A frame and what is expected of it. The name says the table and what of it, e.g. `library rows`."""

    name: str
    frame: pd.DataFrame
    expectations: tuple[Expectation, ...]


def _values(kind: str, column: str, meaning: str, **arguments: Any) -> Expectation:
    return Expectation(f"ExpectColumnValues{kind}", {"column": column, **arguments}, meaning)


def schema_batches(staging_dir: Path, table: str, info: TableInfo) -> list[Batch]:
    """The columns of each split's file, their types, and the splits there are."""
    allowed = CORPUS_SPLITS if info.task == "corpus" else SPLITS
    found = []
    batches = []
    for split in split_names(staging_dir, table):
        try:
            schema = pq.read_schema(staging_dir / table / f"{split}.parquet")
            found += [(split, name, str(kind)) for name, kind in zip(schema.names, schema.types, strict=True)]
        except (OSError, pa.ArrowException):
            schema = pa.schema([])
            found.append((split, "", "not readable as Parquet"))
        expected = Expectation(
            "ExpectTableColumnsToMatchOrderedList",
            {"column_list": list(columns(info.task))},
            f"the columns of a {info.task} table",
        )
        names = pd.DataFrame({name: pd.Series([], dtype="str") for name in schema.names})
        batches.append(Batch(f"{table} {split} columns", names, (expected,)))
    schema_checks = (
        _values("ToBeInSet", "type", "every column is text", value_set=["string", "large_string"]),
        _values("ToBeInSet", "split", "only known splits", value_set=list(allowed)),
        Expectation(
            "ExpectColumnDistinctValuesToContainSet",
            {"column": "split", "value_set": list(allowed[:2])},
            "something to learn from and something to measure by",
        ),
    )
    frame = pd.DataFrame(found, columns=["split", "column", "type"])
    return [*batches, Batch(f"{table} schema", frame, schema_checks)]


def all_rows(staging_dir: Path, table: str, info: TableInfo) -> pd.DataFrame:
    """The rows of all splits, with what can only be seen across them."""
    parts = [read_split(staging_dir, table, split).assign(split=split) for split in split_names(staging_dir, table)]
    frame = pd.concat(parts, ignore_index=True)
    frame["row"] = frame["split"] + "/" + frame["id"].fillna("")
    texts = frame["text"].to_numpy(object)  # cell by cell out of Arrow took half of all the time
    frame["id_of_text"] = [content_id(text) if isinstance(text, str) else "" for text in texts]
    frame["id_is_of_text"] = frame["id"] == frame["id_of_text"]
    splits, names = pd.factorize(frame["split"])
    measured = splits == list(names).index("heldout" if info.task == "corpus" else "test")
    codes = {column: pd.factorize(frame[column])[0] for column in ("id_of_text", "group")}  # -1 is null
    for column, name in (("id_of_text", "text_is_measured_and_trained"), ("group", "group_is_measured_and_trained")):
        known = codes[column] >= 0
        on_both = np.isin(np.arange(codes[column].max(initial=-1) + 2), codes[column][known & measured])
        on_both &= np.isin(np.arange(len(on_both)), codes[column][known & ~measured])
        frame[name] = on_both[codes[column]]  # the last one, which null points at, is on neither
    if answer := target_column(info.task):
        frame["num_answers"] = 1
        in_split = codes["id_of_text"].astype(np.int64) * len(names) + splits
        _, place, count = np.unique(in_split, return_inverse=True, return_counts=True)
        again = count[place] > 1
        if again.any():
            same = frame[again].groupby(["split", "id_of_text"])[answer]
            frame.loc[again, "num_answers"] = same.transform("nunique")
    return frame


def rows_batch(frame: pd.DataFrame, table: str, info: TableInfo) -> Batch:
    """Nothing empty, nothing twice, nothing contradictory, nothing on both sides of the measurement."""
    answer = target_column(info.task)
    checks = []
    for column in filter(None, ("id", "text", answer, "source", "licence", "group")):
        checks.append(_values("ToNotBeNull", column, f"every row has a {column} (nulls)"))
        length = {"column": column, "min_value": 1} | ({"max_value": MAX_CHARS} if column == "text" else {})
        checks.append(Expectation("ExpectColumnValueLengthsToBeBetween", length, f"no empty {column}"))
    checks += [
        _values("ToBeUnique", "row", "a text is in a split once (duplicates)"),
        _values("ToBeInSet", "id_is_of_text", "the id is the text's hash", value_set=[True]),
        _values(
            "ToBeInSet",
            "text_is_measured_and_trained",
            "no text on both sides of the measurement (leak by content)",
            value_set=[False],
        ),
        _values(
            "ToBeInSet",
            "group_is_measured_and_trained",
            "no source file on both sides of the measurement (leak by file)",
            value_set=[False],
        ),
    ]
    if answer:
        origins = ["provenance", "file", "feedback", BACK_TRANSLATED]
        checks.append(_values("ToBeInSet", "origin", "a known origin", value_set=origins))
        checks.append(_values("ToBeInSet", "num_answers", "one answer a text (conflicting labels)", value_set=[1]))
    if has_labels(info):
        checks.append(_values("ToBeInSet", answer, "only the table's labels", value_set=list(info.labels)))
    looked_at = list(dict.fromkeys(check.arguments["column"] for check in checks))
    return Batch(f"{table} rows", frame[looked_at], tuple(checks))


def has_labels(info: TableInfo) -> bool:
    """Whether a row's answer is one of the table's labels."""
    answer = target_column(info.task)
    return bool(answer) and column_type(get_task(info.task), answer) == "label"


def labels_batch(frame: pd.DataFrame, table: str, info: TableInfo) -> Batch:
    """Each label has rows to learn from and rows to measure by."""
    label = target_column(info.task)
    counts = frame.groupby([label, "split"]).size()
    cells = [(name, split, int(counts.get((name, split), 0))) for name in info.labels for split in ("train", "test")]
    balance = pd.DataFrame(cells, columns=["label", "split", "num_rows"])
    several = {"column": "label", "min_value": 2}
    return Batch(
        f"{table} labels",
        balance,
        (
            _values("ToBeBetween", "num_rows", "each label can be learned and measured", min_value=1),
            Expectation("ExpectColumnUniqueValueCountToBeBetween", several, "at least two labels"),
        ),
    )


def same_test_batch(frame: pd.DataFrame, table: str, before: pd.DataFrame) -> Batch:
    """The test split is, row for row, the one of the version before."""
    now = frame.loc[frame["split"] == "test", list(before.columns)]
    same = before.reset_index(drop=True).equals(now.reset_index(drop=True))
    check = _values("ToBeInSet", "test_split_is_unchanged", "measured on the same rows as before", value_set=[True])
    return Batch(f"{table} test split", pd.DataFrame({"test_split_is_unchanged": [same]}), (check,))


def drift_batch(frame: pd.DataFrame, table: str, info: TableInfo, before: pd.DataFrame, *, most: float | None) -> Batch:
    """The training rows against those of the last accepted version; beyond `most` it fails, without one it warns."""
    label = target_column(info.task) if has_labels(info) else ""
    found = drifts(before, frame[frame["split"] == "train"], label=label)
    rows = pd.DataFrame([{**asdict(drift), "certain": drift.certain} for drift in found])
    check = Expectation(
        "ExpectColumnValuesToBeBetween",
        {"column": "certain", "max_value": WORTH_A_WARNING if most is None else most},
        "labels, sources, languages and lengths as in the last accepted version (drift)",
        "warning" if most is None else "critical",
    )
    return Batch(f"{table} drift", rows, (check,))


def trained_before(version_dir: Path, table: str, info: TableInfo) -> pd.DataFrame:
    """What drift is measured against: of an accepted version's training rows, the columns that are compared."""
    path = version_dir / table / "train.parquet"
    compared = ["text", "source", *([target_column(info.task)] if has_labels(info) else [])]
    return pq.read_table(path, columns=compared).to_pandas() if path.is_file() else pd.DataFrame(columns=compared)


def languages_batch(frame: pd.DataFrame, table: str, least: Mapping[str, float]) -> Batch:
    """The language of so many texts of each split, against the smallest share that each language may have."""
    sample = frame.groupby("split").head(SAMPLE)["text"]  # ids are hashes, so the first are as good as drawn
    found = pd.DataFrame({"language": [identify(str(text)).language for text in sample]}, dtype="str")
    checks = tuple(
        _values(
            "ToBeInSet",
            "language",
            f"at least {share:.0%} of the texts are in {name} (language mix)",
            value_set=[name],
            mostly=share,
        )
        for name, share in sorted(least.items())
    )
    return Batch(f"{table} languages", found, checks)


def leaks_batch(frame: pd.DataFrame, table: str, info: TableInfo, *, similarity: float) -> Batch:
    """The rows that are measured by, each with whether a training text is nearly the same."""
    texts = frame["text"].fillna("").tolist()
    measured = (frame["split"] == ("heldout" if info.task == "corpus" else "test")).to_numpy(bool)
    pairs = near_pairs(texts, threshold=similarity)
    across = pairs[measured[pairs[:, 0]] != measured[pairs[:, 1]]]
    leaks = np.zeros(len(texts), bool)
    leaks[across.ravel()] = True
    rows = pd.DataFrame({"text": frame["text"][measured], "resembles_a_training_text": leaks[measured]})
    check = _values(
        "ToBeInSet",
        "resembles_a_training_text",
        f"no text to measure by has a training text like it at {similarity:g} or more (near-duplicate leak)",
        value_set=[False],
    )
    return Batch(f"{table} near-duplicates across splits", rows, (check,))


def unreadable_batch(table: str, problem: str) -> Batch:
    """Of a table whose files cannot be read, though their schema can: that is bad data."""
    check = _values("ToBeInSet", "problem", "every file can be read to its end", value_set=["none"])
    return Batch(f"{table} content", pd.DataFrame({"problem": [problem]}), (check,))


def raw_batch(staging_dir: Path, table: str, rejects: Path, limits: RejectLimits) -> Batch:
    """The raw rows of a table, by what became of them: so many rejects say that the whole batch is poisoned."""
    rejected = pd.read_parquet(rejects)
    reasons = [str(reason).partition(":")[0] for reason in rejected.loc[rejected["table"] == table, "reason"]]
    num_kept = sum(len(read_split(staging_dir, table, split)) for split in split_names(staging_dir, table))
    frame = pd.DataFrame({"reason": reasons + ["kept"] * num_kept}, dtype="str")
    kinds = (
        (
            limits.missing,
            (cleaning.NO_TEXT, cleaning.NO_ANSWER, cleaning.MALFORMED, cleaning.MISFIT),
            "without text or label (nulls)",
        ),
        (limits.duplicate, (cleaning.DUPLICATE, cleaning.NEAR_DUPLICATE), "duplicates"),
        (limits.conflicting, (cleaning.CONFLICT,), "with conflicting labels"),
        (limits.unknown_label, (cleaning.UNKNOWN_LABEL,), "with an unknown label"),
    )
    checks = tuple(
        _values(
            "ToNotBeInSet",
            "reason",
            f"at most {limit:.0%} of the raw rows {words}",
            value_set=list(reasons_of_kind),
            mostly=round(1.0 - limit, 6),
        )
        for limit, reasons_of_kind, words in kinds
    )
    return Batch(f"{table} raw rows", frame, checks)
