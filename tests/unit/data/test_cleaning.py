import pytest

from components.data.cleaning import clean_code, clean_prose, document_reason, name_masker, prose_reason, strip_markup


def test_prose_loses_control_characters_and_runs_of_spaces():
    assert clean_prose("a\x00b\u200b  c\n\n d\ufeff") == "ab c d"


def test_code_keeps_its_indentation_and_loses_trailing_spaces():
    assert clean_code("\n\ndef f():  \r\n    return 1\t\r\n\n") == "def f():\n    return 1"


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("Return :class:`~a.B` of ``x``.", "Return a.B of x."),
        ("Wrap L{C{Deferred}} and I{this}.", "Wrap Deferred and this."),
        ("The :func:`call <a.b>` is *very* **strong**.", "The call is very strong."),
        ("2 * 3 * 4 stays", "2 * 3 * 4 stays"),
    ],
)
def test_markup_goes_and_the_words_stay(marked, plain):
    assert strip_markup(marked) == plain


def test_names_are_masked_in_any_case_and_within_words_when_they_are_long():
    masker = name_masker(["keras", "nx"])
    assert (
        masker.sub("library", "KerasTensor of Keras, nx.Graph, onyx") == "libraryTensor of library, library.Graph, onyx"
    )


def test_a_masker_without_names_masks_nothing():
    assert name_masker([]).sub("library", "anything") == "anything"


def test_a_description_is_dropped_with_a_reason():
    assert prose_reason("", min_words=3, max_chars=50) == "no text"
    assert prose_reason("too few", min_words=3, max_chars=50) == "too short"
    assert prose_reason("words " * 20, min_words=3, max_chars=50) == "too long"
    assert prose_reason("it is ((((((((1+2)))))))) 12345 of", min_words=3, max_chars=50) == "mostly not words"
    assert prose_reason("three plain words", min_words=3, max_chars=50) == ""


def test_data_in_a_source_file_is_not_a_document():
    assert document_reason("x = [" + "1, " * 400 + "]") == "generated or data, not written"
    assert document_reason("short") == "too short"
    assert document_reason("def written(by: Person) -> None:\n    return by.hand\n" * 8) == ""
