"""The data engine's blocks, without what executes them; and the whole of it on this machine, once."""

import gzip
import json
import random
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data import dedup, packing
from components.data.cleaning import Row
from components.data.engine import blocks, duplicates, finishing, inputs, run
from components.data.engine.execution import Resources
from components.data.engine.run import pack_corpus
from components.errors import InputFileError, UsageError
from components.models.tokenizer import train_bpe
from components.recipes import Pack, TextRules

DRAW = random.Random(0)
WORDS = ["".join(DRAW.choices("abcdefghijklmnop", k=DRAW.randrange(2, 9))) for _ in range(600)]


def text(draw, length=80):
    return " ".join(draw.choices(WORDS, k=length))


def documents(number, seed=0):
    """Some of them again, some nearly so, some short, some with an address."""
    draw = random.Random(seed)
    made = []
    for place in range(number):
        kind = place % 10
        if kind == 7:
            made.append(made[draw.randrange(len(made))])
        elif kind in {8, 9}:
            words = made[draw.randrange(len(made))].split(" ")
            words[draw.randrange(len(words))] = "changed"
            made.append(" ".join(words))
        else:
            made.append((f"write to jo{place}@example.org <|endoftext|> " if kind == 3 else "") + text(draw))
    return made


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engine") / "tokenizer"
    train_bpe([text(DRAW) for _ in range(40)], 600).save_pretrained(folder)
    return folder


@pytest.fixture
def raw(tmp_path):
    """JSON lines with a line that is none, an empty text, and another key."""
    folder = tmp_path / "raw"
    folder.mkdir()
    lines = [
        json.dumps({"text": t, "source": f"s{n % 3}", "group": f"g{n // 2}"}) for n, t in enumerate(documents(300))
    ]
    lines[5:5] = ["{broken", '{"text": ""}', '{"body": "x"}', '["x"]', "", '{"text": {"a": 1}}', "\ufeff\ufeff"]
    (folder / "a.jsonl").write_text("\n".join(lines), "utf-8")
    return folder


def of(raw, tokenizer, **more):
    rules = TextRules(near_duplicate_threshold=0.8)
    return Pack(**{"name": "x", "inputs": (raw,), "tokenizer": tokenizer, "rules": rules, **more})


def through(recipe, work, *, part_bytes=1 << 14, order=1, batch_chars=5000):
    """The whole engine's work in this process, its parts in any order."""
    parts = inputs.cut(inputs.find_files(recipe), part_bytes=part_bytes)
    for stage in (blocks.PREPARED, blocks.FINISHED):
        (work / stage).mkdir(parents=True)
    prepared = [blocks.prepare(part, recipe, work, batch_chars=batch_chars) for part in parts[::order]]
    threshold = recipe.rules.near_duplicate_threshold
    found = duplicates.find(work, num_parts=len(parts), threshold=threshold, memory_bytes=1 << 12)
    run._write_decisions(work, found)
    args = {"tokenizer_json": recipe.tokenizer / "tokenizer.json", "end_id": 0}
    finished = [finishing.finish(part.number, recipe, work, **args) for part in parts[::order]]
    stream = [np.fromfile(work / "finished" / f"{part.number:06}" / "train.tokens", "<u2") for part in parts]
    rows = [pq.read_table(work / "finished" / f"{part.number:06}" / "rows.parquet") for part in parts]
    return prepared, found, finished, np.concatenate(stream), pa.concat_tables(rows)


def test_how_the_corpus_is_cut_and_who_works_on_what_changes_nothing(raw, tokenizer, tmp_path):
    recipe = of(raw, tokenizer)
    *_, one, rows = through(recipe, tmp_path / "one", part_bytes=1 << 30)
    prepared, found, finished, many, others = through(recipe, tmp_path / "many", order=-1, batch_chars=700)
    assert len(prepared) > 5
    assert found.slices > 1  # the bands did not fit the memory at once
    assert np.array_equal(one, many)
    assert rows.equals(others)
    rejected = sum(sum(counts["rejects"].values()) for counts in [*prepared, *finished])
    assert sum(counts["rows"] for counts in prepared) == rejected + sum(counts["kept"] for counts in finished) == 306


def test_what_is_kept_is_what_the_blocks_in_memory_keep(raw, tokenizer, tmp_path):
    recipe = of(raw, tokenizer, heldout_share=0.0)
    *_, found = through(recipe, tmp_path / "work")[-2:]
    rows = [Row(t, "", "s", "", f"{n:05}") for n, t in enumerate(documents(300))]
    dedup.drop_duplicates(rows)
    dedup.drop_near_duplicates(rows, threshold=0.8)
    assert sorted(found["id"].to_pylist()) == sorted(row.id for row in rows if not row.reason)


