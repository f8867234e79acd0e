"""Personal data is masked before a text is stored for training.

Found by pattern, and by checksum where the number has one (cards: Luhn, ISO/IEC 7812-1; IBAN: ISO 13616, mod 97), so
that ordinary numbers stay. Names of people are not looked for: patterns cannot find them.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from functools import partial

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z ]+ )?PRIVATE KEY-----.*?(?:-----END (?:[A-Z ]+ )?PRIVATE KEY-----|\Z)", re.S
)
_TOKEN = re.compile(
    r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}|sk-[A-Za-z0-9_-]{20,}|xox[abprs]-[\w-]{10,}"
    r"|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|hf_[A-Za-z0-9]{30,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"
)
_ASSIGNED_SECRET = re.compile(
    r"""(?ix)\b(?:api[_-]?key|secret(?:[_-]?key)?|access[_-]?token|auth[_-]?token|password|passwd)
    ["']?\s*[:=]\s*["']?(?P<value>(?=[^\s"']*[0-9])(?=[^\s"']*[a-z])[A-Za-z0-9+/_.=-]{16,})"""
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"(?<![\d.,+-])[2-6]\d{3}(?:[ -]?\d){9,15}(?![\d.])")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?=[^:]*:[^:]*:)[0-9A-Fa-f:]{5,39}(?![\w:])")
_PHONE = re.compile(
    r"(?<![\w.,+-])(?:"
    r"\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}"  # international: E.164, at most 15 digits, checked below
    r"|\(\d{3}\)[ ]?\d{3}[ .-]\d{4}|\d{3}-\d{3}-\d{4}"  # North America, as usually written
    r"|1[3-9]\d{9}"  # a Chinese mobile number
    r")(?![\w]|[.,]\d)"
)


def _luhn(text: str) -> bool:
    digits = [int(digit) for digit in re.sub(r"\D", "", text)]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _iban(text: str) -> bool:
    compact = text.replace(" ", "")
    return 15 <= len(compact) <= 34 and int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version == 6:  # slices look like addresses: `a[1::2]`, `b::d`
        groups = text.split(":")
        telling = any(len(group) > 2 for group in groups) and any(map(str.isdigit, text))
        if not telling or (len(groups) < 6 and not any(map(str.isalpha, text))):
            return False
    return not (address.is_loopback or address.is_unspecified)  # 127.0.0.1 and 0.0.0.0 are nobody's


def _phone(text: str) -> bool:
    return 8 <= len(re.sub(r"\D", "", text)) <= 15


def _always(_: str) -> bool:
    return True


_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("KEY", _PRIVATE_KEY, _always),
    ("KEY", _TOKEN, _always),
    ("KEY", _ASSIGNED_SECRET, _always),
    ("EMAIL", _EMAIL, _always),
    ("IBAN", _IBAN, _iban),
    ("CARD", _CARD, _luhn),
    ("IP", _IPV6, _address),
    ("IP", _IPV4, _address),
    ("PHONE", _PHONE, _phone),
)
_POSSIBLE = re.compile(r"@|\d|-----BEGIN|::")
"""Every kind holds one of these: most texts are done after one look."""


def mask_row(texts: Sequence[str]) -> list[str]:
    """The texts of one row with personal data replaced by `[KIND_n]`: the same value, the same number in all."""
    numbers: dict[str, dict[str, int]] = {}
    masked = []
    for text in texts:
        if _POSSIBLE.search(text):
            for kind, pattern, is_real in _KINDS:
                text = pattern.sub(partial(_tag, kind=kind, is_real=is_real, numbers=numbers), text)
        masked.append(text)
    return masked


def mask(text: str) -> str:
    """`text` with personal data replaced by `[EMAIL_1]`, `[PHONE_1]`, `[CARD_1]`, `[IBAN_1]`, `[IP_1]`, `[KEY_1]`."""
    return mask_row([text])[0]


def _tag(match: re.Match[str], *, kind: str, is_real: Callable[[str], bool], numbers: dict[str, dict[str, int]]) -> str:
    whole = match.group()
    value = match.groupdict().get("value") or whole
    if not is_real(value):
        return whole
    seen = numbers.setdefault(kind, {})
    key = value.casefold() if kind == "EMAIL" else re.sub(r"[ ().-]", "", value) if kind != "KEY" else value
    number = seen.setdefault(key, len(seen) + 1)
    return whole.replace(value, f"[{kind}_{number}]")
