"""Relations that plain English says outright: patterns between noun phrases, for precision and not for recall.

Hearst 1992 ("Automatic acquisition of hyponyms") for `is_a`; the others are verbs that mean one relation. No tagger:
a noun phrase is a run of words that are no function words, so a pattern fires only where both its sides are short.
"""

import re
from collections.abc import Iterator

from components.knowledge import Graph, entity_id, one_line

_NOT_IN_A_PHRASE = frozenset(
    """a an the this that these those it its they them their he she his her him we us our you your i me my who whom
    whose which what there here where when while if then else than as at by for from in into of off on onto out
    over per to under up upon via with within without about above across after against along among around before
    behind below between beyond but and or nor so yet not no is are was were be been being am do does did done
    has have had having can could may might must shall should will would also only just very more most less
    least such other another each every any some all both either neither one ones two three same own because
    since until unless although though however therefore thus hence e.g i.e e.g. i.e. etc many much few several
    often usually sometimes always never now well too whether how why yes otherwise instead rather using used
    uses returns return given called named including former latter
    """.split()  # noqa: SIM905
)
_VAGUE = frozenset(
    """thing things way ways kind kinds type types sort sorts form forms part parts list lists set sets number value
    values example examples case cases result results note function functions method methods class classes object
    objects argument arguments parameter parameters following above good bad new first last next different possible
    necessary important useful common true false none it place sequence collection group pair instance instances
    variety combination implementation subclass version copy module modules package packages file files code something
    anything everything nothing members purpose reason step order name names areas area""".split()  # noqa: SIM905
)
_ARTICLE = re.compile(r"^(?:the|an?)\s+", re.IGNORECASE)
_AND = re.compile(r"\s*,\s*(?:and\s+|or\s+)?|\s+(?:and|or)\s+")
_PLURAL = re.compile(r"[A-Za-z]{2}(?<![suiSUI])s$")
MOST_WORDS = 4
"""Of a noun phrase: a longer run of words has a verb in it."""

_PATTERNS: tuple[tuple[str, bool, bool, bool, re.Pattern[str]], ...] = tuple(
    (kind, reverse, whole, several, re.compile(words, re.IGNORECASE))
    for kind, reverse, whole, several, words in (
        # type; whether the object stands first; whether the left side is all that comes before; whether an enumeration
        # is on the right (otherwise on the left, if anywhere); the words between
        ("is_a", True, False, True, r",?\s+such as\s+"),
        ("is_a", False, False, False, r",?\s+(?:and|or)\s+other\s+"),
        ("is_a", False, True, False, r"\s+(?:is|are|was|were)\s+(?:an?|one of the|kinds? of|types? of)\s+"),
        ("part_of", False, True, False, r"\s+(?:is|are)\s+(?:an?\s+)?part of\s+"),
        ("part_of", True, True, True, r"\s+(?:consists? of|is made up of|is composed of|comprises)\s+"),
        ("uses", False, True, True, r"\s+(?:uses|relies on|rely on|depends? on|requires?)\s+"),
        ("inherits", False, True, False, r"\s+(?:is a subclass of|inherits? from|subclasses|extends)\s+"),
        ("based_on", False, True, False, r"\s+(?:(?:is|are)\s+(?:based on|derived from|inspired by)|implements?)\s+"),
        ("made_by", False, True, True, r"\s+(?:is|was|were)\s+(?:\w+ly\s+)?(?:written|developed|created|invented"
         r"|introduced|proposed|designed|founded)\s+by\s+"),
        ("replaces", False, True, False, r"\s+(?:replaces|supersedes|supplants)\s+"),
        ("replaces", True, True, False, r"\s+(?:is|was|has been)\s+(?:replaced|superseded)\s+by\s+"),
        ("located_in", False, True, False, r"\s+(?:is|are)\s+(?:located|situated)\s+in\s+"),
    )
)  # fmt: skip

