"""Translations that people made: the gettext catalogues (.po) inside pinned packages, as pairs of any two languages."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components import assets
from components.data.cleaning import NO_ANSWER, TOO_LONG, Row, clean_prose, kept
from components.data.dedup import drop_near_duplicates
from components.data.tables import content_id
from components.errors import AssetError
from components.recipes import CatalogueSource
from components.settings import Settings
from components.tasks.translation import placeholders, without_placeholders

ORIGINAL = "en"
"""The language of a catalogue's message ids."""


@dataclass
class Message:
    """One entry of a catalogue."""

    context: str = ""
    ids: list[str] = field(default_factory=list)
    """The message, and its plural where it has one."""
    strings: dict[int, str] = field(default_factory=dict)
    """Number of the plural form → translation."""
    fuzzy: bool = False
    """A machine's guess that no translator has confirmed."""


def messages(text: str) -> Iterator[Message]:
    """The entries of a .po file; its header (the empty message) and what is commented out are none.

    Source: GNU gettext manual, "The Format of PO Files".
    """
    entry, keyword = Message(), ""
    for line in [*text.splitlines(), 'msgid ""']:
        line = line.strip()
        if line.startswith("#"):
            if entry.strings:
                yield from _whole(entry)
                entry, keyword = Message(), ""
            entry.fuzzy |= line.startswith("#,") and "fuzzy" in line
            continue
        word, _, quoted = line.partition(" ") if not line.startswith('"') else ("", "", line)
        if word in {"msgctxt", "msgid"} and entry.strings:
            yield from _whole(entry)
            entry = Message()
        keyword = word or keyword
        if not quoted.startswith('"'):
            continue
        try:
            said = str(ast.literal_eval(quoted))  # its escapes are C's, which are Python's
        except (SyntaxError, ValueError):
            continue
        if keyword == "msgctxt":
            entry.context += said
        elif keyword in {"msgid", "msgid_plural"}:
            entry.ids = [*entry.ids, said] if word else [*entry.ids[:-1], entry.ids[-1] + said]
        elif keyword.startswith("msgstr"):
            number = int(re.sub(r"\D", "", keyword) or 0)
            entry.strings[number] = entry.strings.get(number, "") + said


def _whole(entry: Message) -> Iterator[Message]:
    if entry.ids and entry.ids[0]:
        yield entry


def read_catalogues(recipe: CatalogueSource, *, settings: Settings, max_chars: int) -> list[Row]:
    """Pairs of source and target language; where there are several targets the text begins with `>>language<< `.

    Languages are named as the catalogues' folders are (`de`, `zh_Hans`); `en` is the messages' own. Fuzzy and empty
    entries are left out; those whose placeholders differ are rejected, with the reason. A row's group is its English
    message without placeholders, so that no message is both learned and measured, in whatever language.

    Raises:
        AssetError: a package without catalogues of such a language; or as `assets.fetch`.
    """
    rows: list[Row] = []
    for name in recipe.assets:
        asset = assets.get_asset(name)
        folder = assets.unpack(name, settings=settings)
        source = _translations(folder, recipe.source_language, name)
        for language in recipe.target_languages:
            target = _translations(folder, language, name)
            found = []
            for key, text in source.items():
                if key not in target:
                    continue
                group = f"{name}/{content_id(_bare(key[1]))}"
                row = Row(text, target[key], f"{name} {recipe.source_language}-{language}", asset.licence, group)
                row.reason = _reason(row, max_chars)
                found.append(row)
            for row in found:
                row.id = content_id(row.text)
            drop_near_duplicates(found, threshold=0.8)
            if len(recipe.target_languages) > 1:
                for row in found:
                    row.text = f">>{language}<< {row.text}"
            rows += found
        if not kept(rows):
            pair = f"{recipe.source_language} and {', '.join(recipe.target_languages)}"
            raise AssetError(f"asset {name} holds no translations between {pair}", "name languages that it has")
    return rows


def _translations(folder: Path, language: str, name: str) -> Mapping[tuple[str, str, int], str]:
    """(context, English message, 0 for singular, 1 for plural) → the text in a language, the first one found."""
    found: dict[tuple[str, str, int], str] = {}
    there = language if language != ORIGINAL else "de"  # any catalogue has the messages' own language
    paths = sorted(folder.rglob(f"{there}/LC_MESSAGES/*.po"))
    if not paths:
        known = sorted({path.parent.parent.name for path in folder.rglob("*/LC_MESSAGES/*.po")})
        raise AssetError(f"asset {name} has no catalogue of {language}", f"it has: {', '.join(known) or 'none at all'}")
    for path in paths:
        for message in messages(path.read_text("utf-8", "replace")):
            if message.fuzzy and language != ORIGINAL:
                continue
            for number, english in enumerate(message.ids[:2]):
                form = max(message.strings) if number else 0
                text = clean_prose(english if language == ORIGINAL else message.strings.get(form, ""))
                if text:
                    found.setdefault((message.context, message.ids[0], number), text)
    return found


def _bare(message: str) -> str:
    return re.sub(r"[\W\d_]+", " ", without_placeholders(message)).strip() or message


def _reason(row: Row, max_chars: int) -> str:
    if not row.answer:
        return NO_ANSWER
    if max(len(row.text), len(row.answer)) > max_chars:
        return TOO_LONG
    if not set(placeholders(row.text)) <= set(placeholders(row.answer)):
        return "placeholders differ"
    if row.text == row.answer:
        return "not translated"
    return ""
