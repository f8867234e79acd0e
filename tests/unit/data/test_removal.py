import shutil

import pytest

from components.data import removal, tables, versioning
from components.errors import UsageError
from components.settings import Settings


@pytest.fixture(scope="module")
def two_versions(one_version, tmp_path_factory):
    """A workspace with two versions of one table; copy it, do not change it."""
    workspace = tmp_path_factory.mktemp("two-versions") / "workspace"
    shutil.copytree(one_version, workspace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BANYAN_WORKSPACE", str(workspace))
        settings = Settings()
        old = versioning.head(settings)
        staging = workspace.parent / "data"
        shutil.copytree(versioning.path_of(old, settings), staging, copy_function=shutil.copyfile)
        rows = tables.read_split(staging, "things", "train")
        tables.write_split(staging, "things", "train", rows[6:], task="classification")
        return workspace, old, versioning.commit(staging, settings=settings)


@pytest.fixture
def two(settings, two_versions):
    """An installation with two versions, the older one first."""
    workspace, old, new = two_versions
    shutil.copytree(workspace, settings.workspace.root)
    return old, new


def _objects(settings) -> set[str]:
    cache = settings.workspace.data / "repo/.dvc/cache"
    return {path.parent.name + path.name for path in cache.rglob("*") if path.is_file() and len(path.parent.name) == 2}


def test_a_removed_version_frees_its_objects_and_leaves_those_of_others(settings, two):
    old, new = two
    before = tables.table_sha256(versioning.path_of(new, settings), "things")
    assert f"{old.version}.dir" in _objects(settings)
    freed = versioning.remove(old.version, settings=settings)
    assert freed > 0
    assert [one.ref for one in versioning.versions(settings)] == [new]
    assert f"{old.version}.dir" not in _objects(settings)
    assert not list(settings.workspace.remote.rglob(f"{old.version[2:]}.dir"))
    shutil.rmtree(versioning.path_of(new, settings))
    shutil.rmtree(settings.workspace.data / "repo/.dvc/cache")  # it must come back from the remote, whole
    assert tables.table_sha256(versioning.path_of(new, settings), "things") == before


def test_the_current_version_is_removed_only_by_force_and_the_one_before_is_current_then(settings, two):
    old, new = two
    with pytest.raises(UsageError, match="is the current version"):
        versioning.remove(new.version, settings=settings)
    assert versioning.head(settings) == new
    versioning.remove(new.version, settings=settings, force=True)
    assert versioning.head(settings) == old
    versioning.remove(old.version, settings=settings, force=True)
    assert versioning.head(settings) is None


def test_a_removal_that_was_killed_is_ended_by_the_next_commit(settings, two, tmp_path):
    old, new = two
    removal.mark(old.version, settings)  # killed right after
    assert [one.ref for one in versioning.versions(settings)] == [new]
    shutil.copytree(versioning.path_of(new, settings), tmp_path / "data", copy_function=shutil.copyfile)
    assert versioning.commit(tmp_path / "data", settings=settings) == new
    assert f"{old.version}.dir" not in _objects(settings)
    assert not (settings.workspace.data / "versions" / old.version).exists()
    assert not list((settings.workspace.data / "manifests").glob(".*"))


def test_a_version_is_found_by_how_its_id_begins(settings, two):
    old, new = two
    assert versioning.find(old.version[:6], settings=settings).ref == old
    assert versioning.find("HEAD", settings=settings).ref == new
    with pytest.raises(UsageError, match="no data version begins with 'zz'"):
        versioning.find("zz", settings=settings)
    with pytest.raises(UsageError, match="no data version begins"):
        versioning.find("", settings=settings)


def test_a_checkout_is_the_versions_files_and_never_goes_into_a_full_folder(settings, two, tmp_path):
    old, _ = two
    folder = tmp_path / "out" / "there"
    files = versioning.check_out(old, folder, settings=settings)
    assert "things/train.parquet" in {file.as_posix() for file in files}
    assert tables.table_sha256(folder, "things") == old.tables["things"]
    with pytest.raises(UsageError, match="is not empty"):
        versioning.check_out(old, folder, settings=settings)
