"""How personal values are written, one finder a kind: each gives the (start, end) of what it holds for certain.

Sources: E.164 and national plans (phones), ISO/IEC 7812 (cards: issuer ranges and Luhn), ISO 13616 (IBAN: length by
country and mod 97), GB 11643 (Chinese resident identity number, ISO 7064 mod 11-2), the SSA's rules for SSNs, and what
the issuers of keys document as prefixes. Lookarounds name ASCII: Chinese characters stand beside a number without a
space.
"""

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

Found = Iterator[tuple[int, int]]
Windows = list[tuple[int, int]]

# ---------------------------------------------------------------- words before

_NEAR = 24
_VERSION_WORD = re.compile(
    r"(?i)(?:\bv|\bver(?:sion)?s?\.?|\brelease[ds]?|\bbuild|\brev(?:ision)?|\bsection|\bsec\.|\bchapter|\bclause|\bparagraph"
    r"|\bfigure|\btable|\bappendix|\b(?:up|down)graded? (?:from|to)|版本|版|§+|第|节|[/=<>~^-])[\s:：]*[\"']?v?$"
)
_HOST_WORD = re.compile(
    r"(?i)\b(?:ip|ips|ipv4|host|hosts|addr(?:ess)?|from|client|server|peer|login|ssh|ping|gateway|dns|proxy|subnet)\b|@|//|来自|地址|主机|登录"
)
"""`nginx 1.18.0.2` is a version: an address of four small parts is one only in such company."""
_PHONE_WORD = re.compile(
    r"(?i)(?:\b(?:tel|phone|telephone|mobile|cell|call|ring|dial|fax|whatsapp|sms|my number is|number is|reach me)\b"
    r"|(?:电话|手机|热线|传真)号?码?|拨打|致电|来电|联系方式)"
    r"(?:[\s.:：=#(]|是|\b(?:me|us|him|her|them|on|at|is|now|back|no|number|please|home|work)\b)*$"
)
_OTHER_NUMBER = re.compile(
    r"(?i)(?:\b(?:isbn|issn|ean|upc|sku|p/n|part|item|serial|order|invoice|tracking|ref(?:erence)?|ticket|doi|pmid|rfc"
    r"|batch|lic(?:en[cs]e)?|patent|model|timestamp|uuid|version|lat|lon|total|value|code|no|nr)\b[.:#\s]*(?:no\b\.?|number|id)?"
    r"|订单号?|流水号|编号|编码|书号|型号|单号|时间戳?|数值|股票代码|许可证|备案?)[\s:：#=]*$"
)
_SSN_WORD = re.compile(r"(?i)(?:\bssn\b|social security|社会安全)[^\d\n]{0,16}$")


def _before(text: str, start: int) -> str:
    return text[max(0, start - _NEAR) : start]


_MANY_DIGITS = re.compile(r"\d(?:[ ()./_-]{0,3}\d){5,}")


def windows(text: str) -> Windows:
    """Where six digits stand near each other, and what surrounds them: all that a finder of numbers looks at."""
    found: list[tuple[int, int]] = []
    for match in _MANY_DIGITS.finditer(text):
        low, high = max(0, match.start() - 24), match.end() + 40
        if found and low <= found[-1][1]:
            low = found.pop()[0]
        found.append((low, high))
    return found


