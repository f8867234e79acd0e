"""A workspace in one file and back: while somebody writes, at another place, and what is damaged is not put back."""

import json
import shutil
import sqlite3
import tarfile
import threading
from pathlib import Path

import pandas as pd
import pytest

from components import backup as backups
from components.data import tables, versioning
from components.errors import InputFileError, UsageError
from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.recipes import FileSource, Ingest
from components.refs import ModelRef
from components.settings import Settings


class Aliases:
    """A registry's aliases, in memory."""

    def __init__(self) -> None:
        self.champion: ModelRef | None = None

    def at_alias(self, *_):
        return self.champion

    def ref(self, name, version):
        return ModelRef(name=name, version=version, run_id="run", weights_sha256=f"{version:064d}")

    def set_alias(self, ref, alias="champion"):
        self.champion = ref


def at(folder: Path, **more) -> Settings:
    return Settings(BANYAN_WORKSPACE=folder, **more)


def answer(ledger: Ledger, number: int) -> None:
    ledger.record_answer(
        request_id=f"r{number:08d}",
        table="things",
        model=Aliases().ref("banyan-things", 1),
        template_sha256="7" * 64,
        generation={},
        text=f"text {number}",
        output="fruit",
        confidence=0.5,
        alternatives=(),
        subject=None,
        seconds=0.1,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A workspace with a data version, answers, feedback and a moved alias; copy it, do not change it."""
    folder = tmp_path_factory.mktemp("made")
    file = folder / "things.csv"
    rows = [
        (f"the {what} number {i} {does}", what)
        for i in range(40)
        for what, does in (("pear", "rolls"), ("tin", "rusts"))
    ]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(file, index=False)
    settings = at(folder / "workspace")
    source = FileSource(path=file, table="things", task="classification")
    versioning.ingest(Ingest(name="own", sources=(source,)), settings=settings)
    with Ledger(settings) as ledger:
        for number in range(5):
            answer(ledger, number)
        ledger.record_feedback("f1", request_id="r00000001", kind="approve", subject="reader", channel="api")
        registry = Aliases()
        journal = Journal(ledger, settings.workspace)
        for version in (1, 2):
            journal.move(registry, registry.ref("banyan-things", version), actor="gate", evidence={})
    artifact = settings.workspace.mlflow / "artifacts" / "1" / "model.safetensors"
    artifact.parent.mkdir(parents=True)
    artifact.write_bytes(bytes(range(256)) * 64)
    with sqlite3.connect(settings.workspace.mlflow / "mlflow.db") as database:
        database.execute("CREATE TABLE runs (name TEXT)")
    return settings.workspace.root


@pytest.fixture
def settings(tmp_path, made) -> Settings:
    shutil.copytree(made, tmp_path / "workspace")
    return at(tmp_path / "workspace")


def test_what_is_put_back_elsewhere_is_what_was_there(made, tmp_path):
    taken = backups.backup(at(made), to=tmp_path / "kept.tar")
    assert taken.path.stat().st_mode & 0o777 == 0o600
    other = at(tmp_path / "another" / "place")
    came = backups.restore(other, source=taken.path)
    assert (came.num_answers, came.num_feedback, came.num_journal_entries) == (5, 1, 4)
    assert came.num_files == taken.num_files
    assert other.workspace.mlflow.joinpath("artifacts/1/model.safetensors").read_bytes() == bytes(range(256)) * 64
    head = versioning.head(other)
    assert head is not None and head.version == came.data_version
    assert len(tables.read_split(versioning.path_of(head, other), "things", "train")) > 40
    assert Path(versioning.versions(other)[0].rejects_file).is_relative_to(other.workspace.root)
    with Ledger(other) as ledger:
        assert ledger.answer("r00000001").text == "text 1"
        assert ledger.pseudonym("reader") == ledger.feedback("things", limit=1)[0].subject, "the key came along"


def test_what_comes_back_can_be_worked_with(settings, tmp_path):
    backups.backup(settings, to=tmp_path / "kept.tar")
    other = at(tmp_path / "other")
    backups.restore(other, source=tmp_path / "kept.tar")
    rows = tables.read_split(versioning.path_of(versioning.head(other), other), "things", "train").head(1)
    more = rows.assign(text="a pear is admitted", id=tables.content_id("a pear is admitted"), origin="feedback")
    admitted = versioning.admit(more, table="things", settings=other)
    assert versioning.head(other) == admitted


def test_a_backup_under_writes_holds_a_whole_ledger(settings, tmp_path):
    stop = threading.Event()

    def write() -> None:
        with Ledger(settings) as ledger:
            number = 100
            while not stop.is_set():
                answer(ledger, number)
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            backups.backup(settings, to=tmp_path / f"{number}.tar")
    finally:
        stop.set()
        writer.join()
    counts = [backups.restore(at(tmp_path / f"w{n}"), source=tmp_path / f"{n}.tar").num_answers for n in range(3)]
    assert 5 <= counts[0] <= counts[1] <= counts[2]
    assert counts[2] > 5


@pytest.mark.parametrize("harm", ["flipped", "cut", "another", "index", "outside"])
def test_a_damaged_backup_is_refused_and_nothing_is_put_back(settings, tmp_path, harm):
    path = tmp_path / "kept.tar"
    backups.backup(settings, to=path)
    content = bytearray(path.read_bytes())
    if harm == "flipped":
        content[content.index(bytes(range(256))) + 7] ^= 1
        path.write_bytes(content)
    elif harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "another":
        path.write_text("not a tar")
    elif harm == "index":
        with tarfile.open(path, "w") as tar:
            backups._add_bytes(tar, backups.INDEX, json.dumps({"format": 99}).encode())
    else:
        with tarfile.open(path, "w") as tar:
            backups._add_bytes(tar, "../escaped", b"x")
    with pytest.raises(InputFileError) as caught:
        backups.restore(at(tmp_path / "other"), source=path)
    assert caught.value.remedy
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "escaped").exists()
    assert not list(tmp_path.glob(".other*"))


def test_a_workspace_in_use_is_not_written_over(settings, tmp_path):
    backups.backup(settings, to=tmp_path / "kept.tar")
    with pytest.raises(UsageError, match="holds a workspace already"):
        backups.restore(settings, source=tmp_path / "kept.tar")


def test_assets_that_are_there_stay(settings, tmp_path):
    backups.backup(settings, to=tmp_path / "kept.tar")
    kept = tmp_path / "other" / "assets" / "file"
    kept.parent.mkdir(parents=True)
    kept.write_text("fetched")
    with pytest.raises(InputFileError):
        backups.restore(at(tmp_path / "other"), source=tmp_path / "gone.tar")
    assert kept.read_text() == "fetched"
    backups.restore(at(tmp_path / "other"), source=tmp_path / "kept.tar")
    assert kept.read_text() == "fetched"


def test_a_file_that_is_there_or_inside_the_workspace_is_refused(settings, tmp_path):
    (tmp_path / "there").write_text("precious")
    with pytest.raises(UsageError, match="is there already"):
        backups.backup(settings, to=tmp_path / "there")
    assert (tmp_path / "there").read_text() == "precious"
    with pytest.raises(UsageError, match="lies in the workspace"):
        backups.backup(settings, to=settings.workspace.root / "kept.tar")
    with pytest.raises(UsageError, match="nothing in"):
        backups.backup(at(tmp_path / "empty"), to=tmp_path / "kept.tar")


def test_what_lies_elsewhere_is_named_without_its_address(settings, tmp_path):
    remote = settings.model_copy(update={"data_remote": "s3://key:secret@bucket"})
    taken = backups.backup(remote, to=tmp_path / "kept.tar")
    assert taken.elsewhere == ("the data remote (BANYAN_DATA_REMOTE)",)
    assert b"secret@bucket" not in taken.path.read_bytes()
