import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.data import tables, versioning
from components.data.dvc_store import DvcStore
from components.data.remotes import remote_of, without_secrets
from components.errors import DataStoreError, UsageError
from tests.unit.data.remote_servers import BUCKET, SECRET, s3_server, ssh_server


def _staging(folder: Path, num_files: int) -> Path:
    tables.write_table_info(folder, "t", task="corpus", labels=(), licences={})
    tables.write_split(folder, "t", "train", tables.empty_frame("corpus"), task="corpus")
    for number in range(num_files):
        (folder / "t" / f"shard-{number}.txt").write_text(f"{folder.name} {number}")
    return folder


@pytest.fixture(scope="module")
def s3():
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def on_s3(s3, tmp_path_factory):
    """A workspace with one version in a bucket; its settings and the version."""
    from components.settings import Settings

    folder = tmp_path_factory.mktemp("on-s3")
    settings = Settings().model_copy(update={"workspace_dir": folder / "workspace", "data_remote": s3})
    return settings, versioning.commit(_staging(folder / "first", 3), settings=settings)


def _keys() -> list[str]:
    import boto3

    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def test_a_version_on_s3_is_adopted_by_another_workspace(on_s3, tmp_path):
    settings, ref = on_s3
    elsewhere = settings.model_copy(update={"workspace_dir": tmp_path / "elsewhere"})
    assert versioning.adopt(versioning.pointer(ref, settings), settings=elsewhere) == ref
    assert versioning.head(elsewhere) == ref
    versioning.check_out(ref, tmp_path / "out", settings=elsewhere)
    assert tables.table_sha256(tmp_path / "out", "t") == ref.tables["t"]


def test_what_is_lost_and_damaged_on_s3_is_found_and_repaired_from_the_workspace_that_has_it(on_s3):
    import boto3

    settings, ref = on_s3
    assert versioning.verify_remote(ref.version, settings=settings) == ([], [])
    lost, damaged, *_ = [key for key in _keys() if not key.endswith(".dir")]
    boto3.client("s3").delete_object(Bucket=BUCKET, Key=lost)
    boto3.client("s3").put_object(Bucket=BUCKET, Key=damaged, Body=b"something else")
    names = [key.rpartition("md5/")[2].replace("/", "") for key in (lost, damaged)]
    assert versioning.verify_remote(ref.version, settings=settings, repair=True) == ([names[0]], [names[1]])
    assert versioning.verify_remote(ref.version, settings=settings) == ([], [])


def test_no_key_is_written_down_or_said(on_s3, monkeypatch):
    settings, ref = on_s3
    store = DvcStore(settings.model_copy(update={"data_remote": "s3://another-bucket/banyan"}))
    with pytest.raises(DataStoreError, match="bucket does not exist") as caught:
        store.push(ref.version)
    assert SECRET not in f"{caught.value} {caught.value.remedy}"
    kept = [path for path in settings.workspace.root.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
    assert without_secrets(f"refused: {SECRET} a-token ssh://ann:pw@host/x") == "refused: … … ssh://ann:…@host/x"


def test_a_password_in_the_address_is_refused_without_being_repeated(settings):
    with pytest.raises(DataStoreError, match="holds a password") as caught:
        remote_of(settings.model_copy(update={"data_remote": "s3://AKID:hush@team/banyan"}))
    assert "hush" not in f"{caught.value} {caught.value.remedy}"


def test_a_protocol_that_is_not_installed_names_the_extra(settings, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataStoreError, match="needs the package dvc-ssh") as caught:
        remote_of(settings.model_copy(update={"data_remote": "ssh://host/data"}))
    assert "banyan-llm[ssh]" in caught.value.remedy


def test_a_pointer_that_is_none_is_refused(settings):
    with pytest.raises(UsageError, match="no pointer"):
        versioning.adopt("outs: []", settings=settings)


def test_a_version_is_pushed_over_ssh_and_comes_back(settings, tmp_path):
    with ssh_server(tmp_path / "home") as url:
        there = settings.model_copy(update={"data_remote": url})
        ref = versioning.commit(_staging(tmp_path / "first", 2), settings=there)
        assert versioning.verify_remote(ref.version, settings=there) == ([], [])
        shutil.rmtree(versioning.path_of(ref, there))
        shutil.rmtree(there.workspace.data / "repo")
        assert tables.table_sha256(versioning.path_of(ref, there), "t") == ref.tables["t"]
        (tmp_path / "home" / ".ssh" / "id_ed25519").unlink()
        with pytest.raises(DataStoreError, match="Permission denied"):
            DvcStore(there).missing(ref.version)


WRITER = """
import sys
from pathlib import Path
from components.data import versioning
from components.settings import load_settings
with versioning._locked(load_settings(), "ingest", lambda line: print(line, flush=True)):
    print("has it", flush=True)
    sys.stdin.read()
"""


def test_of_two_writers_the_second_is_told_and_waits(settings):
    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    first = start()
    assert first.stdout.readline() == "has it\n"
    second = start()
    try:
        assert "waiting for it" in second.stdout.readline()
        first.stdin.close()
        assert second.stdout.readline() == "has it\n"
    finally:
        for process in (first, second):
            process.stdin.close()
            assert process.wait(60) == 0
            process.stdout.close()
