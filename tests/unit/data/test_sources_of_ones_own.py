"""Folders, globs, addresses, saved datasets and queries: all give the rows that a plain file gives."""

import gzip
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.ipc
import pytest

from components.data.cleaning import kept
from components.data.files import read_file
from components.data.readers.locations import fingerprint
from components.errors import InputFileError, MappingError, RecipeError, SourceUnreachable
from components.recipes import FileSource, parse_recipe
from tests.unit.data.malformed import pdf

ROWS = [{"text": f"text {number}", "label": "xy"[number % 2]} for number in range(10)]
CSV = ("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)).encode()


def _read(cache=None, **fields):
    source = FileSource(**({"table": "things", "task": "classification"} | fields))
    return read_file(source, max_chars=600, cache=cache)


def _texts(reading) -> list[str]:
    return [row.text for row in kept(reading.rows)]


EXPECTED = [row["text"] for row in ROWS]


# ---------------------------------------------------------------- folders


def test_a_folder_of_tables_is_read_whole_and_says_what_it_left_out(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.csv").write_bytes(CSV)
    (tmp_path / "sub" / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "more", "label": "x"}\n'))
    (tmp_path / "c.png").write_bytes(b"\x89PNG")
    (tmp_path / ".hidden.csv").write_bytes(CSV)
    (tmp_path / "_SUCCESS").write_bytes(b"")
    reading = _read(path=tmp_path)
    assert _texts(reading) == [*EXPECTED, "more"]
    assert {row.source for row in reading.rows} == {"a", "b"}
    assert (reading.note.num_files, reading.note.kinds) == (2, {"csv": 1, "jsonl": 1})
    assert reading.note.left_out == {".png": 1}


def test_a_glob_takes_what_it_matches_and_no_more(tmp_path):
    for name in ("a-1.csv", "a-2.csv", "b.csv"):
        (tmp_path / name).write_bytes(CSV.replace(b"text 0", name.encode()))
    reading = _read(path=tmp_path / "a-*.csv")
    assert reading.note.num_files == 2
    assert [text for text in _texts(reading) if text.endswith(".csv")] == ["a-1.csv", "a-2.csv"]
    with pytest.raises(InputFileError, match="no file matches"):
        _read(path=tmp_path / "c-*.csv")


def test_each_document_of_a_folder_is_a_row_that_knows_its_file_and_its_folder(tmp_path):
    for kind, suffix, content in (
        ("good", "txt", "A plain text.".encode("utf-16")),
        ("good", "md", b"---\ntitle: x\n---\n# Head\n\nWords."),
        ("bad", "html", b"<nav><a href=/>Home</a></nav><p>What the page says.</p><script>no()</script>"),
        ("bad", "pdf", pdf("What is printed.")),
    ):
        (tmp_path / kind).mkdir(exist_ok=True)
        (tmp_path / kind / f"one.{suffix}").write_bytes(content)
    reading = _read(path=tmp_path, task="corpus")
    assert {row.group: row.text for row in reading.rows} == {
        "bad/one.html": "What the page says.",
        "bad/one.pdf": "What is printed.",
        "good/one.md": "# Head\n\nWords.",
        "good/one.txt": "A plain text.",
    }
    assert [row.source for row in reading.rows] == ["bad", "bad", "good", "good"]
    assert reading.note.encodings == {"utf-16": 1, "utf-8": 2}
    labelled = _read(path=tmp_path, columns={"label": "folder"})
    assert [row.answer for row in labelled.rows] == ["bad", "bad", "good", "good"]


def test_a_long_document_is_cut_at_blank_lines_when_asked(tmp_path):
    (tmp_path / "book.txt").write_text("\n\n".join(f"Paragraph {n}. " + "word " * 20 for n in range(9)), "utf-8")
    assert len(_read(path=tmp_path / "book.txt", task="corpus").rows) == 1
    rows = _read(path=tmp_path / "book.txt", task="corpus", piece_chars=300).rows
    assert len(rows) == 5 and all(len(row.text) <= 300 for row in rows)
    assert len({row.group for row in rows}) == 5  # else none could be held out
    assert "\n\n".join(row.text for row in rows).count("Paragraph") == 9


def test_a_datasets_folder_is_read_with_its_splits_and_the_names_of_its_labels(tmp_path):
    for split, part in (("train", ROWS[:8]), ("test", ROWS[8:])):
        folder = tmp_path / split
        folder.mkdir()
        table = pa.table({"text": [row["text"] for row in part], "label": ["xy".index(row["label"]) for row in part]})
        with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as writer:
            writer.write_table(table)
        names = {"label": {"names": ["x", "y"], "_type": "ClassLabel"}, "text": {"dtype": "string", "_type": "Value"}}
        (folder / "dataset_info.json").write_text(json.dumps({"features": names}), "utf-8")
        listed = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
        (folder / "state.json").write_text(json.dumps(listed), "utf-8")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}', "utf-8")
    reading = _read(path=tmp_path, columns={"source": "split"})
    assert [(row.text, row.answer) for row in reading.rows] == [(row["text"], row["label"]) for row in ROWS]
    assert [row.source for row in reading.rows] == ["train"] * 8 + ["test"] * 2
    (tmp_path / "test" / "state.json").write_text('{"_data_files": [{"filename": "../../secret"}]}', "utf-8")
    with pytest.raises(InputFileError, match=r"lacks '\.\./\.\./secret'"):
        _read(path=tmp_path)


def test_the_boilerplate_of_a_page_is_left_out_and_its_text_kept(tmp_path):
    body = "<p>" + "A river runs past the stones. " * 10 + "</p>"
    page = (
        "<html><head><title>T</title><style>p {}</style><body><header>Site</header><div>Advertised here</div>"
        f"<article><header><h1>Rivers</h1></header>{body}<ul><li><a href=1>next page</a><li>a fact</ul>"
        "<pre>x = 1\n  y = 2</pre></article><footer>© all</footer>"
    )
    (tmp_path / "page.html").write_text(page, "utf-8")
    [row] = _read(path=tmp_path / "page.html", task="corpus").rows
    text = ("A river runs past the stones. " * 10).strip()
    assert row.text == f"Rivers\n\n{text}\n\na fact\n\nx = 1\n  y = 2"


def test_what_was_read_is_told_by_a_hash_that_follows_the_content(tmp_path):
    (tmp_path / "a.csv").write_bytes(CSV)
    (tmp_path / "b.csv").write_bytes(CSV)
    source = FileSource(path=tmp_path, table="t", task="classification")
    before, note = fingerprint(source), _read(path=tmp_path).note
    assert (fingerprint(source), _read(path=tmp_path).note) == (before, note)
    (tmp_path / "b.csv").write_bytes(CSV + b"more,x\n")
    assert fingerprint(source) != before
    assert _read(path=tmp_path).note.sha256 != note.sha256


# ---------------------------------------------------------------- addresses


class _Server(BaseHTTPRequestHandler):
    content = CSV
    fail_after: int | None = None
    requests: list[tuple[str, int, str | None]] = []  # noqa: RUF012

    def _tag(self) -> str:
        return f'"{hashlib.md5(type(self).content).hexdigest()}"'

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        cls, content, status = type(self), type(self).content, 200
        wanted = self.headers.get("range")
        if self.path.startswith("/missing"):
            status, content = 404, b""
        elif self.path.startswith("/broken"):
            status, content = 503, b""
        elif self.headers.get("if-none-match") == self._tag():
            status, content = 304, b""
        elif wanted and self.headers.get("if-range", self._tag()) == self._tag():
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            status, content = 206, content[int(first) : int(last) + 1 if last else None]
        cls.requests.append((self.path, status, wanted))
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.send_header("etag", self._tag())
        self.send_header("last-modified", "Sun, 01 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: cls.fail_after])
            cls.fail_after = None

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    _Server.content, _Server.fail_after, _Server.requests = CSV, None, []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_an_address_is_fetched_once_and_again_when_it_has_changed(server, tmp_path):
    url = f"{server}/things.csv?token=secret"
    reading = _read(url=url, cache=tmp_path)
    assert _texts(reading) == EXPECTED
    assert reading.note.address == f"{server}/things.csv"
    assert "secret" not in "".join(path.read_text("utf-8") for path in tmp_path.rglob("about.json"))
    assert _texts(_read(url=url, cache=tmp_path)) == EXPECTED
    _Server.content = CSV + b"new,x\n"
    assert _texts(_read(url=url, cache=tmp_path)) == [*EXPECTED, "new"]
    assert [status for _, status, _ in _Server.requests] == [200, 304, 200]


def test_an_interrupted_download_goes_on_where_it_was(server, tmp_path):
    _Server.fail_after = 50
    with pytest.raises(SourceUnreachable, match="cannot be fetched"):
        _read(url=f"{server}/things.csv", cache=tmp_path)
    assert _texts(_read(url=f"{server}/things.csv", cache=tmp_path)) == EXPECTED
    assert _Server.requests[-1] == ("/things.csv", 206, "bytes=50-")


def test_a_download_that_changed_meanwhile_begins_again(server, tmp_path):
    _Server.fail_after = 50
    with pytest.raises(SourceUnreachable):
        _read(url=f"{server}/things.csv", cache=tmp_path)
    _Server.content = CSV.replace(b"text", b"tale").replace(b"tale", b"text", 1)
    assert _texts(_read(url=f"{server}/things.csv", cache=tmp_path)) == [f"tale {n}" for n in range(10)]


def test_an_address_over_the_limit_or_without_an_answer_says_so(server, tmp_path):
    with pytest.raises(InputFileError, match=rf"has {len(CSV)} bytes, over the limit of 40"):
        _read(url=f"{server}/things.csv", cache=tmp_path, max_bytes=40)
    with pytest.raises(InputFileError, match="answers 404"):
        _read(url=f"{server}/missing.csv", cache=tmp_path)
    with pytest.raises(SourceUnreachable, match="answers 503"):
        _read(url=f"{server}/broken.csv", cache=tmp_path)
    with pytest.raises(SourceUnreachable, match="cannot be fetched"):
        _read(url="http://127.0.0.1:9/things.csv", cache=tmp_path, timeout_seconds=2)


def test_an_object_in_s3_is_read_through_its_own_protocol(server, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for _ in range(2):
        reading = _read(url="s3://bucket/things.csv", cache=tmp_path, timeout_seconds=5)
        assert _texts(reading) == EXPECTED
        assert reading.note.address == "s3://bucket/things.csv"
    ranged = [path for path, status, _ in _Server.requests if status == 206]
    assert ranged == ["/bucket/things.csv"]  # fetched once; its date and size had not changed


# ---------------------------------------------------------------- queries


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE review (body TEXT, stars INTEGER)")
        connection.executemany("INSERT INTO review VALUES (?, ?)", [(row["text"], row["label"]) for row in ROWS])
    connection.close()
    return path


def test_a_query_gives_rows_and_its_note_no_secret(database):
    query = "SELECT body AS text, stars AS label FROM review WHERE body LIKE 'text %' ORDER BY rowid"
    reading = _read(database=f"sqlite:///{database}", query=query)
    assert _texts(reading) == EXPECTED
    assert (reading.note.kinds, reading.note.num_rows) == ({"query": 1}, 10)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("DELETE FROM review", "none that only reads"),
        ("WITH x AS (SELECT 1) DELETE FROM review", "readonly|read-only"),
        ("SELECT 1; DROP TABLE review", "one statement"),
        ("SELECT wrong FROM review", "no such column"),
    ],
)
def test_a_query_that_does_not_read_changes_nothing(database, query, says):
    before = database.read_bytes()
    with pytest.raises(InputFileError, match=says):
        _read(database=f"sqlite:///{database}", query=query)
    assert database.read_bytes() == before


def test_a_column_that_a_query_gives_twice_is_a_mistake(database):
    with pytest.raises(MappingError, match="'body' more than once"):
        _read(database=f"sqlite:///{database}", query="SELECT body, body, stars FROM review")


def test_a_password_is_taken_from_the_environment_and_shown_nowhere(monkeypatch):
    field = {"kind": "file", "table": "t", "task": "classification", "query": "SELECT 1"}
    with pytest.raises(RecipeError) as caught:
        parse_recipe(
            {"kind": "ingest", "name": "t", "sources": [field | {"database": "postgresql://ann:hidden@127.0.0.1:9/x"}]}
        )
    assert "password_env" in str(caught.value) and "hidden" not in str(caught.value)
    monkeypatch.setenv("SHOP_PASSWORD", "hidden")
    where = "sqlite:////nowhere.db"
    with pytest.raises(InputFileError, match="there is no file") as found:
        _read(database=where, query="SELECT 1", password_env="SHOP_PASSWORD")
    assert "hidden" not in str(found.value)
    monkeypatch.delenv("SHOP_PASSWORD")
    with pytest.raises(InputFileError, match="SHOP_PASSWORD"):
        _read(database=where, query="SELECT 1", password_env="SHOP_PASSWORD")
