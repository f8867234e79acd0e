"""Malformed files and tables, made from a seed: what people's exports, crashes and wrong guesses leave behind.

Nothing of this lies in the repository; `cases(seed)` makes it. A case says how many rows went into it where that can be
told without reading it as a table: lines of a line-based file, rows of a table that was written whole.
"""

import gzip
import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

NUM_ROWS = 24


@dataclass(frozen=True)
class Case:
    """A file by its name, and how many rows are in it (None: nobody can say)."""

    name: str
    content: bytes
    num_rows: int | None = None
    task: str = "classification"
    is_readable: bool | None = None
    """True: at least one row must come out of it; False: it must be refused as a whole; None: either may be."""


def good_rows() -> list[dict[str, str]]:
    """What every table here was before it was spoilt."""
    return [
        {"text": f"row {number} tells of rivers and stones", "label": "ab"[number % 2]} for number in range(NUM_ROWS)
    ]


def cases(seed: int) -> list[Case]:
    """All cases, in a fixed order; the same seed gives the same bytes."""
    rng = random.Random(seed)
    found = [
        *_csv(rng),
        *_encodings(),
        *_json_lines(rng),
        *_json(rng),
        *_parquet(rng),
        *_arrow(rng),
        *_compressed(rng),
        *_pdf(rng),
        *_html(rng),
        *_text(rng),
        *_other(rng),
    ]
    names = [case.name for case in found]
    assert len(set(names)) == len(names), "each case has its own name"
    return found


def _csv_text(rows: list[dict[str, str]] | None = None, mark: str = ",") -> str:
    rows = good_rows() if rows is None else rows
    return f"text{mark}label\n" + "".join(f"{row['text']}{mark}{row['label']}\n" for row in rows)


def _lines(content: bytes) -> int:
    """Lines that are not blank, without the header."""
    return max(0, sum(bool(line.strip()) for line in content.split(b"\n")) - 1)


def _with_line(number: int, line: str) -> bytes:
    lines = _csv_text().split("\n")
    lines[number] = line
    return "\n".join(lines).encode()


def _csv(rng: random.Random) -> Iterator[Case]:
    whole = _csv_text().encode()
    for cut in sorted(rng.sample(range(40, len(whole)), 12)):
        yield Case(f"cut-{cut}.csv", whole[:cut], _lines(whole[:cut]))
    spoilt = {
        "short-row": "only one field",
        "long-row": "a,b,c,d",
        "open-quote": '"never closed,a',
        "quote-inside": 'he said "so",a',
        "text-after-quote": '"closed" and on,a',
        "nul": "with a \0 in it,a",
        "controls": "with \x01\x02\x03\x1b in it,a",
        "line-separator": "a line\u2028separator\x85and more,a",
        "only-delimiters": ",",
        "formula": '=cmd|" /C calc"!A0,a',
        "surrogate-like": "\ud7ff\ue000\ufffd,a",
        "right-to-left": "\u202eabc\u202c,a",
        "zero-width": "\u200b\ufeff,a",
        "tabs": "a\tb\tc,a",
        "spaces": "   ,   ",
        "label-only": ",a",
        "text-only": "a text without a label,",
        "new-label": "a text with a label of its own,zzz",
    }
    for name, line in spoilt.items():
        yield Case(f"{name}.csv", _with_line(rng.randrange(2, NUM_ROWS), line), NUM_ROWS, is_readable=True)
    bad_bytes = whole.split(b"\n")
    bad_bytes[5] = b"caf\xff\xfe \x80,a"
    rest = "这条河很长 — это река".encode()
    bad_bytes[6:9] = [rest + b",a"] * 3
    yield Case("a-row-that-is-no-utf8.csv", b"\n".join(bad_bytes), NUM_ROWS, is_readable=True)
    yield Case("huge-cell.csv", _with_line(4, f"{'x' * (1 << 24)}y,a"), NUM_ROWS, is_readable=True)
    yield Case("wide.csv", ",".join(f"c{i}" for i in range(5000)).encode() + b"\n" + b"," * 4999 + b"\n")
    yield Case("header-twice.csv", b"text,text,label\na,b,c\n", is_readable=False)
    yield Case("header-only.csv", b"text,label\n", is_readable=False)
    yield Case("header-other.csv", whole.replace(b"text,label", b"body,kind"), is_readable=False)
    yield Case("header-nul.csv", whole.replace(b"text,label", b"te\0xt,label"), is_readable=False)
    yield Case("header-missing.csv", whole.partition(b"\n")[2], is_readable=False)
    yield Case("header-repeated.csv", whole + b"text,label\n", NUM_ROWS + 1, is_readable=True)
    yield Case("header-spaced.csv", whole.replace(b"text,label", b" text , label "), NUM_ROWS, is_readable=True)
    yield Case("empty.csv", b"", is_readable=False)
    yield Case("blank.csv", b"\n \r\n\t\n\n", is_readable=False)
    yield Case("blank-lines.csv", whole.replace(b"\n", b"\n\n\n"), NUM_ROWS, is_readable=True)
    yield Case("old-mac.csv", whole.replace(b"\n", b"\r"), NUM_ROWS, is_readable=True)
    yield Case("windows.csv", whole.replace(b"\n", b"\r\n"), NUM_ROWS, is_readable=True)
    yield Case("mixed-ends.csv", whole.replace(b"\n", b"\r\n", 7).replace(b"\n", b"\r", 3), is_readable=None)
    yield Case("all-in-one-line.csv", whole.replace(b"\n", b" "), is_readable=False)
    yield Case("wrong-delimiter.csv", _csv_text(mark="^").encode(), is_readable=False)
    yield Case("semicolons.tsv", _csv_text(mark=";").encode(), is_readable=False)
    yield Case("ends-in-quote.csv", whole + b'"', NUM_ROWS + 1, is_readable=True)
    yield Case("many-quotes.csv", b"text,label\n" + b'"x,a\n' * 200, None)
    yield Case("sql-dump.csv", b"INSERT INTO t VALUES (1, 'a'),\n(2, 'b');\n", is_readable=False)
    yield Case("ragged.csv", b"text,label\n" + b"".join(b"a," * (i % 5) + b"b\n" for i in range(60)), 60)
    for number in range(10):
        content = bytearray(whole)
        for _ in range(6):
            content[rng.randrange(12, len(content))] = rng.choice(b'",\x00\xff\x80;\t\\')
        yield Case(f"noise-{number}.csv", bytes(content))