def test_a_crowd_of_copies_with_a_word_changed_leaves_one(tmp_path, tokenizer):
    draw = random.Random(3)
    base = text(draw, 200).split(" ")
    lines = [json.dumps({"text": " ".join([*base[:n], "x", *base[n + 1 :]])}) for n in range(150)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, json.dumps({"text": text(draw)})]), "utf-8")
    _, found, *_, rows = through(of(tmp_path / "a.jsonl", tokenizer), tmp_path / "work")
    assert len(rows) == 2
    assert found.candidate_pairs < 150 * 149 / 4


def test_every_row_has_its_reason_and_rejects_are_masked(raw, tokenizer, tmp_path):
    recipe = of(raw, tokenizer, min_chars=200)
    through(recipe, tmp_path / "work")
    paths = sorted((tmp_path / "work").glob("*/*/rejects.parquet"))
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    reasons = {row["reason"].split(":")[0] for row in rows}
    assert reasons == {"malformed row", "no text", "duplicate", "near-duplicate"}
    assert any("it has no 'text' but body" in row["reason"] for row in rows)
    masked = [row["text"] for row in rows if "[EMAIL_1]" in row["text"]]
    assert masked
    assert not any("example.org" in row["text"] for row in rows)


def test_tokens_are_masked_texts_and_no_document_ends_early(raw, tokenizer, tmp_path):
    from transformers import PreTrainedTokenizerFast

    *_, stream, rows = through(of(raw, tokenizer, heldout_share=0.0), tmp_path / "work")
    assert (stream == 0).sum() == len(rows)  # one end token a document, though texts spell it
    decoded = PreTrainedTokenizerFast.from_pretrained(tokenizer).decode(stream.tolist())
    assert "[EMAIL_1] <|endoftext|>" in decoded
    assert "example.org" not in decoded


def test_a_group_is_in_one_split_and_stays_there_when_the_corpus_grows(raw, tokenizer, tmp_path):
    recipe = of(raw, tokenizer, heldout_share=0.3)
    before = through(recipe, tmp_path / "a")[-1].to_pylist()
    more = "\n".join(json.dumps({"text": t, "group": f"new{n}"}) for n, t in enumerate(documents(100, seed=9)))
    (raw / "b.jsonl").write_text(more, "utf-8")
    after = {row["id"]: row["split"] for row in through(recipe, tmp_path / "b")[-1].to_pylist()}
    assert {row["split"] for row in before} == {"train", "heldout"}
    both = [row for row in before if row["id"] in after]
    assert len(both) > 100
    assert all(after[row["id"]] == row["split"] for row in both)


def test_a_benchmarks_text_is_kept_out(raw, tokenizer, tmp_path):
    taken = documents(300)[0].split(" ")
    (tmp_path / "benchmark.txt").write_text(" ".join(taken[10:30]), "utf-8")
    rules = TextRules(near_duplicate_threshold=0.8, decontaminate=(tmp_path / "benchmark.txt",))
    finished = through(of(raw, tokenizer, rules=rules), tmp_path / "work")[2]
    assert sum(counts["rejects"].get("piece of a benchmark", 0) for counts in finished) >= 1


def test_the_same_documents_are_read_from_every_kind_of_file(tokenizer, tmp_path):
    texts = documents(60)
    lines = "\n".join(json.dumps({"text": t}) for t in texts).encode()
    (tmp_path / "a.jsonl").write_bytes(lines + b"\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    with pa.output_stream(tmp_path / "c.jsonl.zst", compression="zstd") as opened:
        opened.write(lines)
    pq.write_table(pa.table({"text": texts, "n": list(range(60))}), tmp_path / "d.parquet", row_group_size=7)
    (tmp_path / "e").mkdir()
    for number, one in enumerate(texts):
        (tmp_path / "e" / f"{number:03}.txt").write_text(one, "utf-8")
    found = {}
    for path in sorted(tmp_path.iterdir()):
        recipe = of(path, tokenizer)
        parts = inputs.cut(inputs.find_files(recipe), part_bytes=2000)
        raws = [raw for part in parts for raw in inputs.read(part, recipe)]
        assert len({(raw.file, raw.position) for raw in raws}) == 60
        found[path.name] = [raw.cells["text"] for raw in raws]
    assert all(one == texts for one in found.values())


def test_damaged_files_are_rows_and_the_others_are_read(tokenizer, tmp_path):
    good = json.dumps({"text": "good"}).encode()
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(good * 99)[:-9])
    (tmp_path / "c.jsonl").write_bytes(good + b'\n{"text": "\xff"}\n' + b'{"text": "\\ud800"}\n' + good)
    recipe = of(tmp_path, tokenizer)
    parts = inputs.cut(inputs.find_files(recipe))
    raws = [raw for part in parts for raw in inputs.read(part, recipe)]
    wrong = [raw for raw in raws if isinstance(raw.cells, str)]
    assert {raw.file for raw in wrong} == {"a.parquet", "b.jsonl.gz", "c.jsonl"}
    assert [raw.cells["text"] for raw in raws if raw.file == "c.jsonl" and raw not in wrong] == [
        "good",
        "\ud800",
        "good",
    ]


