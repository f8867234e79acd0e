"""Packed corpora as data versions, packed in this process instead of Daft's; DVC and its remote are real."""

import hashlib
import json
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from components.data import packing, versioning
from components.data.diff import diff
from components.data.engine import inputs, run
from components.data.packed_versions import commit_packed, find_packed, is_kept, located
from components.errors import InputFileError, SourceUnreachable, UsageError
from components.models.tokenizer import train_bpe
from components.recipes import Pack, Pretrain
from components.settings import Settings
from tests.unit.data.remote_servers import s3_server

WORDS = [f"{one}{other}" for one in "bcdfghklmn" for other in ("ab", "en", "ill", "ot", "um")]


def _text(number: int) -> str:
    return " ".join(WORDS[(number * 7 + place * place) % len(WORDS)] for place in range(30 + number % 9))


def _lines(numbers) -> str:
    return "".join(json.dumps({"text": _text(n), "source": f"s{n % 2}"}) + "\n" for n in numbers) + '{"text": ""}\n'


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "tokenizer"
    train_bpe([_text(number) for number in range(40)], 400).save_pretrained(folder)
    return folder


@pytest.fixture
def here(monkeypatch):
    """Parts one after the other in this process."""
    monkeypatch.setattr(run, "run_parts", lambda job, arguments, **_: (job(**one) for one in arguments))


def _pack(settings: Settings, name: str, tokenizer, *given, **more):
    recipe = Pack(name=name, inputs=given, tokenizer=tokenizer, **more)
    folder = settings.workspace.packed / name
    report = run.pack_corpus(
        recipe, folder=folder, cache=settings.workspace.inputs, may_replace=partial(is_kept, settings=settings)
    )
    return report, commit_packed(report.folder, settings=settings, recipe=recipe)


def _homes(settings):
    return settings.workspace.data / "repo" / ".dvc" / "cache", settings.workspace.remote


def _disk(settings) -> int:
    """Bytes of corpora and objects; what has several names counts once."""
    homes = [settings.workspace.packed, settings.workspace.data / "versions", *_homes(settings)]
    files = [path.stat() for home in homes for path in home.rglob("*") if path.is_file()]
    return sum({one.st_ino: one.st_size for one in files}.values())


def test_a_packed_corpus_is_a_version_with_its_recipe_and_sources_beside_those_of_tables(
    settings, one_version, tokenizer, here, tmp_path
):
    shutil.copytree(one_version, settings.workspace.root)
    tables = versioning.head(settings)
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.jsonl").write_text(_lines(range(60)))
    report, first = _pack(settings, "mine", tokenizer, raw)
    folder = settings.workspace.packed / "mine"
    assert versioning.head(settings) == tables  # what is ingested next builds on tables
    about = versioning.manifest(first.version, settings=settings)
    assert about.is_packed
    assert about.parent is None
    assert about.recipe["inputs"] == [str(raw)]
    assert about.rejects["packed/mine"] == report.rejects == {"no text": 1}
    assert {split: one.total for split, one in about.rows["packed/mine"].items()} == report.documents
    assert sum(sum(one.sources.values()) for one in about.rows["packed/mine"].values()) == report.rows_kept
    assert about.tokens == report.tokens
    source = about.inputs["packed/mine"]["sha256"]
    lies = versioning.path_of(first, settings)
    for file in (path.relative_to(folder) for path in folder.rglob("*") if path.is_file()):
        digest = hashlib.md5((folder / file).read_bytes(), usedforsecurity=False).hexdigest()
        objects = [home / "files" / "md5" / digest[:2] / digest[2:] for home in _homes(settings)]
        assert (lies / file).samefile(folder / file) and objects[0].samefile(folder / file)  # once on the disk
        assert not objects[1].samefile(folder / file)  # what harms the one does not harm what it comes back from
    assert not (settings.workspace.data / "repo" / "data").exists()
    assert not (folder / "train.tokens").stat().st_mode & 0o222
    assert commit_packed(folder, settings=settings) == first  # the same corpus, the same version

    shutil.rmtree(lies)  # comes back from the cache
    again = versioning.path_of(first, settings)
    assert np.array_equal(packing.tokens(again, "train"), packing.tokens(folder, "train"))
    assert (again / "train.tokens").samefile(folder / "train.tokens")
    assert not (settings.workspace.data / "repo" / "data").exists()

    (raw / "a.jsonl").write_text(_lines(range(10, 75)))  # under the same name: the folder before is a version
    _, second = _pack(settings, "mine", tokenizer, raw)
    newer = versioning.manifest(second.version, settings=settings)
    assert newer.parent == first.version
    assert newer.inputs["packed/mine"]["sha256"] != source
    [(table, change)] = diff(versioning.path_of(first, settings), versioning.path_of(second, settings)).items()
    assert (table, change.added.total, change.removed.total, change.moved.total) == ("packed/mine", 15, 10, 0)
    assert change.same == 50
    assert sum(change.added.sources.values()) == 15
    assert "a.jsonl at " in change.added.examples[0]["text"]
    assert set(diff(versioning.path_of(tables, settings), again)) == {"things", "packed/mine"}
    files = versioning.check_out(second, tmp_path / "out", settings=settings)
    assert packing.read_info(tmp_path / "out").sha256() == second.tables["packed/mine"]
    assert any(str(file) == "tokenizer/tokenizer.json" for file in files)

    for name in ("data:mine", f"data:{second.version[:9]}"):
        assert find_packed(name, settings=settings) == second
    recipe = Pretrain(name="p", packed="data:mine", num_steps=1, learning_rate=1.0)
    assert located(recipe, data=first, settings=settings).packed == again
    assert located(recipe, data=tables, settings=settings).packed == versioning.path_of(second, settings)
    with pytest.raises(UsageError, match="a version of tables"):
        find_packed(f"data:{tables.version}", settings=settings)

    before, rejects = _disk(settings), newer.rejects_file
    num_bytes = Path(rejects).stat().st_size
    assert versioning.remove(second.version, settings=settings) - num_bytes == before - _disk(settings) > 0
    assert not folder.exists()
    assert find_packed("data:mine", settings=settings) == first
    assert versioning.remove(tables.version, settings=settings, force=True) > 0
    assert versioning.head(settings) is None  # a packed corpus is never the current version