def _encodings() -> Iterator[Case]:
    words = {
        "utf-8-sig": "один river 一条河",
        "utf-16": "один river 一条河",
        "utf-16-le": "a river runs",
        "utf-16-be": "a river runs",
        "utf-32": "один river 一条河",
        "gb18030": "这条河很长，石头很多，我们都很喜欢它。",
        "big5": "這條河很長，石頭很多，我們都很喜歡它。",
        "latin-1": "Überall ist Fluß und Stein und déjà vu à l'été",
        "cp1251": "река течёт мимо камней и лесов",
        "shift_jis": "この川はとても長いです。石もたくさんあります。",
    }
    for encoding, text in words.items():
        table = "text,label\n" + "".join(f"{text} {i},{'ab'[i % 2]}\n" for i in range(NUM_ROWS))
        yield Case(f"{encoding}.csv", table.encode(encoding), NUM_ROWS, is_readable=True)
        lines = "".join(json.dumps({"text": f"{text} {i}", "label": "a"}, ensure_ascii=False) + "\n" for i in range(5))
        yield Case(f"{encoding}.jsonl", lines.encode(encoding), 5, is_readable=True)
        if encoding.startswith("utf-16"):
            yield Case(f"{encoding}-cut.csv", table.encode(encoding)[:-1])


def _json_lines(rng: random.Random) -> Iterator[Case]:
    rows = good_rows()
    whole = "".join(json.dumps(row) + "\n" for row in rows).encode()
    for cut in sorted(rng.sample(range(80, len(whole)), 10)):
        yield Case(f"cut-{cut}.jsonl", whole[:cut], _lines(whole[:cut]) + 1, is_readable=True)
    spoilt: dict[str, bytes] = {
        "array-line": b"[1, 2]",
        "string-line": b'"a string"',
        "number-line": b"12",
        "null-line": b"null",
        "two-objects": b'{"text": "a", "label": "b"}{"text": "c"}',
        "single-quotes": b"{'text': 'a', 'label': 'b'}",
        "trailing-comma": b'{"text": "a", "label": "b",}',
        "comment": b'// {"text": "a"}',
        "nan": b'{"text": NaN, "label": Infinity}',
        "deep": b"[" * 100_000,
        "deep-object": b'{"text": ' * 5_000 + b"1" + b"}" * 5_000,
        "long-number": b'{"text": ' + b"9" * 6_000 + b', "label": "a"}',
        "lone-surrogate": b'{"text": "\\ud800 alone", "label": "a"}',
        "nul-escaped": b'{"text": "a\\u0000b", "label": "a"}',
        "nul": b'{"text": "a\0b", "label": "a"}',
        "bad-bytes": b'{"text": "caf\xe9 \xff", "label": "a"}' + b"{}",
        "bad-escape": b'{"text": "\\x41", "label": "a"}',
        "key-twice": b'{"text": "a", "text": "b", "label": "c"}',
        "list-cells": b'{"text": ["a", "b"], "label": {"x": [1, {}]}}',
        "empty-object": b"{}",
        "other-keys": b'{"body": "a", "kind": "b"}',
        "numbers": b'{"text": 1.0, "label": true}',
        "nulls": b'{"text": null, "label": null}',
        "mark-inside": '\ufeff{"text": "a", "label": "b"}'.encode(),
    }
    for name, line in spoilt.items():
        lines = whole.split(b"\n")
        lines[rng.randrange(1, NUM_ROWS)] = line
        yield Case(f"{name}.jsonl", b"\n".join(lines), NUM_ROWS, is_readable=True)
    yield Case("pretty.jsonl", json.dumps(rows, indent=1).encode())
    yield Case("csv-inside.jsonl", _csv_text().encode(), is_readable=False)
    yield Case("empty.jsonl", b"", is_readable=False)
    yield Case("only-scalars.jsonl", b"1\n2\nnull\n", is_readable=False)
    yield Case("numbered-separators.jsonl", b"\x1e" + whole.replace(b"\n", b"\n\x1e"))


