"""Which language a text is in: by its script, and within the Latin script by its small words, endings and letters.

No model: a text of a known script is told at once; Latin texts are scored by closed-class words and endings in the
spirit of n-gram profiles (Cavnar and Trenkle, N-Gram-Based Text Categorization, SDAIR 1994). Accuracy on texts with
a known language is in docs/benchmarks.md.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache

UNDETERMINED = "und"
"""ISO 639-2 for a language that could not be told."""
MAX_CHARS = 2_000
"""So much of the beginning is looked at."""
HAN_WEIGHT = 5
"""One Chinese character says about what a word of five letters says: a sentence may name a file or a function."""

_SCRIPTS = (
    ("han", "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003134f"),
    ("kana", "\u3040-\u30ff\u31f0-\u31ff"),
    ("hangul", "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"),
    ("cyrillic", "\u0400-\u052f"),
    ("arabic", "\u0600-\u06ff\u0750-\u077f"),
    ("hebrew", "\u0590-\u05ff"),
    ("greek", "\u0370-\u03ff"),
    ("devanagari", "\u0900-\u097f"),
    ("thai", "\u0e00-\u0e7f"),
    ("latin", "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"),
)
_PATTERNS = {name: re.compile(f"[{ranges}]") for name, ranges in _SCRIPTS}
_OTHER_SCRIPT = re.compile("[\u0370-\U0003134f]")
_OF_SCRIPT = {"hangul": "ko", "hebrew": "he", "greek": "el", "devanagari": "hi", "thai": "th"}
_LATIN_WORD = re.compile("[a-z\u00df-\u00f6\u00f8-\u024f]+")

_SMALL_WORDS = {
    "en": "the of and to in is was for on with as that by it are this be from or at an which not have has were been "
    "their can will would should could may must if when there than other such its they you we he she his her our your "
    "what who how all any each these those into but no do does did only also then so more most some between after",
    "de": "der die das und in ist nicht zu den von mit auf für ein eine einer einem einen des dem im sich als auch es "
    "an werden wird wurde aus er sie hat haben bei oder sind war noch nach wie einen zum zur bis durch über nur kann "
    "können muss müssen wenn dass diese dieser dieses keine kein sein ihre ihr wir ich bitte vom beim mehr alle",
    "fr": "le la les de des du un une et est en que qui dans pour pas sur au aux par plus ne se ce cette ces il elle "
    "nous vous ils sont avec être été sa son ses leur ou mais comme tout on peut doit votre vos notre avez avoir fait "
    "sans sous entre aucun aucune si dont où même aussi bien lors cet veuillez chaque",
    "es": "el la los las de del un una y en que es por con para no se su al lo como más pero sus le ha este esta estos "
    "estas si sobre entre cuando muy sin ser también hasta hay donde desde todo nos durante todos uno ni contra otros "
    "puede debe son fue está ya o e tiene han cada ningún ninguna usted cual",
    "pt": "o a os as de do da dos das um uma e em no na nos nas que é por com para não se ao à mais mas foi como sua "
    "seu suas seus ele ela são ser este esta isso quando muito já também só pelo pela até entre depois sem mesmo aos "
    "você está pode deve ou tem cada nenhum nenhuma num numa todos qual",
    "it": "il lo la i gli le di del della dei delle dello degli un una uno e è in che per con non si da dal dalla al "
    "alla ai alle nel nella nei nelle su sul sulla come più ma anche questo questa questi sono essere stato ha ho "
    "hanno o se quando dove tra fra ogni suo sua loro può deve deve nessun nessuna cui",
    "nl": "de het een en van in is dat op te zijn met voor niet aan er om ook als dan maar bij of uit nog naar heeft "
    "hij zij ze wordt worden door over deze dit die was hebben kan kunnen moet moeten geen uw je wij we u meer zo "
    "tot wel alle elk elke hun haar mijn onder tussen",
    "sv": "och att det som en på är av för med till den har de inte om ett han men var jag sig från vi så kan när år "
    "under också efter eller nu där vid mot ska skulle kommer ut får finns vara hade alla andra mycket detta måste "
    "denna dessa mellan utan inget ingen varje din ditt",
    "pl": "i w na z do nie się jest to że o jak po za od ale dla przez są był była było być tak czy lub może tylko ten "
    "ta te tego tej tym których który która które oraz jego jej ich ma można musi przy pod nad już także więcej bez",
    "tr": "ve bir bu da de için ile olarak daha olan çok gibi en kadar ama ne her o sonra ya var olduğu ise veya değil "
    "mi mu ki içinde tarafından göre lütfen geçerli üzere ancak ben sen biz siz onlar tüm bazı yok şu olmalıdır",
    "da": "og i at det er en til på af for med den der ikke de har som et var fra han vi kan men om skal eller så vil "
    "jeg sig blev efter ved over også være nu hvor når denne dette disse mellem uden ingen hver din dit må",
    "fi": "ja on ei että se oli ovat mutta kuin tai myös hän ole joka voi tämä ne kun mukaan sekä ennen jälkeen vain "
    "niin jos nyt kanssa sen olla tämän joita tätä vielä oletko kaikki yksi täytyy pitää anna ollut",
}
_ENDINGS = {
    "en": "ing ed tion ly ness ment ship ight ould",
    "de": "ung lich isch keit heit ungen enden schaft gen ten",
    "fr": "ment eux euse tion aient ière eur ique és ée",
    "es": "ción mente ando iendo dad ado ada ones ería ible",
    "pt": "ção mente ções dade ado ada ável inho agem",
    "it": "zione mente zioni ità ato ata ere ire ibile ggio",
    "nl": "lijk ijk heid ing en aan oor elde erd",
    "sv": "ning het lig ande arna erna ades ska",
    "pl": "ość nie ych ego owy owa ania ować ów ie",
    "tr": "lar ler lık lik iyor ması mesi ında inde nın",
    "da": "ning hed lig ende erne else ede ør",
    "fi": "ssa ssä nen taan tään lla llä sta stä een",
}
_LETTERS = {
    "de": "äöüß", "fr": "éèêàçùôîœ", "es": "ñáéíóú¿", "pt": "ãõçáéêó", "it": "àèéìòù", "sv": "åäö",
    "pl": "ąćęłńóśźż", "tr": "ğışçöü", "da": "æøå", "fi": "äö",
}  # fmt: skip
LANGUAGES = (*_SMALL_WORDS, "zh", "ja", "ko", "ru", "uk", "ar", "fa", "he", "el", "hi", "th")


@dataclass(frozen=True)
class Guess:
    """A language by its ISO 639-1 code, or `und`; `confidence` is its share of what spoke for any language, 0 to 1."""

    language: str
    confidence: float


def identify(text: str) -> Guess:
    """The language of a text, one of `LANGUAGES`; `und` where nothing in it tells (numbers, names, other languages)."""
    text = text[:MAX_CHARS]
    if not _OTHER_SCRIPT.search(text):
        return _latin(text)
    counts = {name: len(pattern.findall(text)) for name, pattern in _PATTERNS.items()}
    counts["han"] *= HAN_WEIGHT
    counts["kana"] *= HAN_WEIGHT
    total = sum(counts.values())
    if not total:
        return Guess(UNDETERMINED, 0.0)
    east = counts["han"] + counts["kana"]
    script = max(counts, key=lambda name: counts[name])
    if script in {"han", "kana"}:  # a Japanese sentence has kana; a Chinese one may quote a word
        return Guess("ja" if counts["kana"] > 0.1 * east else "zh", round(east / total, 3))
    share = counts[script] / total
    if script == "latin":
        guess = _latin(text)
        return Guess(guess.language, round(guess.confidence * share, 3))
    if script == "cyrillic":
        return Guess("uk" if re.search("[іїєґІЇЄҐ]", text) else "ru", round(share, 3))
    if script == "arabic":
        return Guess("fa" if re.search("[پچژگکی]", text) else "ar", round(share, 3))
    return Guess(_OF_SCRIPT[script], round(share, 3))


def _latin(text: str) -> Guess:
    evidence, letters = _evidence()
    scores: dict[str, float] = defaultdict(float)
    found = _LATIN_WORD.findall(text.lower())
    for word in found:
        for language, weight in evidence.get(word, ()):
            scores[language] += weight
        for size in (5, 4, 3, 2):
            if len(word) > size + 1 and (known := evidence.get("-" + word[-size:])):
                for language, weight in known:
                    scores[language] += 0.3 * weight
                break
    if not text.isascii():
        for character in text.lower():
            for language, weight in letters.get(character, ()):
                scores[language] += 0.5 * weight
    if not scores:
        return Guess(UNDETERMINED, 0.0)
    language, best = max(scores.items(), key=lambda score: score[1])
    if best < 0.03 * len(found) or best < 0.5:
        return Guess(UNDETERMINED, 0.0)
    return Guess(language, round(best / sum(scores.values()), 3))


@cache
def _evidence() -> tuple[dict[str, list[tuple[str, float]]], dict[str, list[tuple[str, float]]]]:
    """Word, or `-ending` → the languages that have it; letter → the same. What several share says less of each."""
    words: dict[str, list[tuple[str, float]]] = {}
    letters: dict[str, list[tuple[str, float]]] = {}
    for mark, lists in (("", _SMALL_WORDS), ("-", _ENDINGS)):
        for language, listed in lists.items():
            for word in dict.fromkeys(listed.split()):
                words.setdefault(mark + word, []).append((language, 1.0))
    for language, characters in _LETTERS.items():
        for character in characters:
            letters.setdefault(character, []).append((language, 1.0))
    for known in (words, letters):
        for key, languages in known.items():
            full = 0.4 if known is words and len(key) == 1 else 1.0  # `a` and `o` are also symbols
            known[key] = [(language, full / len(languages)) for language, _ in languages]
    return words, letters
