import json

import pandas as pd
import pytest

from components.data.cleaning import kept
from components.data.files import read_file
from components.errors import InputFileError, MappingError
from components.recipes import FileSource


def _read(path, **fields):
    source = FileSource(path=path, **({"table": "things", "task": "classification"} | fields))
    return read_file(source, max_chars=600)[0]


def _file(tmp_path, name: str, content: bytes | str):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _pairs(rows):
    return [(row.text, row.answer) for row in kept(rows)]


EXPECTED = [("first, one", "x"), ("second", "y")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,label\n"first, one",x\nsecond,y\n'),
        ("a.csv", '\ufefftext;label\r\n"first, one";x\r\nsecond;y\r\n'),
        ("a.tsv", "text\tlabel\nfirst, one\tx\nsecond\ty\n"),
        ("a.jsonl", '{"text": "first, one", "label": "x"}\n\n{"text": "second", "label": "y"}\n'),
    ],
)
def test_every_text_format_gives_the_same_rows(tmp_path, name, content):
    assert _pairs(_read(_file(tmp_path, name, content))) == EXPECTED


def test_parquet_gives_the_same_rows_and_whole_numbers_are_labels(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"text": ["first, one", "second", "third"], "label": [1.0, 2.0, None]}).to_parquet(path)
    rows = _read(path)
    assert _pairs(rows) == [("first, one", "1"), ("second", "2")]
    assert rows[2].reason == "no label or target"


def test_columns_are_mapped_by_the_recipe(tmp_path):
    path = _file(tmp_path, "a.csv", "review,stars,who\nfine,5,ann\nbad,1,bob\n")
    rows = _read(path, columns={"text": "review", "label": "stars", "group": "who"})
    assert _pairs(rows) == [("fine", "5"), ("bad", "1")]
    assert [row.group for row in rows] == ["ann", "bob"]


def test_a_missing_column_says_which_there_are(tmp_path):
    path = _file(tmp_path, "a.csv", "review,stars\nfine,5\n")
    with pytest.raises(MappingError, match=r"no column 'text'.*its columns are: review, stars") as caught:
        _read(path)
    assert "--columns text=review" in caught.value.remedy


def test_a_mapping_to_a_column_that_the_task_does_not_have_is_a_mistake(tmp_path):
    path = _file(tmp_path, "a.csv", "text,label\nfine,5\n")
    with pytest.raises(MappingError, match="'target' is no column of task classification"):
        _read(path, columns={"target": "label"})


def test_a_column_that_is_there_twice_is_a_mistake(tmp_path):
    with pytest.raises(MappingError, match="'text' more than once"):
        _read(_file(tmp_path, "a.csv", "text,text,label\na,b,c\n"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"  \n\n", "is empty"),
        ("a.csv", b"text,label\n", "a header and no rows"),
        ("a.csv", bytes(range(256)) * 4, "is no text: byte 0x80 at offset 128"),
        ("a.txt", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0\x01\0\0\0", "is no text: byte 0x00 at offset 7"),
        ("a.csv", b"text,label\na\x00b,x\n", "malformed row: line 2 holds a NUL"),
        ("a.jsonl", b"[1, 2]\nnonsense\n", "holds no JSON object: line 1 is not a JSON object"),
        ("a.xlsx", b"PK", "not of a kind that is read"),
        ("a.parquet", b"PAR1 but not much more", "is truncated, or not Parquet"),
        ("a.csv", b"text,label\n,\n,\n", "no row of .* can be used"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_what_to_do(tmp_path, name, content, says):
    with pytest.raises(InputFileError, match=says) as caught:
        _read(_file(tmp_path, name, content))
    assert caught.value.remedy
    assert caught.value.exit_code == 2


def test_a_truncated_parquet_file_is_told_from_a_whole_one(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputFileError, match="truncated"):
        _read(path)


def test_a_file_that_is_not_there_and_an_empty_folder_are_told_apart(tmp_path):
    with pytest.raises(InputFileError, match="there is no file"):
        _read(tmp_path / "nothing.csv")
    with pytest.raises(InputFileError, match="holds no file that is read: it is empty"):
        _read(tmp_path)


def test_bad_rows_are_rejected_one_by_one_with_their_line(tmp_path):
    path = _file(tmp_path, "a.csv", "text,label\na,x\nb,x,surplus\nc\nd,y\n,x\ne,\n")
    rows = _read(path)
    assert _pairs(rows) == [("a", "x"), ("d", "y")]
    assert [row.reason for row in rows if row.reason] == [
        "malformed row: line 3 has 3 fields, the header 2",
        "malformed row: line 4 has 1 fields, the header 2",
        "no text",
        "no label or target",
    ]


def test_a_broken_json_line_is_rejected_and_the_others_stay(tmp_path):
    rows = _read(_file(tmp_path, "a.jsonl", '{"text": "a", "label": "x"}\n{"text": \n{"text": "b", "label": "y"}\n'))
    assert _pairs(rows) == [("a", "x"), ("b", "y")]
    assert rows[1].reason.startswith("malformed row: line 2 is not JSON")


def test_a_label_outside_the_given_ones_is_rejected(tmp_path):
    rows = _read(_file(tmp_path, "a.csv", "text,label\na,x\nb,Y\n"), labels=("x", "y"))
    assert [row.reason for row in rows] == ["", "unknown label: Y"]


def test_an_empty_label_can_be_filled_and_says_so(tmp_path):
    rows = _read(_file(tmp_path, "a.csv", "text,label\na,x\nb,\n"), missing={"label": "most_frequent"})
    assert [(row.answer, row.imputed) for row in rows] == [("x", ""), ("x", "label")]


def test_a_long_text_is_shortened_at_a_word_and_counted(tmp_path):
    path = _file(tmp_path, "a.csv", f"text,label\n{'word ' * 300},x\nshort,y\n")
    rows, num_shortened, _ = read_file(FileSource(path=path, table="t", task="classification"), max_chars=52)
    assert rows[0].text == " ".join(["word"] * 10)
    assert num_shortened == 1


def test_a_corpus_needs_no_answers(tmp_path):
    rows = _read(_file(tmp_path, "a.jsonl", '{"text": "one"}\n{"text": "two"}\n'), task="corpus")
    assert [(row.text, row.answer, row.imputed, row.reason) for row in rows] == [
        ("one", "", "", ""),
        ("two", "", "", ""),
    ]


def test_code_to_summarise_keeps_its_lines(tmp_path):
    path = _file(tmp_path, "a.jsonl", '{"text": "def f():\\n    return 1\\n", "target": "Give one."}\n')
    assert _read(path, task="summarisation")[0].text == "def f():\n    return 1"


def test_a_list_of_sentences_is_their_text_and_of_several_right_answers_the_first_counts(tmp_path):
    rows = [{"text": ["One thing.", "Another."], "target": ["Things.", "Some things."]}, {"text": [], "target": ["x"]}]
    path = _file(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert _pairs(_read(path, task="summarisation")) == [("One thing.\nAnother.", "Things.")]
    frame = pd.DataFrame(rows[:1])
    frame.to_parquet(tmp_path / "a.parquet")
    assert _pairs(_read(tmp_path / "a.parquet", task="summarisation")) == [("One thing.\nAnother.", "Things.")]
    rows = [{"text": ["to", "be"], "label": ["a", "b"]}, {"text": "or", "label": "c"}]
    path = _file(tmp_path, "b.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert [answer for _, answer in _pairs(_read(path))] == ['["a", "b"]', "c"]  # a label is no text