def _within(windows: Windows, pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    for low, high in windows:
        yield from pattern.finditer(text, low, high)


def _number_of_digits(text: str) -> int:
    return sum(character.isdigit() for character in text)


# ---------------------------------------------------------------- addresses

_LOCAL = "[A-Za-z0-9\u00c0-\u024f_%+'-]"
_EMAIL = re.compile(
    rf"(?<![A-Za-z0-9\u00c0-\u024f_.%+-])(?P<local>{_LOCAL}(?:[.]?{_LOCAL}){{0,63}})"
    r"(?:@|\s?[\[(]\s?(?:at|AT)\s?[\])]\s?)"
    r"(?:[A-Za-z0-9\u00c0-\u024f](?:[A-Za-z0-9\u00c0-\u024f-]{0,62})(?:\.|\s?[\[(]\s?(?:dot|DOT)\s?[\])]\s?))+"
    r"[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)


_AT = re.compile(rf"@(?<={_LOCAL}@)(?=[A-Za-z0-9\u00c0-\u024f])")
"""It begins with what it looks for, so that a text full of decorators is passed over quickly."""
_IN_BRACKETS, _IN_BRACKETS_UPPER = (
    re.compile(rf"{at}(?:(?<=[\[(]{at})|(?<=[\[(]\s{at}))\s?[\])]") for at in ("at", "AT")
)
_AT_IN_WORDS = re.compile(r"\s?[\[(]\s?(?:at|AT)\s?[\])]")
_LOCAL_END = re.compile(rf"{_LOCAL}(?:[.]?{_LOCAL}){{0,63}}\Z")
_FILE_SUFFIXES = frozenset(
    {"png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "service", "socket", "target",
     "timer", "mount", "py", "js", "ts", "css", "scss", "html", "json"}
)  # fmt: skip
_SPELLED_EMAIL = re.compile(
    rf"(?<![A-Za-z0-9\u00c0-\u024f_.%+-])(?:{_LOCAL}(?:[.]?{_LOCAL}){{0,63}} @ (?:[A-Za-z0-9-]+\.)+"
    r"|(?:[A-Za-z0-9_-]+ dot )*[A-Za-z0-9_-]+ at (?:[A-Za-z0-9-]+ dot )+)(?:com|org|net|edu|gov|io|[a-z]{2})"
    r"(?![A-Za-z0-9-])"
)
_SPACED_AT = re.compile(r" @ (?=[A-Za-z0-9-]+\.)")
_SPELLED_AT = re.compile(r" at (?=[A-Za-z0-9-]+ dot )")
"""In most of what has ` @ `, matrices are multiplied."""


def emails(text: str) -> Found:
    """E-mail addresses, also `name (at) host [dot] org`; not `git@host`, which is everybody's."""
    signs = [*_AT.finditer(text)]
    if _IN_BRACKETS.search(text) or _IN_BRACKETS_UPPER.search(text):
        signs += _AT_IN_WORDS.finditer(text)
    for sign in signs:
        local = _LOCAL_END.search(text, max(0, sign.start() - 66), sign.start())
        match = local and _EMAIL.match(text, local.start())
        if not match:
            continue
        start = match.start() + len(match.group()) - len(match.group().lstrip("'"))
        suffix = re.findall(r"[A-Za-z]+", match.group())[-1].lower()
        if not match.group().lower().startswith("git@") and suffix not in _FILE_SUFFIXES:
            yield start, match.end()
    if _SPACED_AT.search(text) or (" dot " in text and _SPELLED_AT.search(text)):
        for match in _SPELLED_EMAIL.finditer(text):
            yield match.span()


_DOTS = re.compile(r"\.\d{1,3}\.\d{1,3}\.\d")
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV4 = re.compile(r"(?<![A-Za-z0-9_.])(?:\d{1,3}\.){3}\d{1,3}(?![A-Za-z0-9_]|\.\d)")
_IPV6 = re.compile(r"(?<![A-Za-z0-9_:.])[0-9A-Fa-f:]{5,39}(?:(?<=:)(?:\d{1,3}\.){3}\d{1,3})?(?![A-Za-z0-9_:])")


def addresses(text: str) -> Found:
    """IP addresses; not versions, sections, slices of code, net masks, nor 127.0.0.1 and 0.0.0.0: nobody's."""
    for match in _around(_COLONS, _IPV6, text):
        if match.group().count(":") > 1 and _is_address(match.group()):
            yield match.span()
    for match in _around(_DOTS, _IPV4, text):
        before = _before(text, match.start())
        small = all(int(part) < 32 for part in match.group().split("."))
        if _is_address(match.group()) and not _VERSION_WORD.search(before) and (not small or _HOST_WORD.search(before)):
            yield match.span()


def _around(anchor: re.Pattern[str], pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Matches near an anchor: what begins with a character is found ten times as fast as what looks back first."""
    done = 0
    for found in anchor.finditer(text):
        if found.start() >= done:
            for match in pattern.finditer(text, max(done, found.start() - 45), found.start() + 64):
                if match.end() > done:
                    done = match.end()
                    yield match


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version == 6:  # slices look like addresses: `a[1::2]`, `b::d`
        groups = text.split(":")
        telling = any(len(group) > 2 for group in groups) and any(map(str.isdigit, text))
        if not telling or (len(groups) < 6 and not any(map(str.isalpha, text))):
            return False
        return not (address.is_loopback or address.is_unspecified)
    return not (address.is_loopback or text.startswith(("0.", "255.")))


# ---------------------------------------------------------------- phones

_PHONE = re.compile(
    r"(?<![A-Za-z0-9_.,+#$€£%-])(?<!\d[ /])(?:"
    r"(?:\+[1-9]|00[1-9](?=(?:[ .()/-]*\d){9}))\d{0,2}[ .-]?(?:\(\d{1,4}\)[ ]?)?\d"  # international: the prefix,
    r"(?:[ ./-]{0,3}\(?\d\)?){5,13}"  # and the rest
    r"|(?:1[ .-])?\([2-9]\d{2}\)[ ]?[2-9]\d{2}[ .-]?\d{4}"  # North America
    r"|(?:1[ .-])?[2-9]\d{2}([ ./-])[2-9]\d{2}\1\d{4}"
    r"|1[3-9]\d([ .-]?)\d{4}\2\d{4}"  # a Chinese mobile number
    r"|\(0\d{2,3}\)[ ]?[1-9]\d{2,3}[ -]?\d{4}|0(?:10|2\d|[3-9]\d{2})-[1-9]\d{2,3}[ -]?\d{4}"  # a Chinese land line
    r"|[48]00-\d{3,4}-\d{3,4}"  # a Chinese service number
    r"|0[1-9](?:[ .-]\d{2}){4}"  # France
    r"|0\d{2}[ ]\d{4}[ ]\d{4}|0\d{3}[ ]\d{3}[ ]\d{4}|0\d{4}[ ]\d{5,6}"  # the United Kingdom
    r"|01[5-7]\d[ /-]?\d{7,8}"  # a German mobile number
    r")(?![A-Za-z0-9_*]|[.,:-]\d|-[A-Za-z])"
)
_LOOSE_PHONE = re.compile(r"(?<![A-Za-z0-9_.,+-])\(?\d(?:[ ()./-]{0,2}\d){6,13}(?![A-Za-z0-9_]|[.,:]\d)")


def phones(text: str, windows: Windows) -> Found:
    """Phone numbers in the formats that tell one; after a word such as `call`, any 7 to 14 digits."""
    for match in _within(windows, _PHONE, text):
        if 8 <= _number_of_digits(match.group()) <= 15 and not _OTHER_NUMBER.search(_before(text, match.start())):
            yield match.span()
    for match in _within(windows, _LOOSE_PHONE, text):
        if _PHONE_WORD.search(_before(text, match.start())) and not _DATE.fullmatch(match.group()):
            yield match.span()


_DATE = re.compile(
    r"(?:19|20)\d{2}(?P<a>[-./]?)(?:0?[1-9]|1[0-2])(?P=a)(?:0?[1-9]|[12]\d|3[01])\d{0,6}"
    r"|(?:0?[1-9]|[12]\d|3[01])(?P<b>[-./])(?:0?[1-9]|1[0-2])(?P=b)(?:19|20)\d{2}"
)


# ---------------------------------------------------------------- numbers with a checksum

_CARD = re.compile(
    r"(?<![A-Za-z0-9_.,+-])[2-6]\d{3}(?:([ ._-]|[ ]{2}|)\d{4,6}(?:\1\d{1,5}){1,3})(?![A-Za-z0-9_]|[.-]\d)"
)
_ISSUERS = re.compile(
    r"4(?:\d{15}|\d{18})$|5[1-5]\d{14}$|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}$|3[47]\d{13}$"
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12}$|3(?:0[0-5]|[689]\d)\d{11}$|35(?:2[89]|[3-8]\d)\d{12}$|62\d{14,17}$"
)


def cards(text: str, windows: Windows) -> Found:
    """Payment cards: an issuer's range and length, and Luhn's digit (ISO/IEC 7812-1)."""
    for match in _within(windows, _CARD, text):
        number = re.sub(r"\D", "", match.group())
        if len(set(number)) > 1 and _ISSUERS.match(number) and luhn(number):
            yield match.span()


def luhn(number: str) -> bool:
    """Whether the last digit is the one that the others ask for."""
    found = [int(digit) for digit in number]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in found[-2::-2]]
    return (sum(doubled) + sum(found[-1::-2])) % 10 == 0


_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}")
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24,
    "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip


def ibans(text: str, windows: Windows) -> Found:
    """Bank accounts (ISO 13616): the country's length, and 1 modulo 97; what stands behind is not swallowed."""
    for match in _within(windows, _IBAN, text):
        length = _IBAN_LENGTHS.get(match.group()[:2].upper(), 0)
        places = [place for place, character in enumerate(match.group()) if character.isalnum()]
        if not length or len(places) < length:
            continue
        end = match.start() + places[length - 1] + 1
        compact = re.sub(r"[ -]", "", text[match.start() : end]).upper()
        closed = end == len(text) or not (text[end].isascii() and text[end].isalnum())
        if closed and int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1:
            yield match.start(), end


_RESIDENT = re.compile(
    r"(?<![A-Za-z0-9])(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3])\d{4}[ -]?(?:18|19|20)\d{2}"
    r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[ -]?\d{3}[\dXx](?![A-Za-z0-9])"
)
_SSN = re.compile(r"(?<![A-Za-z0-9.+-])(?!000|666|9\d\d)\d{3}([ -]?)(?!00)\d{2}\1(?!0000)\d{4}(?![A-Za-z0-9]|[.-]\d)")
_NINO = re.compile(
    r"(?<![A-Za-z0-9])(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]([ ]?)\d{2}\1\d{2}\1\d{2}\1[A-D]"
    r"(?![A-Za-z0-9])"
)
_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def national_ids(text: str, windows: Windows) -> Found:
    """Chinese resident numbers (checksum), US social security and UK national insurance numbers (allocation)."""
    for match in _within(windows, _RESIDENT, text):
        number = re.sub(r"[ -]", "", match.group()).upper()
        weighed = sum(int(digit) * weight for digit, weight in zip(number[:17], _RESIDENT_WEIGHTS, strict=True))
        if "10X98765432"[weighed % 11] == number[17]:
            yield match.span()
    for match in _within(windows, _SSN, text):
        before = _before(text, match.start())
        if _SSN_WORD.search(before) or (match[1] == "-" and not _OTHER_NUMBER.search(before)):
            yield match.span()
    for match in _within(windows, _NINO, text):
        yield match.span()


# ---------------------------------------------------------------- keys

_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z ]+ )?PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END (?:[A-Z ]+ )?PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.S,
)
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9_-])(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}|sk-(?!ssh-|ecdsa-)[A-Za-z0-9_-]{20,}"
    r"|xox[abeprs]-[\w-]{10,}|xapp-[\w-]{20,}|A(?:KIA|SIA)[0-9A-Z]{16}|AKID[A-Za-z0-9]{32}|LTAI[A-Za-z0-9]{12,24}|AIza[\w-]{35}"
    r"|hf_[A-Za-z0-9]{30,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50,}"
    r"|SG\.[\w-]{16,32}\.[\w-]{32,64}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|do[opr]_v1_[0-9a-f]{64}|dapi[0-9a-f]{32}"
    r"|\d{8,10}:AA[\w-]{33}|eyJ[\w-]{8,}\.eyJ[\w-]{10,}\.[\w-]{10,})(?![A-Za-z0-9])",
    re.ASCII,
)
_NAMES = ("api", "secret", "token", "bearer", "basic", "passw", "passphrase", "pwd", "pw")
_ASSIGNED = re.compile(
    r"""(?ix)(?P<name>api[_-]?key|secret(?:[_-]?(?:access[_-]?)?key)?|token|bearer|(?<![a-z])basic
      |passw(?:or)?d|passphrase|(?<![a-z])pwd?)
    (?P<by>["']?\s*(?:[:=]|=>|\bis\b)\s*|(?<=bearer)\s+|(?<=basic)\s+)(?P<quote>["'`]?)(?P<value>[^\s"'`,;，。；、]{6,512})"""
)
_PREFIXES = (
    "github_pat_", "glpat-", "sk-", "xox", "xapp-", "AKI", "ASIA", "LTAI", "AIza", "hf_", "whsec_", "npm_", "pypi-AgE",
    "SG.", "_v1_", "dapi", ":AA", "eyJ",
)  # fmt: skip
_FAMILIES = tuple(map(re.compile, ("gh[pousr]_", "k_(?:live|test)_", "shp(?:at|ca|pa|ss)_")))
"""What begins alike is looked for once; all prefixes in one pattern take as long as one after the other."""
_ASSIGNED_CHINESE = re.compile(
    r"(?P<name>密码|口令|密钥|令牌)(?P<by>\s*(?:[:：=]|是|为)?\s*)(?P<quote>[\"'“]?)(?P<value>[!-~]{6,512})"
)
_URL_PASSWORD = re.compile(r"://[^\s:/@'\"]{1,64}:(?P<value>[^\s@/'\"]{4,128})@")
_CODE = re.compile(
    r"^[<$\[({*%]|[()\[\]{}<>]|^(?:[A-Za-z_]+[.])+[A-Za-z_]+$|^[A-Za-z]+$|^[a-z]+(?:_[a-z]+)+\d?$|^(.)\1+$"
)
"""A placeholder, a call, a dotted or snake-case name, a word: what stands behind `password =` in code and manuals."""
_NAME = re.compile(r"[a-z_]+\d{0,2}")
"""`password=password2` hands on a variable."""
_WEAK_NAMES = re.compile(r"(?i)passw|passphrase|pwd?|密码|口令")


