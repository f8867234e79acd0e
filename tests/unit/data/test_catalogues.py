import pytest

from components import assets
from components.data.catalogues import messages, read_catalogues
from components.data.cleaning import kept
from components.errors import AssetError
from components.recipes import CatalogueSource
from components.settings import Settings

HEADER = 'msgid ""\nmsgstr ""\n"Language: de\\n"\n\n'
GERMAN = (
    HEADER
    + r"""
# a note
#, python-format
msgid "Delete %(name)s?"
msgstr "%(name)s löschen?"

msgctxt "a month"
msgid "May"
msgstr "Mai"

msgid "one \"file\""
msgid_plural "%(n)d files"
msgstr[0] "eine \"Datei\""
msgstr[1] "%(n)d Dateien"

msgid ""
"A long "
"message"
msgstr ""
"Eine lange "
"Nachricht"
#, fuzzy
msgid "guess"
msgstr "raten"

msgid "empty"
msgstr ""

msgid "Lost %s"
msgstr "Verloren"

#~ msgid "old"
#~ msgstr "alt"
"""
)
FRENCH = HEADER + 'msgid "A long message"\nmsgstr "Un long message"\n\nmsgid "empty"\nmsgstr "vide"\n'


@pytest.fixture
def source(tmp_path, monkeypatch):
    for language, text in (("de", GERMAN), ("fr", FRENCH)):
        folder = tmp_path / "django/locale" / language / "LC_MESSAGES"
        folder.mkdir(parents=True)
        (folder / "django.po").write_text(text, "utf-8")
    monkeypatch.setattr(assets, "unpack", lambda name, *, settings: tmp_path / "django")

    def read(*targets, source_language="en"):
        recipe = CatalogueSource(
            assets=("django",), target_languages=targets, source_language=source_language, table="t"
        )
        return read_catalogues(recipe, settings=Settings(), max_chars=100)

    return read


def test_a_catalogue_is_read_as_gettext_writes_it():
    found = {entry.ids[0]: entry for entry in messages(GERMAN)}
    assert list(found) == ["Delete %(name)s?", "May", 'one "file"', "A long message", "guess", "empty", "Lost %s"]
    assert found["May"].context == "a month"
    assert found['one "file"'].strings == {0: 'eine "Datei"', 1: "%(n)d Dateien"}
    assert found["A long message"].strings == {0: "Eine lange Nachricht"}
    assert [entry.ids[0] for entry in found.values() if entry.fuzzy] == ["guess"]


def test_pairs_are_of_what_was_translated_and_placeholders_must_agree(source):
    rows = source("de")
    assert {row.text: row.answer for row in kept(rows)} == {
        "Delete %(name)s?": "%(name)s löschen?",
        "May": "Mai",
        'one "file"': 'eine "Datei"',
        "%(n)d files": "%(n)d Dateien",
        "A long message": "Eine lange Nachricht",
    }
    assert {row.text: row.reason for row in rows if row.reason} == {"Lost %s": "placeholders differ"}


def test_of_several_languages_the_text_says_which_and_a_message_stays_in_one_group(source):
    rows = kept(source("de", "fr"))
    long = [row for row in rows if row.text.endswith("A long message")]
    assert [row.text for row in long] == [">>de<< A long message", ">>fr<< A long message"]
    assert len({row.group for row in long}) == 1
    assert {row.source for row in rows} == {"django en-de", "django en-fr"}


def test_any_two_languages_make_a_pair(source):
    [row] = kept(source("fr", source_language="de"))
    assert (row.text, row.answer) == ("Eine lange Nachricht", "Un long message")


def test_a_language_that_is_not_there_is_named_with_those_that_are(source):
    with pytest.raises(AssetError, match=r"no catalogue of xx.*de, fr"):
        source("xx")
