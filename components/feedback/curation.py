"""From feedback to training rows: a pure function of the ledger's cut, the data version and the policy."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from components.data.tables import columns, empty_frame, read_split, split_names, table_info
from components.feedback.reasons import KEPT_ASIDE
from components.feedback.screening import Admitted, Refused, screen
from components.ledger.queries import LedgerQueries
from components.recipes import ScreeningPolicy
from components.tasks.base import Task

LICENCE = "contributed"
"""Of a text that somebody typed; one that replays a row of the table keeps that row's."""


@dataclass(frozen=True)
class Curated:
    """What the feedback up to a cut comes to. `rows` has the table's columns, sorted by id: give it to `admit`."""

    table: str
    cut: int
    rows: pd.DataFrame
    admitted: tuple[Admitted, ...]
    refused: tuple[Refused, ...]
    kept_aside: pd.DataFrame
    """The feedback test set, in the same columns: what subjects whom no training sees said of texts that no admitted
    row is about. Empty unless the policy keeps a share aside."""

    @property
    def reasons(self) -> dict[str, int]:
        """Reason → refused rows, most frequent first."""
        counts = pd.Series([one.reason for one in self.refused], dtype="str").value_counts()
        return {str(reason): int(count) for reason, count in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))}


def rows_for_training(
    ledger: LedgerQueries,
    table: str,
    cut: int,
    *,
    task: Task,
    data_dir: Path,
    policy: ScreeningPolicy | None = None,
) -> Curated:
    """Screen a table's feedback up to `cut` against the version in `data_dir`, and make training rows of it.

    Always all rows since the beginning, never "the new ones": a retraining starts from the base weights (design
    D7). The version's own split `feedback` is not looked at. Texts are the ledger's masked copies.

    Raises:
        MappingError: the version has no such table.
        LedgerError: the ledger did not answer.
    """
    info = table_info(data_dir, table)
    admitted, refused = screen(
        ledger.feedback_upto(table, cut),
        task=task,
        labels=info.labels,
        train=read_split(data_dir, table, "train"),
        test=read_split(data_dir, table, "test"),
        policy=policy,
        appealed=ledger.appealed_upto(table, cut),
    )
    origins = _origins(data_dir, table)
    taught = {one.row_id for one in admitted}
    aside = [one.said for one in refused if one.reason == KEPT_ASIDE and one.said and one.said.row_id not in taught]
    return Curated(
        table,
        cut,
        _frame(admitted, origins, task=task, table_task=info.task),
        tuple(admitted),
        tuple(refused),
        kept_aside=_frame(_agreed_once(aside), origins, task=task, table_task=info.task),
    )


def _frame(
    chosen: Iterable[Admitted], origins: Mapping[str, tuple[str, str]], *, task: Task, table_task: str
) -> pd.DataFrame:
    rows = []
    for one in chosen:
        licence, group = origins.get(one.row_id, (LICENCE, f"feedback/{one.row_id}"))
        row = dict.fromkeys(columns(table_task), "")
        row |= {"id": one.row_id, "text": one.feedback.text, task.columns[1]: one.target, "origin": "feedback"}
        row |= {"source": f"feedback/{one.feedback.channel}", "licence": licence, "group": group}
        rows.append(row)
    frame = pd.DataFrame(rows, columns=list(columns(table_task))) if rows else empty_frame(table_task)
    return frame.sort_values("id", ignore_index=True)


def _agreed_once(said: Iterable[Admitted]) -> list[Admitted]:
    """One row a text, of the texts on which all say the same."""
    by_text: dict[str, list[Admitted]] = {}
    for one in said:
        by_text.setdefault(one.row_id, []).append(one)
    return [same[0] for same in by_text.values() if len({one.target for one in same}) == 1]


def _origins(data_dir: Path, table: str) -> dict[str, tuple[str, str]]:
    """Row id → (licence, group) of the version's held-back rows: feedback on one of them keeps where it is from."""
    found: dict[str, tuple[str, str]] = {}
    for split in sorted(set(split_names(data_dir, table)) & {"pool", "reserve"}):
        frame = read_split(data_dir, table, split)
        found |= dict(zip(frame["id"], zip(frame["licence"], frame["group"], strict=True), strict=True))
    return found