def keys(text: str, hint: int) -> Found:
    """Private keys, tokens by their issuers' prefixes, and values that are assigned to a secret's name."""
    if "-----BEGIN" in text:
        for match in _PRIVATE_KEY.finditer(text):
            yield match.span()
    may_hold = hint & PREFIX and any(prefix in text for prefix in _PREFIXES)
    if may_hold or (hint & PREFIX and any(family.search(text) for family in _FAMILIES)):
        for match in _TOKEN.finditer(text):
            yield match.span()
    for match in _URL_PASSWORD.finditer(text):
        if not _CODE.search(match["value"]):
            yield match.span("value")
    for match in _assignments(text, hint):
        value = match["value"].rstrip(".!?)”")
        bare_name = "=" in match["by"] and not match["quote"] and _NAME.fullmatch(value)
        if not bare_name and _is_secret(value, chosen_by_a_person=bool(_WEAK_NAMES.search(match["name"]))):
            yield match.start("value"), match.start("value") + len(value)


def _assignments(text: str, hint: int) -> Iterator[re.Match[str]]:
    if not text.isascii():
        yield from _ASSIGNED_CHINESE.finditer(text)
    if not hint & ASSIGNMENT:
        return
    lowered = text.lower()
    if len(lowered) != len(text):  # İ becomes two characters, and every place behind it moves
        yield from _ASSIGNED.finditer(text)
        return
    for name in _NAMES:
        place = lowered.find(name)
        while place >= 0:
            if match := _ASSIGNED.match(text, place):
                yield match
            place = lowered.find(name, place + len(name))