def _json(rng: random.Random) -> Iterator[Case]:
    rows = good_rows()
    whole = json.dumps(rows).encode()
    for cut in sorted(rng.sample(range(80, len(whole) - 1), 6)):
        yield Case(f"cut-{cut}.json", whole[:cut], whole[:cut].count(b"{"), is_readable=True)
    broken = json.dumps(rows).replace('"label": "b"', '"label" "b"', 3).encode()
    yield Case("broken-elements.json", broken, NUM_ROWS, is_readable=True)
    mixed = json.dumps([*rows, 1, None, [], "x"]).encode()
    yield Case("mixed-elements.json", mixed, NUM_ROWS + 4, is_readable=True)
    yield Case("wrapped.json", json.dumps({"version": 1, "data": rows}).encode(), NUM_ROWS, is_readable=True)
    yield Case("lines.json", "".join(json.dumps(row) + "\n" for row in rows).encode(), NUM_ROWS, is_readable=True)
    yield Case("columns.json", json.dumps({"text": ["a", "b"], "label": ["x", "y"]}).encode())
    yield Case("one-object.json", json.dumps(rows[0]).encode(), 1, is_readable=True)
    yield Case("trailing-comma.json", whole[:-1] + b",]", NUM_ROWS, is_readable=True)
    yield Case("bad-bytes.json", whole.replace(b"rivers", "rivières".encode("latin-1"), 1), NUM_ROWS)
    for name, content in {
        "empty-array": b"[]",
        "empty-object": b"{}",
        "scalar": b"12",
        "null": b"null",
        "string": b'"text"',
        "deep": b"[" * 200_000,
        "bracket": b"[",
        "commas": b"[,,,,]",
        "words": b"this is no JSON",
    }.items():
        yield Case(f"{name}.json", content, is_readable=False)


def _table() -> pa.Table:
    return pa.Table.from_pylist(good_rows())


