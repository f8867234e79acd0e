"""Feedback from files: JSONL, Label Studio's and Argilla's exports."""

import json

import pytest

from components.errors import InputFileError, MappingError, UsageError
from components.feedback.imports import Said, read

LABEL_STUDIO = [
    {
        "id": 7,
        "data": {"text": "read raw data"},
        "annotations": [
            {
                "completed_by": {"id": 1, "email": "ada@example.org"},
                "was_cancelled": False,
                "result": [{"type": "choices", "from_name": "label", "value": {"choices": ["mne"]}}],
            },
            {"completed_by": 2, "was_cancelled": True, "result": [{"value": {"choices": ["django"]}}]},
            {"completed_by": 3, "result": [{"value": {"choices": ["mne", "django"]}}, {"value": {"rating": 4}}]},
        ],
    },
    {
        "id": 8,
        "data": {"text": "sum it up"},
        "annotations": [{"completed_by": 2, "result": [{"type": "textarea", "value": {"text": ["short"]}}]}],
    },
    {
        "id": 9,
        "data": {"text": "of a tree"},
        "annotations": [{"completed_by": 2, "result": [{"value": {"taxonomy": [["science", "sympy"]]}}]}],
    },
]
ARGILLA_2 = [
    {
        "id": "r1",
        "fields": {"text": "read raw data"},
        "responses": {"label": [{"value": "mne", "user_id": "u1"}, {"value": "django", "user_id": "u2"}]},
    },
    {"id": "r2", "fields": {"text": "unanswered"}, "responses": {}},
    {"id": "r3", "fields": {"text": "rated"}, "responses": {"stars": [{"value": 4, "user_id": "u1"}]}},
]
ARGILLA_1 = [
    {
        "id": "r1",
        "fields": {"text": "read raw data"},
        "responses": [
            {"user_id": "u1", "status": "submitted", "values": {"label": {"value": "mne"}}},
            {"user_id": "u2", "status": "discarded", "values": {"label": {"value": "django"}}},
        ],
    }
]


def write(tmp_path, content) -> object:
    path = tmp_path / "export.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def triples(said: list[Said]) -> list[tuple[str, str, str | None]]:
    return [(one.text, one.answer, one.subject) for one in said]


def test_jsonl_rows_have_a_text_and_an_answer(tmp_path):
    rows = [
        {"text": "read raw data", "answer": " mne ", "subject": "ada", "comment": "sure"},
        {"text": "no answer"},
        {"text": "read raw data", "correction": "django"},
        {"text": "read raw data", "correction": "django"},
    ]
    path = write(tmp_path, "\n".join([json.dumps(row) for row in rows] + [""]))
    said = read(path, format="jsonl")
    assert triples(said) == [("read raw data", "mne", "ada"), ("read raw data", "django", None)]
    assert (said[0].comment, said[0].origin) == ("sure", "line 1")


def test_label_studios_export_gives_single_choices_and_texts_and_no_cancelled_annotation(tmp_path):
    assert triples(read(write(tmp_path, LABEL_STUDIO), format="label-studio")) == [
        ("read raw data", "mne", "ada@example.org"),
        ("sum it up", "short", "2"),
        ("of a tree", "sympy", "2"),
    ]


def test_argillas_records_of_both_major_versions_are_read(tmp_path):
    assert triples(read(write(tmp_path, ARGILLA_2), format="argilla")) == [
        ("read raw data", "mne", "u1"),
        ("read raw data", "django", "u2"),
    ]
    assert triples(read(write(tmp_path, ARGILLA_1), format="argilla")) == [("read raw data", "mne", "u1")]


def test_the_same_words_of_the_same_person_have_the_same_id_in_one_table_only(tmp_path):
    one, other = read(write(tmp_path, ARGILLA_2), format="argilla")
    again = read(write(tmp_path, ARGILLA_2), format="argilla")[0]
    assert one.feedback_id("library") == again.feedback_id("library")
    assert len({one.feedback_id("library"), one.feedback_id("mine"), other.feedback_id("library")}) == 3


def test_a_file_that_cannot_be_used_says_why(tmp_path):
    with pytest.raises(InputFileError, match="there is no file"):
        read(tmp_path / "none.jsonl", format="jsonl")
    with pytest.raises(InputFileError, match="is not a jsonl export"):
        read(write(tmp_path, "{not json"), format="jsonl")
    for format_ in ("argilla", "label-studio"):
        with pytest.raises(InputFileError, match=f"is not a {format_} export"):
            read(write(tmp_path, '{"a": 1}'), format=format_)
    with pytest.raises(MappingError, match="no answer to a field 'body'"):
        read(write(tmp_path, LABEL_STUDIO), format="label-studio", text_field="body")
    with pytest.raises(UsageError, match="no format 'csv'"):
        read(tmp_path / "x", format="csv")