def test_a_line_without_end_is_one_rejected_row(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "MAX_LINE_BYTES", 1000)
    lines = [json.dumps({"text": "x"}), json.dumps({"text": "y" * 5000}), json.dumps({"text": "z"})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), "utf-8")
    recipe = of(tmp_path, tokenizer)
    raws = [
        raw.cells for part in inputs.cut(inputs.find_files(recipe), part_bytes=700) for raw in inputs.read(part, recipe)
    ]
    assert raws == [{"text": "x"}, "a line of 5013 bytes", {"text": "z"}]


def test_the_whole_on_this_machine(raw, tokenizer, tmp_path):
    recipe = of(raw, None, vocab_size=400)
    lines = []
    how = {"part_bytes": 1 << 15, "progress": lines.append}
    report = pack_corpus(recipe, folder=tmp_path / "packed", resources=Resources(num_workers=2), **how)
    assert report.rows_in == 306 == report.rows_kept + report.rows_rejected
    info = packing.read_info(tmp_path / "packed")
    assert {name: split.tokens for name, split in info.splits.items()} == report.tokens
    assert len(packing.documents(tmp_path / "packed", "train")) == report.documents["train"]
    assert not (tmp_path / "packed.work").exists()
    again = pack_corpus(recipe, folder=tmp_path / "packed", **how)
    assert again == report
    assert lines[-1] == "it is there already: the same recipe, the same files"
    with pytest.raises(UsageError, match="made of something else"):
        pack_corpus(of(raw, tokenizer), folder=tmp_path / "packed", **how)


def test_a_run_that_was_stopped_goes_on_and_gives_the_same(raw, tokenizer, tmp_path, monkeypatch):
    def here(job, arguments, *, resources, is_done):
        for one in arguments:
            called.append(one)
            if len(called) == stop_at:
                raise KeyboardInterrupt
            yield job(**one)

    monkeypatch.setattr(run, "run_parts", here)
    recipe, called, stop_at = of(raw, tokenizer), [], 0
    pack_corpus(recipe, folder=tmp_path / "whole", part_bytes=1 << 14)
    num_calls, called, stop_at = len(called), [], 4
    with pytest.raises(KeyboardInterrupt):
        pack_corpus(recipe, folder=tmp_path / "packed", part_bytes=1 << 14)
    stop_at = 0
    pack_corpus(recipe, folder=tmp_path / "packed", part_bytes=1 << 14)
    assert len(called) == num_calls + 1  # only the one that was interrupted was begun twice
    for name in ("train.tokens", "heldout.tokens", "train.documents"):
        assert (tmp_path / "packed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_part_that_two_did_is_one_part(raw, tokenizer, tmp_path):
    recipe = of(raw, tokenizer)
    [part] = inputs.cut(inputs.find_files(recipe))
    (tmp_path / "prepared").mkdir()
    with blocks.PartFolder(tmp_path, "prepared", 0) as slower:
        (slower / "counts.json").write_text("{}", "utf-8")
        blocks.prepare(part, recipe, tmp_path, batch_chars=1000)
    assert blocks.counts_of(tmp_path, "prepared", 0)["rows"] == 306
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == ["000000"]


def test_nothing_kept_a_missing_input_and_a_failing_part_are_named(raw, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "run_parts", lambda job, arguments, **_: (job(**one) for one in arguments))
    with pytest.raises(UsageError, match=r"none of 306 documents is kept \(too short: "):
        pack_corpus(of(raw, tokenizer, min_chars=10_000), folder=tmp_path / "a")
    with pytest.raises(InputFileError, match="there is no file"):
        pack_corpus(of(raw / "nothing.jsonl", tokenizer), folder=tmp_path / "b")
    monkeypatch.undo()
    broken = tmp_path / "broken"
    shutil.copytree(tokenizer, broken)
    rules = TextRules(blocked_words=tmp_path / "nowhere.txt")
    with pytest.raises(InputFileError, match=r"nowhere\.txt cannot be read"):
        pack_corpus(of(raw, broken, rules=rules), folder=tmp_path / "c", resources=Resources(num_workers=1))
