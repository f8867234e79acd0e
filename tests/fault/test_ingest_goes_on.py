"""An ingest is killed while it reads documents; the next one reads only those that it had not."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.data import versioning
from components.data.build import build
from components.recipes import FileSource, Ingest
from components.settings import Settings

NUM_DOCUMENTS = 40

INGEST = """
import sys, time
from pathlib import Path
from components.data.readers import opening
from components.data import versioning
from components.recipes import FileSource, Ingest
from components.settings import Settings

read = opening.read_document
def watched(content, **how):
    with open(sys.argv[2], "a") as file:
        file.write(how["name"] + "\\n")
    time.sleep(0.05)
    return read(content, **how)
opening.read_document = watched
source = FileSource(path=Path(sys.argv[1]), table="pages", task="corpus")
versioning.ingest(Ingest(name="pages", sources=(source,)), settings=Settings())
"""


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    return Settings()


def _documents(folder: Path) -> Path:
    folder.mkdir()
    for number in range(NUM_DOCUMENTS):
        words = " ".join(f"word{number * 7 + place}" for place in range(30))
        (folder / f"{number:02}.html").write_text(f"<html><body><article><p>{words}.</p></article></body></html>")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 torn")
    return folder


def test_an_ingest_that_was_killed_reads_no_document_twice_and_ends_with_the_same_rows(tmp_path, settings):
    folder, log = _documents(tmp_path / "documents"), tmp_path / "read.log"
    command = [sys.executable, "-c", INGEST, str(folder), str(log)]
    first = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and (not log.exists() or log.read_text().count("\n") < 15):
            assert first.poll() is None
            time.sleep(0.02)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    begun = log.read_text().splitlines()
    assert 15 <= len(begun) < NUM_DOCUMENTS
    kept = list((settings.workspace.inputs / "parsed").glob("*.json"))
    assert len(kept) >= len(begun) - 1

    subprocess.run(command, check=True)
    read = log.read_text().splitlines()
    assert len(set(read)) == NUM_DOCUMENTS + 1
    assert set(read[len(begun) :]) & set(begun) <= {begun[-1]}  # the one that it was killed in, at most
    assert not (settings.workspace.inputs / "parsed").exists()  # they hold what people wrote, unmasked

    elsewhere = settings.model_copy(update={"workspace_dir": tmp_path / "elsewhere"})
    source = FileSource(path=folder, table="pages", task="corpus")
    whole = build(Ingest(name="pages", sources=(source,)), settings=elsewhere)
    done = versioning.path_of(versioning.head(settings), settings) / "pages"
    assert {path.name: path.read_bytes() for path in done.iterdir()} == {
        path.name: path.read_bytes() for path in (whole.staging_dir / "pages").iterdir()
    }
    [manifest] = versioning.versions(settings)
    assert manifest.rejects == whole.rejects
