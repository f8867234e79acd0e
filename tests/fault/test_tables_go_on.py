"""An ingest is killed while it works on a table's rows; the next one works only on those that it had not."""

import json
import signal
import sqlite3
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data import build, files
from components.data.readers import parsed
from components.recipes import FileSource, Ingest
from components.settings import Settings

NUM_ROWS, PORTION = 300, 20


def watch(log, replace, *, seconds_a_row=0.0) -> None:
    """Small portions, and a line in the log for every row that is read or masked."""

    def watched(kind, work):
        def seen(first, *rest):
            with open(log, "a") as file:  # noqa: PTH123
                file.write(f"{kind} {json.dumps(first)}\n")
            time.sleep(seconds_a_row)
            return work(first, *rest)

        return seen

    replace(parsed, "PORTION_ROWS", PORTION)
    replace(files, "_plain_cells", watched("read", files._plain_cells))
    replace(build, "mask_row", watched("mask", build.mask_row))


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    return Settings()


ROWS = [
    {
        "text": f"Row {number}: " + " ".join(f"word{number * 11 + place}" for place in range(12)),
        "label": "even" if number % 2 == 0 else "odd",
    }
    for number in range(NUM_ROWS)
]


def _source(kind: str, folder) -> dict[str, object]:
    path = folder / f"things.{kind}"
    if kind == "csv":
        cells = [f'"{row["text"]}\nand a line more","{row["label"]}"' for row in ROWS]
        cells[5] += ",one too many"
        cells.insert(70, '"a quote that is never closed')
        path.write_text("\n".join(["text,label", *cells, ""]))
    elif kind == "jsonl":
        path.write_text("\n".join([*map(json.dumps, ROWS[:90]), "", "{torn", *map(json.dumps, ROWS[90:]), ""]))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=33)
    else:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE things (text, label)")
            database.executemany("INSERT INTO things VALUES (?, ?)", [(row["text"], row["label"]) for row in ROWS])
        return {"database": f"sqlite:///{path}", "query": "SELECT text, label FROM things ORDER BY rowid"}
    return {"path": path}


def _killed_after(lines: int, kind: str, recipe: Ingest, log) -> list[str]:
    process = subprocess.Popen([sys.executable, __file__, recipe.model_dump_json(), str(log)])
    try:
        deadline = time.monotonic() + 120
        while not log.exists() or log.read_text().count(f"{kind} ") < lines:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return _logged(log)[kind]


def _logged(log) -> dict[str, list[str]]:
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    log.unlink()
    return {kind: [row for what, row in lines if what == kind] for kind in ("read", "mask")}


@pytest.mark.parametrize(
    ("kind", "stage"), [("csv", "read"), ("jsonl", "read"), ("jsonl", "mask"), ("parquet", "read"), ("sqlite", "read")]
)
def test_an_ingest_killed_in_a_table_does_no_portion_twice_and_ends_with_the_same_bytes(
    tmp_path, settings, monkeypatch, kind, stage
):
    source = FileSource(table="things", task="classification", **_source(kind, tmp_path))
    recipe, log = Ingest(name="things", sources=(source,)), tmp_path / "log"
    begun = _killed_after(110, stage, recipe, log)
    assert 110 <= len(begun) < NUM_ROWS
    with monkeypatch.context() as patch:
        watch(log, patch.setattr)
        again = build.build(recipe, settings=settings)
    done = _logged(log)
    num_kept = len(begun) // PORTION * PORTION  # but for the portion that was being written
    assert not set(done[stage]) & set(begun[: num_kept - PORTION])
    if stage == "mask":
        assert len(done["read"]) < PORTION  # what is no whole portion

    elsewhere = settings.model_copy(update={"workspace_dir": tmp_path / "elsewhere"})
    whole = build.build(recipe, settings=elsewhere)
    assert not any(elsewhere.workspace.inputs.rglob("*.json"))  # fewer rows than a portion has by default
    files_of = [
        {path.name: path.read_bytes() for path in (report.staging_dir / "things").iterdir()}
        | {"rejects": report.rejects_path.read_bytes()}
        for report in (again, whole)
    ]
    assert files_of[0] == files_of[1]
    assert (again.rejects, again.changed, again.inputs) == (whole.rejects, whole.changed, whole.inputs)
    assert (kind in {"csv", "jsonl"}) == ("malformed row" in whole.rejects["things"])


def test_another_rule_or_another_content_is_worked_on_anew(tmp_path):
    same = parsed.Portions(tmp_path, {"rows": ["a"], "rules": 1})
    same.keep("0", {"rows": [1]})
    assert [*parsed.Portions(tmp_path, {"rules": 1, "rows": ["a"]}).done()] == [{"rows": [1]}]
    assert not [*parsed.Portions(tmp_path, {"rules": 2, "rows": ["a"]}).done()]
    [path] = (tmp_path / "parsed").iterdir()
    path.write_text(path.read_text()[:-3])  # torn
    assert same.get("0") is None


if __name__ == "__main__":  # what is killed
    watch(sys.argv[2], setattr, seconds_a_row=0.003)
    build.build(Ingest.model_validate_json(sys.argv[1]), settings=Settings())
