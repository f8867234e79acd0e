"""A data version of one small table, and a ledger with answers about it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from components.data.tables import columns, content_id, write_split, write_table_info
from components.ledger.store import Ledger
from components.refs import ModelRef
from components.settings import Settings

LABELS = ("django", "mne", "sympy")


def table_rows(texts: dict[str, str], *, licence: str = "BSD-3-Clause", origin: str = "provenance") -> pd.DataFrame:
    """Text → label, as rows of a classification table; each text has a file of its own."""
    rows = []
    for text, label in texts.items():
        row = dict.fromkeys(columns("classification"), "")
        row |= {"id": content_id(text), "text": text, "label": label, "source": label, "licence": licence}
        rows.append(row | {"group": f"{label}/{content_id(text)}.py", "origin": origin})
    return pd.DataFrame(rows, columns=list(columns("classification")))


@pytest.fixture
def data_dir(tmp_path) -> Path:
    folder = tmp_path / "version"
    splits = {
        "train": {"simplify an expression": "sympy", "render a template": "django"},
        "test": {"plot the power spectrum of all channels at once": "mne"},
        "pool": {"factor a polynomial": "sympy", "read raw data": "mne"},
    }
    for split, texts in splits.items():
        write_split(folder, "library", split, table_rows(texts), task="classification")
    licences = dict.fromkeys(LABELS, "BSD-3-Clause")
    write_table_info(folder, "library", task="classification", labels=LABELS, licences=licences)
    return folder


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    return Settings()


@pytest.fixture
def ledger(settings) -> Iterator[Ledger]:
    with Ledger(settings) as opened:
        yield opened


@pytest.fixture
def give(ledger: Ledger) -> Callable[..., str]:
    """Records an answer to a text and feedback on it; gives the feedback's id."""

    def record(text: str, *, output: str = "django", kind: str = "correct", **more: str) -> str:
        number = ledger.cut() + 1
        ledger.record_answer(
            f"request-{number}",
            table="library",
            model=ModelRef(name="banyan-library", version=1, run_id="r", weights_sha256="1" * 64),
            template_sha256="",
            generation={},
            text=text,
            output=output,
        )
        ledger.record_feedback(f"feedback-{number}", request_id=f"request-{number}", kind=kind, **more)
        return f"feedback-{number}"

    return record
