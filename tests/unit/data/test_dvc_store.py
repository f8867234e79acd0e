import shutil

import pytest

from components.data import tables, versioning
from components.data.dvc_store import DvcStore
from components.errors import DataStoreError


@pytest.fixture
def version(settings, one_version):
    shutil.copytree(one_version, settings.workspace.root)
    return versioning.head(settings)


def _objects(settings):
    return sorted(path for path in settings.workspace.remote.rglob("*") if path.is_file() and path.suffix != ".dir")


def test_what_dvc_calls_in_sync_is_looked_for_in_the_remote(settings, version):
    store = DvcStore(settings)
    assert store.missing(version.version) == []
    lost, damaged, *_ = _objects(settings)
    lost.unlink()
    damaged.write_bytes(b"half")
    assert store.missing(version.version) == sorted(path.parent.name + path.name for path in (lost, damaged))


def test_an_incomplete_push_is_repaired_by_the_next_commit(settings, version):
    """The state that a push killed while collecting leaves: the folder's list is in the remote, some files are not."""
    store = DvcStore(settings)
    lost, damaged, *_ = _objects(settings)
    lost.unlink()
    damaged.write_bytes(b"half")
    store._dvc("push", "data.dvc")  # DVC alone believes the list
    assert store.missing(version.version)
    assert versioning.commit(versioning.path_of(version, settings), settings=settings) == version
    assert store.missing(version.version) == []
    shutil.rmtree(versioning.path_of(version, settings))
    shutil.rmtree(settings.workspace.data / "repo")
    assert tables.table_sha256(versioning.path_of(version, settings), "things") == version.tables["things"]


def test_a_remote_that_cannot_be_written_makes_no_version(settings, version, tmp_path):
    blocked = tmp_path / "a-file"
    blocked.write_text("not a folder")
    elsewhere = settings.model_copy(update={"data_remote": str(blocked)})
    staging = tmp_path / "staging" / "data"
    shutil.copytree(versioning.path_of(version, settings), staging)
    (staging / "things" / "table.json").chmod(0o644)
    (staging / "things" / "table.json").write_text((staging / "things" / "table.json").read_text() + "\n")
    with pytest.raises(DataStoreError, match="dvc push failed") as caught:
        versioning.commit(staging, settings=elsewhere)
    assert str(blocked) in caught.value.remedy
    assert versioning.head(settings) == version
    assert len(versioning.versions(settings)) == 1


def test_a_remote_that_is_no_folder_is_asked_through_dvc(settings, version):
    store = DvcStore(settings)
    store.local_remote = None  # as for s3://…: the objects are asked for, not looked at
    [lost, *_] = _objects(settings)
    lost.unlink()
    assert store.missing(version.version) == [lost.parent.name + lost.name]
    store._delete_from_remote([f"{version.version}.dir"])
    assert f"{version.version}.dir" in store.missing(version.version)
    store.push(version.version)
    assert store.missing(version.version) == []


def test_a_persons_own_dvc_settings_change_nothing(settings, version, monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path))
    (tmp_path / "config").write_text(
        "[core]\n    remote = elsewhere\n    autostage = true\n[cache]\n    type = symlink\n"
    )
    DvcStore(settings).push(version.version)
    assert versioning.head(settings) == version