def test_another_installation_adopts_a_packed_corpus(settings, tokenizer, here, tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text(_lines(range(30)))
    _, ref = _pack(settings, "mine", tokenizer, tmp_path / "a.jsonl")
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "other"))
    monkeypatch.setenv("BANYAN_DATA_REMOTE", str(settings.workspace.remote))
    other = Settings()
    assert versioning.adopt(versioning.pointer(ref, settings), settings=other) == ref
    assert versioning.head(other) is None
    made = versioning.manifest(ref.version, settings=other)
    assert (made.name, made.is_packed, made.recipe["name"]) == ("mine", True, "mine")
    assert np.array_equal(
        packing.tokens(versioning.path_of(ref, other), "train"),
        packing.tokens(settings.workspace.packed / "mine", "train"),
    )


@pytest.fixture
def web(tmp_path):
    """What lies in `tmp_path/web`, over HTTP."""
    (tmp_path / "web").mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "web")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_documents_at_addresses_and_by_globs_give_the_tokens_of_those_on_disk(settings, tokenizer, here, tmp_path, web):
    import gzip

    import boto3

    texts = {"in/a.jsonl": _lines(range(20)), "in/deep/b.jsonl": _lines(range(20, 40)), "in/c.txt": _text(99)}
    local = tmp_path / "local"
    with s3_server() as address:
        bucket = address.removeprefix("s3://").partition("/")[0]
        store = boto3.client("s3")
        for name, content in texts.items():
            (local / name).parent.mkdir(parents=True, exist_ok=True)
            (local / name).write_text(content)
            store.put_object(Bucket=bucket, Key=name, Body=content.encode())
        zipped = gzip.compress(_lines(range(40, 60)).encode(), mtime=0)
        (tmp_path / "web" / "d.csv.gz").write_bytes(gzip.compress(b"text\n" + _text(200).encode() + b"\n"))
        (tmp_path / "web" / "e.jsonl.gz").write_bytes(zipped)
        for name in ("d.csv.gz", "e.jsonl.gz"):
            shutil.copyfile(tmp_path / "web" / name, local / name)
        given = (f"s3://{bucket}/in/**/*.jsonl", f"s3://{bucket}/in/c.txt", f"{web}/d.csv.gz", f"{web}/e.jsonl.gz")
        report, ref = _pack(settings, "far", tokenizer, *given, heldout_share=0.0)
        same, _ = _pack(
            settings, "near", tokenizer, str(local / "in/**/*.jsonl"),
            *(local / name for name in ("in/c.txt", "d.csv.gz", "e.jsonl.gz")), heldout_share=0.0,
        )  # fmt: skip
        assert report.rows_kept == same.rows_kept > 50
        assert np.array_equal(packing.tokens(report.folder, "train"), packing.tokens(same.folder, "train"))
        about = versioning.manifest(ref.version, settings=settings).inputs["packed/far"]
        assert about["num_files"] == 5
        assert about["address"].startswith(f"s3://{bucket}/in/**/*.jsonl, ")
        one_folder = Pack(name="x", inputs=(f"s3://{bucket}/in/*.jsonl",), tokenizer=tokenizer)
        cache = settings.workspace.inputs
        assert [file.name for file in inputs.find_files(one_folder, cache=cache)] == ["a.jsonl"]
        for wrong, error in ((f"s3://{bucket}/in/*.csv", InputFileError), (f"{web}/none.jsonl", InputFileError)):
            with pytest.raises(error):
                inputs.find_files(Pack(name="x", inputs=(wrong,), tokenizer=tokenizer), cache=cache)
    with pytest.raises(SourceUnreachable):
        inputs.find_files(Pack(name="x", inputs=("http://127.0.0.1:9/a.jsonl",), tokenizer=tokenizer), cache=cache)