def _parquet_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _arrow_bytes(table: pa.Table, *, is_stream: bool = False) -> bytes:
    sink = io.BytesIO()
    new = pa.ipc.new_stream if is_stream else pa.ipc.new_file
    with new(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _odd_tables() -> dict[str, tuple[pa.Table, int | None]]:
    labels = pa.array(["a", "b", "a"])
    binary = pa.array([b"fine", b"\xff\xfe\x00", b"caf\xe9"])
    unchecked = pa.Array.from_buffers(pa.string(), 3, binary.buffers())
    dates = pa.array([1 << 50, 0, -(1 << 50)], pa.timestamp("ms"))
    return {
        "no-rows": (_table().slice(0, 0), None),
        "no-columns": (pa.table({}), None),
        "columns-twice": (pa.table([labels, labels, labels], names=["text", "text", "label"]), None),
        "bytes-that-are-no-text": (pa.table({"text": binary, "label": labels}), 3),
        "text-that-is-no-text": (pa.table({"text": unchecked, "label": labels}), 3),
        "nulls": (pa.table({"text": pa.nulls(3), "label": labels}), None),
        "numbers": (pa.table({"text": [1, 2, 3], "label": [1.0, None, 2.5]}), 3),
        "dates-beyond-the-calendar": (pa.table({"text": dates, "label": labels}), 3),
        "nested": (pa.table({"text": [[{"a": 1}], [], None], "label": labels}), 3),
        "large-strings": (pa.table({"text": pa.array(["a", "b", None], pa.large_string()), "label": labels}), 3),
        "dictionary": (pa.table({"text": pa.array(["a", "b", "a"]).dictionary_encode(), "label": labels}), 3),
        "dotted-names": (pa.table({"text": ["a", "b", "c"], "label": labels, "meta.text": labels}), 3),
        "other-columns": (pa.table({"body": labels, "kind": labels}), None),
    }


def _spoilt(rng: random.Random, whole: bytes, num_cuts: int, num_flips: int) -> Iterator[tuple[str, bytes]]:
    for cut in sorted(rng.sample(range(1, len(whole) - 1), num_cuts)):
        yield f"cut-{cut}", whole[:cut]
    for number in range(num_flips):
        content = bytearray(whole)
        for _ in range(1 + number % 4):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        yield f"flipped-{number}", bytes(content)
    start = rng.randrange(len(whole) // 2)
    yield "zeros", whole[:start] + bytes(40) + whole[start + 40 :]
    yield "appended", whole + b"garbage"
    yield "prepended", b"garbage" + whole


def _parquet(rng: random.Random) -> Iterator[Case]:
    whole = _parquet_bytes(_table())
    for name, content in _spoilt(rng, whole, 8, 16):
        yield Case(f"{name}.parquet", content)
    yield Case("magic-only.parquet", b"PAR1PAR1", is_readable=False)
    yield Case("huge-footer.parquet", whole[:-8] + b"\xff\xff\xff\x7fPAR1", is_readable=False)
    yield Case("csv-inside.parquet", _csv_text().encode(), is_readable=False)
    yield Case("empty.parquet", b"", is_readable=False)
    for name, (table, num_rows) in _odd_tables().items():
        yield Case(f"{name}.parquet", _parquet_bytes(table), num_rows)


def _arrow(rng: random.Random) -> Iterator[Case]:
    for name, content in _spoilt(rng, _arrow_bytes(_table()), 6, 10):
        yield Case(f"file-{name}.arrow", content)
    for name, content in _spoilt(rng, _arrow_bytes(_table(), is_stream=True), 6, 10):
        yield Case(f"stream-{name}.arrow", content)
    yield Case("feather-1.feather", b"FEA1" + bytes(60) + b"FEA1", is_readable=False)
    yield Case("empty.arrow", b"", is_readable=False)
    for name, (table, num_rows) in _odd_tables().items():
        yield Case(f"{name}.arrow", _arrow_bytes(table), num_rows)


def _zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def _compressed(rng: random.Random) -> Iterator[Case]:
    table = _csv_text().encode()
    for suffix, squeeze in (("gz", lambda content: gzip.compress(content, mtime=0)), ("zst", _zstd)):
        whole = squeeze(table)
        yield Case(f"whole.csv.{suffix}", whole, NUM_ROWS, is_readable=True)
        yield Case(f"two-members.csv.{suffix}", whole + squeeze(b"x,a\n"), NUM_ROWS + 1, is_readable=True)
        yield Case(f"twice.csv.{suffix}", squeeze(whole), is_readable=False)
        yield Case(f"plain.csv.{suffix}", table, is_readable=False)
        yield Case(f"empty.csv.{suffix}", b"", is_readable=False)
        yield Case(f"of-nothing.csv.{suffix}", squeeze(b""), is_readable=False)
        yield Case(f"bomb.csv.{suffix}", squeeze(bytes(1 << 26)), is_readable=False)
        for cut in sorted(rng.sample(range(1, len(whole) - 1), 4)):
            yield Case(f"cut-{cut}.csv.{suffix}", whole[:cut], is_readable=False)
        for number in range(4):
            content = bytearray(whole)
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            yield Case(f"flipped-{number}.csv.{suffix}", bytes(content))
        lines = "".join(json.dumps(row) + "\n" for row in good_rows()).encode()
        yield Case(f"bad-line.jsonl.{suffix}", squeeze(lines + b"{\n"), NUM_ROWS + 1, is_readable=True)


def pdf(words: str) -> bytes:
    """A page with these words on it, as small as PDF allows."""
    stream = f"BT /F1 12 Tf 72 720 Td ({words}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    content = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(content)
    return content + b"xref\n0 6\n0000000000 65535 f \n" + table + end


def _pdf(rng: random.Random) -> Iterator[Case]:
    whole = pdf("a river runs past the stones")
    for name, content in _spoilt(rng, whole, 6, 10):
        yield Case(f"{name}.pdf", content, 1, task="corpus")
    for name, content in {
        "header-only": b"%PDF-1.7\n",
        "no-text-layer": pdf(""),
        "loop": whole.replace(b"/Kids [3 0 R]", b"/Kids [2 0 R]"),
        "no-pages": whole.replace(b"/Pages 2 0 R", b"/Pages 9 0 R"),
        "html-inside": b"<html><body>not a PDF</body></html>",
        "empty": b"",
        "noise": b"%PDF-1.4\n" + rng.randbytes(2000),
    }.items():
        yield Case(f"{name}.pdf", content, task="corpus", is_readable=False)


def _html(rng: random.Random) -> Iterator[Case]:
    words = "A river runs past the stones, and nobody counts them. " * 4
    page = f"<html><head><title>t</title></head><body><nav><a href=x>menu</a></nav><p>{words}</p></body></html>"
    good = {
        "unclosed": f"<html><body><div><p>{words}<div><b><i>{words}",
        "crossed": f"<p><b>{words}</p></b></i></div></body>{words}",
        "deep": "<div>" * 20_000 + words,
        "many-ends": words + "</div>" * 20_000,
        "entities": f"<p>&lt;&bogus;&#x110000;&#0;&amp {words}</p>",
        "open-comment": f"<p>{words}</p><!-- never closed <p>{words}",
        "huge-attribute": f"<p class='{'x' * 1_000_000}'>{words}</p>",
        "no-markup": words,
        "controls": f"<p>\x01\x02{words}</p>",
        "conditional": f"<!--[if IE]><p>old</p><![endif]--><![if !IE]><p>{words}</p><![endif]>",
        "capital": page.upper(),
    }
    for name, text in good.items():
        yield Case(f"{name}.html", text.encode(), 1, task="corpus", is_readable=True)
    maybe = {
        "marked-section": f"<![nonsense[ x <p>{words}</p>",
        "declaration": f"<!ELEMENT br EMPTY><!foo <p>{words}</p>",
        "open-tag": f"<p>{words}</p><div class='",
        "open-script": f"<script>var x = '<p>{words}</p>'",
        "nuls": f"<p>a\0b{words}</p>",
        "processing": f"<?php echo 1 ?><p>{words}</p>",
    }
    for name, text in maybe.items():
        yield Case(f"{name}.html", text.encode(), 1, task="corpus")
    chinese = f"<meta charset=gb2312><p>{'这条河很长，石头很多。' * 10}</p>"
    yield Case("gb2312.html", chinese.encode("gb18030"), 1, task="corpus", is_readable=True)
    yield Case(
        "wrong-charset.html", f"<meta charset=ascii><p>{words}é</p>".encode(), 1, task="corpus", is_readable=True
    )
    yield Case("bogus-charset.html", f"<meta charset=klingon><p>{words}</p>".encode(), 1, "corpus", is_readable=True)
    for name, content in {
        "only-menu": b"<nav><a href=x>one</a><a href=y>two</a></nav>",
        "only-script": b"<script>alert(1)</script>",
        "empty": b"",
        "noise": rng.randbytes(2000),
    }.items():
        yield Case(f"{name}.html", content, task="corpus", is_readable=False)


def _text(rng: random.Random) -> Iterator[Case]:
    words = "A river runs past the stones.\n" * 20
    yield Case("controls.txt", words.replace("stones", "st\x01nes", 1).encode(), 1, "corpus", is_readable=True)
    yield Case("form-feeds.txt", words.replace("\n", "\f").encode(), 1, "corpus", is_readable=True)
    yield Case("front-matter.md", f"---\ntitle: x\n---\n{words}".encode(), 1, "corpus", is_readable=True)
    yield Case("open-front-matter.md", f"---\ntitle: x\n{words}".encode(), 1, "corpus", is_readable=True)
    yield Case("bad-bytes.md", "Это длинная река. ".encode() * 20 + b"\xff\xfe", 1, "corpus", is_readable=False)
    for name, content in {
        "empty.txt": b"",
        "blank.txt": b" \n\t\n",
        "nuls.txt": bytes(500),
        "noise.txt": rng.randbytes(2000),
        "program.txt": b"\x7fELF\x02\x01\x01" + bytes(60) + rng.randbytes(500),
        "image.txt": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + rng.randbytes(500),
        "zip.md": b"PK\x03\x04\x14\0\0\0\x08\0" + rng.randbytes(500),
        "mark-only.txt": b"\xef\xbb\xbf",
    }.items():
        yield Case(name, content, task="corpus", is_readable=False)


def _other(rng: random.Random) -> Iterator[Case]:
    for name in ("table.xlsx", "table.pkl", "table", "table.csv.bz2", "table.csv.gz.gz", "table.docx"):
        yield Case(name, rng.randbytes(100), is_readable=False)