_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|cf|vs|Dr|Mr|Mrs|Fig|Eq|No|al|resp|approx)\.$")


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, whose line breaks mean nothing but paragraphs."""
    for paragraph in re.split(r"\n\s*\n", text):
        start = 0
        plain = one_line(paragraph)
        for match in re.finditer(r"[.!?。！？]+[\"')\]]*(?=\s+[A-Z\"'(`]|$)", plain):
            candidate = plain[start : match.end()].strip()
            if not _ABBREVIATION.search(candidate):
                yield candidate
                start = match.end()
        if rest := plain[start:].strip():
            yield rest


def from_text(text: str, *, document: str) -> Graph:
    """What a text's sentences say outright."""
    graph = Graph()
    for sentence in sentences(text):
        if len(sentence) > 600 or re.search(r"\b(?:not|never|no longer|neither|if|unless)\b|n't\b", sentence):
            continue  # denied or conditional is not said
        for subject, kind, target in triples(sentence):
            graph.add((subject, "thing"), kind, (target, "thing"), sentence=sentence, document=document)
    return graph


def triples(sentence: str) -> list[tuple[str, str, str]]:
    """(subject, type, object) of one sentence, each once, in the order of the patterns."""
    plain = re.sub(r"[`*]+|[LCIBU]\{|\}", "", re.sub(r":\w+:(?=`)", "", sentence)).rstrip(".!?。！？ ")
    plain = re.sub(r"\([^()]*\)\s?", "", plain)
    found: dict[tuple[str, str, str], None] = {}
    for kind, reverse, whole, several, between in _PATTERNS:
        for match in between.finditer(plain):
            lefts = _before(plain[: match.start()], whole=whole, several=whole or not several)
            rights = _after(plain[match.end() :], several=several)
            if "such as" in match[0]:
                lefts = [" ".join(plural) for left in lefts if (plural := _last_plural(left.split()))]
            elif "other" in match[0]:
                rights = [" ".join(plural) for right in rights if (plural := _first_plural(right.split()))]
            for left in lefts:
                for right in rights:
                    subject, target = (right, left) if reverse else (left, right)
                    if entity_id(subject) != entity_id(target):
                        found.setdefault((subject, kind, target))
    return list(found)


def _before(said: str, *, whole: bool, several: bool) -> list[str]:
    """The noun phrases that end where `said` ends; with `whole` they must be all of it."""
    found: list[str] = []
    for part in reversed(_AND.split(said)):
        words = _ARTICLE.sub("", part.strip()).split()
        stops = [n for n, word in enumerate(words) if _is_function_word(word)]
        if whole and stops:
            return []
        if stops and words[stops[-1]].casefold() == "to":
            return found[::-1]  # an infinitive, no name
        words = words[stops[-1] + 1 :] if stops else words
        if not _is_name(words):
            return [] if whole else found
        found.append(" ".join(words))
        if stops or not several:
            break
    return found[::-1]


def _after(said: str, *, several: bool) -> list[str]:
    """The noun phrases that begin where `said` begins."""
    found: list[str] = []
    parts = _AND.split(said)
    for part in parts:
        words = _ARTICLE.sub("", part.strip()).split()
        stops = [n for n, word in enumerate(words) if _is_function_word(word)]
        if stops and words[stops[0]].casefold() in {"one", "ones"}:
            break  # "an SSL one": the name stands elsewhere
        words = words[: stops[0]] if stops else words
        if not several and len(words) == 1 and len(parts) > 1 and not stops and words[0].islower():
            break  # "a comprehensive and easy format": an adjective
        if not _is_name(words):
            break
        found.append(" ".join(words))
        if stops or not several:
            break
    return found


def _last_plural(words: list[str]) -> list[str]:
    """From "loader reads formats" the kind, "formats": a word in -s before a plural is its verb. None if it is none."""
    if not _PLURAL.search(words[-1]):
        return []
    verbs = [n for n, word in enumerate(words[:-1]) if _PLURAL.search(word)]
    return words[verbs[-1] + 1 :] if verbs else words


def _first_plural(words: list[str]) -> list[str]:
    """From "cereals feed people" the kind, "cereals": what follows a plural is its verb. None if there is none."""
    end = next((n for n, word in enumerate(words) if _PLURAL.search(word)), None)
    return [] if end is None else words[: end + 1]


def _is_function_word(word: str) -> bool:
    return word.casefold().strip(".,:;'\"") in _NOT_IN_A_PHRASE


def _is_name(words: list[str]) -> bool:
    """A short phrase whose last word, its head, says something."""
    if not words or len(words) > MOST_WORDS:
        return False
    head = words[-1].casefold().strip(".,:;'\"")
    is_word = bool(re.match(r"^[a-z_][\w./+#-]*$|^[^\W\d_]", head)) and len(head) > 1
    return is_word and head not in _VAGUE and not head.endswith("ly") and not any(w.endswith(":") for w in words)