def _is_secret(value: str, *, chosen_by_a_person: bool) -> bool:
    """Digits and letters mixed, and nothing of code; a generated secret is long and has 3 bits a character or more."""
    if _CODE.search(value) or not re.search(r"\d", value) or not re.search(r"[A-Za-z]", value):
        return False
    return chosen_by_a_person or (len(value) >= 16 and entropy(value) >= 3.0)


def entropy(text: str) -> float:
    """Bits per character of a text's own distribution of characters (Shannon 1948)."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


# ---------------------------------------------------------------- all kinds

PREFIX, ASSIGNMENT, AT, DIGITS = 1, 2, 4, 8
EVERYTHING = PREFIX | ASSIGNMENT | AT | DIGITS
_SPACE = r"[\s\v\x1c-\x1f\x{85}\p{Z}]"
"""What is a space to Python is not all one to RE2."""
_HINTS = {
    PREFIX: "|".join([*map(re.escape, _PREFIXES), *(family.pattern for family in _FAMILIES)]),
    ASSIGNMENT: r"(?i)(?:api[_-]?key|secret(?:[_-]?(?:access[_-]?)?key)?|token|bearer|basic|passw(?:or)?d|passphrase"
    rf"|pwd?)(?:[\"']?{_SPACE}*(?:[:=]|is)|{_SPACE})",
    AT: r"[A-Za-z0-9\x{c0}-\x{24f}_%+'-]@[A-Za-z0-9\x{c0}-\x{24f}]| @ [A-Za-z0-9-]+\.| dot "
    rf"|[\[(]{_SPACE}?(?:at|AT){_SPACE}?[\])]",
    DIGITS: r"\p{Nd}(?:[ ()./_-]{0,3}\p{Nd}){5}",
}
"""In RE2's words what a text must hold for a finder to find anything: never less than the finder's own pattern."""


def hints(texts: Sequence[str]) -> list[int]:
    """For each text which finders may find something. RE2 passes over many texts at 0.6 to 1.4 GB/s, `re` at 0.1."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        array = pa.array(texts, pa.large_string())
    except UnicodeEncodeError:  # a lone surrogate
        return [EVERYTHING] * len(texts)
    found = np.zeros(len(texts), np.int64)
    for bit, pattern in _HINTS.items():
        found |= bit * pc.match_substring_regex(array, pattern).to_numpy(zero_copy_only=False).astype(np.int64)
    return [int(one) for one in found]


def find(text: str, hint: int = EVERYTHING) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of all that is found, the more certain kinds first; they may overlap."""
    around = windows(text) if hint & DIGITS else []
    found: tuple[tuple[str, Found], ...] = (
        ("KEY", keys(text, hint)),
        ("EMAIL", emails(text) if hint & AT else iter(())),
        ("IBAN", ibans(text, around)),
        ("ID", national_ids(text, around)),
        ("CARD", cards(text, around)),
        ("IP", addresses(text)),
        ("PHONE", phones(text, around)),
    )
    for kind, places in found:
        for start, end in places:
            yield kind, start, end
