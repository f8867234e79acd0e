"""Rows with personal data as people write it, and rows that only look so: what `privacy_quality` measures by.

Values come from numbering plans and key formats, written as letters, logs, tables and code write them. Nothing here reads
or mirrors the detector's patterns. Half of the rows are hard negatives.
"""

# ruff: noqa: E501 -- a line is a kind of row: broken up, nobody would read them

import hashlib
import random
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass

Draw = random.Random
ODD_SHARE = 0.08
"""Of the values, written as no format has it."""


@dataclass(frozen=True)
class LabelledRow:
    """A text, and the personal values in it, each (kind, value)."""

    text: str
    values: tuple[tuple[str, str], ...]
    what: str
    """What kind of value or of hard negative it is about."""


def digits(draw: Draw, count: int) -> str:
    return "".join(draw.choices(string.digits, k=count))


def letters(draw: Draw, count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(draw.choices(alphabet, k=count))


# ---------------------------------------------------------------- values

FIRST = ("anna", "j.smith", "wei", "m.garcia", "Oleg", "xiaoming", "li.na", "o'neil", "k_mueller", "Zoë", "T.Nguyen")
LAST = ("", "1987", ".work", "+news", "_x", "-dev", "2024", ".tanaka")
DOMAINS = (
    "gmail.com",
    "qq.com",
    "163.com",
    "outlook.de",
    "mail.example.co.uk",
    "uni-bonn.de",
    "foxmail.com",
    "acme.io",
)


def email(draw: Draw) -> str:
    name, domain = draw.choice(FIRST) + draw.choice(LAST), draw.choice(DOMAINS)
    form = draw.random()
    if form < 0.07:
        return f"{name} (at) {domain}"
    if form < 0.12:
        return f"{name} [at] {domain.replace('.', ' [dot] ')}"
    return (f"{name}@{domain}").upper() if form > 0.95 else f"{name}@{domain}"


def phone(draw: Draw) -> str:
    area, exchange, line = str(draw.randint(201, 989)), str(draw.randint(200, 999)), digits(draw, 4)
    mobile = "1" + draw.choice(("38", "39", "50", "58", "77", "86", "99")) + digits(draw, 8)
    return draw.choice(
        (
            f"({area}) {exchange}-{line}",
            f"{area}-{exchange}-{line}",
            f"{area}.{exchange}.{line}",
            f"+1 {area} {exchange} {line}",
            f"+1 ({area}) {exchange}-{line}",
            f"1-{area}-{exchange}-{line}",
            f"+1{area}{exchange}{line}",
            mobile,
            f"{mobile[:3]}-{mobile[3:7]}-{mobile[7:]}",
            f"{mobile[:3]} {mobile[3:7]} {mobile[7:]}",
            f"+86 {mobile}",
            f"+86-{mobile[:3]}-{mobile[3:7]}-{mobile[7:]}",
            f"0086 {mobile}",
            f"010-{draw.randint(5, 8)}{digits(draw, 7)}",
            f"0755-{draw.randint(2, 8)}{digits(draw, 7)}",
            f"(021) {draw.randint(5, 6)}{digits(draw, 7)}",
            f"+44 20 7{digits(draw, 3)} {digits(draw, 4)}",
            f"020 7{digits(draw, 3)} {digits(draw, 4)}",
            f"07{digits(draw, 3)} {digits(draw, 6)}",
            f"+44 (0)1865 {digits(draw, 6)}",
            f"+49 30 {digits(draw, 3)} {digits(draw, 5)}",
            f"+49 (0)89 / {digits(draw, 3)} {digits(draw, 4)}",
            f"0{draw.choice('17')}{draw.randint(50, 79)} {digits(draw, 7)}",
            f"+33 6 {' '.join(digits(draw, 2) for _ in range(4))}",
            f"06 {' '.join(digits(draw, 2) for _ in range(4))}",
            f"01.{'.'.join(digits(draw, 2) for _ in range(4))}",
            f"+34 6{digits(draw, 2)} {digits(draw, 3)} {digits(draw, 3)}",
            f"+81 90-{digits(draw, 4)}-{digits(draw, 4)}",
            f"+91 98{digits(draw, 3)} {digits(draw, 5)}",
        )
    )


def with_luhn(body: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def card(draw: Draw) -> str:
    kind = draw.choice(("visa", "mc", "mc2", "amex", "discover", "jcb", "union", "union19"))
    start = {
        "visa": "4" + digits(draw, 5), "mc": f"5{draw.randint(1, 5)}" + digits(draw, 4), "mc2": "2305" + digits(draw, 2),
        "amex": draw.choice(("34", "37")) + digits(draw, 4), "discover": "6011" + digits(draw, 2),
        "jcb": "3566" + digits(draw, 2), "union": "622202", "union19": "622848",
    }[kind]  # fmt: skip
    length = {"amex": 15, "union19": 19}.get(kind, 16)
    number = with_luhn(start + digits(draw, length - 1 - len(start)))
    if draw.random() < 0.4:
        return number
    mark = draw.choice((" ", " ", "-"))
    if kind == "amex":
        return mark.join((number[:4], number[4:10], number[10:]))
    return mark.join(number[at : at + 4] for at in range(0, length, 4))


def iban(draw: Draw) -> str:
    country, rest = draw.choice(
        (
            ("DE", digits(draw, 18)), ("GB", "BARC" + digits(draw, 14)), ("FR", digits(draw, 20) + "K" + digits(draw, 2)),
            ("NL", "INGB" + digits(draw, 10)), ("ES", digits(draw, 20)), ("CH", digits(draw, 17)),
            ("NO", digits(draw, 11)), ("PL", digits(draw, 24)), ("IT", "X" + digits(draw, 22)),
        )
    )  # fmt: skip
    check = 98 - int("".join(str(int(c, 36)) for c in f"{rest}{country}00")) % 97
    whole = f"{country}{check:02d}{rest}"
    form = draw.random()
    if form < 0.45:
        return whole
    return " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))


def ip(draw: Draw) -> str:
    if draw.random() < 0.7:
        return ".".join(str(part) for part in (draw.randint(11, 223), *(draw.randint(0, 255) for _ in range(3))))
    groups = [f"{draw.randrange(1 << 16):x}" for _ in range(8)]
    return draw.choice((f"2001:db8:{':'.join(groups[2:])}", f"fe80::{groups[4]}:{groups[5]}:{groups[6]}:{groups[7]}",
                        f"2400:3200:{groups[1]}::{groups[7]}"))  # fmt: skip


def resident(draw: Draw) -> str:
    born = f"{draw.randint(1950, 2009)}{draw.randint(1, 12):02d}{draw.randint(1, 28):02d}"
    body = draw.choice(("110105", "310115", "440305", "510104", "330106", "420111")) + born + digits(draw, 3)
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    last = "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]
    return body + (last.lower() if draw.random() < 0.2 else last)


def ssn(draw: Draw) -> str:
    area = draw.choice([number for number in range(1, 900) if number != 666])
    return f"{area:03d}-{draw.randint(1, 99):02d}-{draw.randint(1, 9999):04d}"


def token(draw: Draw) -> str:
    upper, lower_hex = string.ascii_uppercase + string.digits, "0123456789abcdef"
    urlsafe = string.ascii_letters + string.digits + "-_"
    return draw.choice(
        (
            "ghp_" + letters(draw, 36),
            "github_pat_" + letters(draw, 22) + "_" + letters(draw, 59),
            "glpat-" + letters(draw, 20, urlsafe[:-2]),
            "sk-" + letters(draw, 48),
            "sk-proj-" + letters(draw, 64, urlsafe),
            "sk-ant-api03-" + letters(draw, 80, urlsafe),
            f"xoxb-{digits(draw, 12)}-{digits(draw, 12)}-{letters(draw, 24)}",
            "AKIA" + letters(draw, 16, string.ascii_uppercase + "234567"),
            "AIza" + letters(draw, 35, urlsafe),
            "hf_" + letters(draw, 34),
            "sk_live_" + letters(draw, 24),
            "npm_" + letters(draw, 36),
            "pypi-AgEIcHlwaS5vcmc" + letters(draw, 100, urlsafe),
            f"SG.{letters(draw, 22, urlsafe)}.{letters(draw, 43, urlsafe)}",
            "shpat_" + letters(draw, 32, lower_hex),
            "dop_v1_" + letters(draw, 64, lower_hex),
            f"{digits(draw, 10)}:AA{letters(draw, 33, urlsafe)}",
            f"eyJhbGciOiJIUzI1NiJ9.eyJ{letters(draw, 60, urlsafe)}.{letters(draw, 43, urlsafe)}",
            "LTAI5t" + letters(draw, 18),
            "AKID" + letters(draw, 32, upper.lower() + upper),
        )
    )


def password(draw: Draw) -> str:
    word = draw.choice(("Sunshine", "dragon", "Qwerty", "tiger", "Berlin", "xiaolong", "Winter"))
    return draw.choice((f"{word}{digits(draw, 4)}", f"{word}!{digits(draw, 2)}x", f"{word[:3]}#{letters(draw, 8)}7a",
                        letters(draw, 11) + "4k"))  # fmt: skip


def secret(draw: Draw) -> str:
    return letters(draw, draw.choice((24, 32, 40, 44))) + "9z"


PLAIN = {
    "EMAIL": (email, ("You can reach me at {}.", "From: Anna <{}>", "我的邮箱是{}，请查收", "邮箱：{}", "cc {}, thanks",
                      "联系{}获取资料", '{{"user": "{}", "id": 7}}', "mailto:{}", "Contact ({}) for the keys")),
    "PHONE": (phone, ("Call me on {} after six", "tel: {}", "Phone {}, ask for Kim", "我的手机号是{}，随时联系", "电话：{}",
                      "My number is {}.", "WhatsApp {}", "请拨打{}咨询", "Ring {} (evenings)")),
    "CARD": (card, ("Please charge {} today", "card no. {} exp 09/27", "我的卡号是{}", "信用卡 {}，有效期09/27",
                    "paid with {}.", "PAN={}")),
    "IBAN": (iban, ("Transfer to {} by Friday", "IBAN: {}", "IBAN {} BIC DEUTDEFF", "请汇款到{}", "acct {} (savings)")),
    "IP": (ip, ("Failed login from {} port 22", "client {} connected", "来自{}的请求", "peer=[{}]", "{} - - GET /index",
                "My address is {}.", "ssh root@{}")),
    "ID": (resident, ("身份证号：{}", "我的身份证号码是{}。", "ID card {} issued in Beijing", "证件号{}", "居民身份证 {}")),
}  # fmt: skip
ALSO = {
    "ID": (ssn, ("SSN: {}", "my social security number is {}", "Employee {} was hired", "社会安全号码 {}")),
    "KEY": (token, ("export TOKEN={}", "I pushed {} by mistake", '{{"key": "{}"}}', "密钥是{}，别外传", "curl -H 'X-Key: {}'")),
}  # fmt: skip
ASSIGNED = {
    "password": (password, ("password: {}", "my password is {}", "密码是{}", "密码：{}", 'PASSWORD="{}"', "pwd={}",
                            "passwd = '{}'", "mysql://root:{}@db.internal/shop")),
    "secret": (secret, ("api_key = '{}'", "SECRET_KEY={}", "Authorization: Bearer {}", "client_secret: {}",
                        "access_token={}", '"apiKey": "{}"', "aws_secret_access_key = {}")),
}  # fmt: skip


# what people do that fits no format: some of it cannot be found by one

FULL_WIDTH = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})


def odd_email(draw: Draw) -> str:
    name, domain = draw.choice(("anna", "wei", "kim.lee", "oleg99")), draw.choice(DOMAINS)
    spelled = f"{name.replace('.', ' dot ')} at {domain.replace('.', ' dot ')}"
    return draw.choice((f"{name} @ {domain}", spelled, f"{name}@{domain}".translate(FULL_WIDTH), f"{name}#{domain}"))


def odd_phone(draw: Draw) -> str:
    area, exchange, line = str(draw.randint(201, 989)), str(draw.randint(200, 999)), digits(draw, 4)
    mobile = "138" + digits(draw, 8)
    return draw.choice(
        (
            f"{area}{exchange}{line}",
            f"{area} {exchange} {line}",
            f"{area}/{exchange}/{line}",
            f"{exchange}-{line}",
            mobile.translate(FULL_WIDTH),
            f"{mobile[:3]}.{mobile[3:7]}.{mobile[7:]}",
            f"({area}){exchange}{line}",
            f"+49.30.{digits(draw, 3)}.{digits(draw, 5)}",
            f"{mobile[:5]} {mobile[5:]}",
            " ".join("零一二三四五六七八九"[int(d)] for d in mobile),
        )
    )


def odd_card(draw: Draw) -> str:
    number = with_luhn("4" + digits(draw, 14))
    return draw.choice((".", "  ", "_", "")).join(number[at : at + 4] for at in range(0, 16, 4))


def odd_iban(draw: Draw) -> str:
    whole = iban(draw)
    return draw.choice((whole.lower(), whole.replace(" ", "-"), whole.replace(" ", "")))


def odd_id(draw: Draw) -> str:
    number, social = resident(draw), ssn(draw)
    return draw.choice(
        (
            f"{number[:6]} {number[6:14]} {number[14:]}",
            f"{number[:6]}-{number[6:14]}-{number[14:]}",
            social.replace("-", " "),
            social.replace("-", ""),
        )
    )


def odd_password(draw: Draw) -> str:
    return draw.choice(
        ("correcthorsebattery", "ilovemydog", "P@ssw0rd", "hunter2", "qwertyuiop", "woaini1314", "letmein!!")
    )


ODD = (
    ("EMAIL", odd_email, ("write to {} please", "邮箱 {}", "it is {}")),
    (
        "PHONE",
        odd_phone,
        ("Call {} tonight", "my number is {}", "手机 {}", "{} is where I can be reached", "ask Kim, {}"),
    ),
    ("CARD", odd_card, ("card {}", "use {} for it", "卡号 {}")),
    ("IBAN", odd_iban, ("to {} please", "账户 {}")),
    ("ID", odd_id, ("my SSN or ID is {}", "身份证 {}", "{} is on my papers")),
    ("KEY", odd_password, ("my password is {}", "密码 {}", "log in as kim with {}", "pw: {}")),
)


# ---------------------------------------------------------------- hard negatives


def isbn13(draw: Draw) -> str:
    body = "978" + digits(draw, 9)
    check = -sum(int(d) * (1 if place % 2 == 0 else 3) for place, d in enumerate(body)) % 10
    whole = body + str(check)
    return whole if draw.random() < 0.4 else f"{whole[:3]}-{whole[3]}-{whole[4:6]}-{whole[6:12]}-{whole[12]}"


def isbn10(draw: Draw) -> str:
    body = digits(draw, 9)
    check = -sum((10 - place) * int(d) for place, d in enumerate(body)) % 11
    last = "X" if check == 10 else str(check)
    return f"{body[0]}-{body[1:4]}-{body[4:9]}-{last}"


def not_luhn(draw: Draw) -> str:
    number = with_luhn("4" + digits(draw, 14))
    return number[:-1] + str((int(number[-1]) + draw.randint(1, 9)) % 10)


def bad_resident(draw: Draw) -> str:
    good = resident(draw).upper()
    return good[:-1] + draw.choice([c for c in "0123456789X" if c != good[-1]])


def bad_iban(draw: Draw) -> str:
    good = iban(draw).replace(" ", "")
    return good[:2] + f"{(int(good[2:4]) + draw.randint(1, 50)) % 97:02d}" + good[4:]


def version(draw: Draw) -> str:
    return ".".join(str(draw.randint(0, 40)) for _ in range(4))


def day(draw: Draw) -> str:
    year, month, number = draw.randint(1990, 2026), draw.randint(1, 12), draw.randint(1, 28)
    clock = f"{draw.randint(0, 23):02d}:{draw.randint(0, 59):02d}:{draw.randint(0, 59):02d}"
    return draw.choice((f"{year}-{month:02d}-{number:02d}", f"{number:02d}.{month:02d}.{year}", f"{year}年{month}月{number}日",
                        f"{year}-{month:02d}-{number:02d}T{clock}Z", f"{year}{month:02d}{number:02d}{clock.replace(':', '')}",
                        f"{month:02d}/{number:02d}/{year} {clock}"))  # fmt: skip


def sha(draw: Draw) -> str:
    raw = str(draw.random()).encode()
    return draw.choice((hashlib.sha1, hashlib.sha256, hashlib.md5))(raw).hexdigest()


NEGATIVES: tuple[tuple[str, Callable[[Draw], str], tuple[str, ...]], ...] = (
    ("hash", sha, ("commit {} fixes it", "sha256: {}", "md5sum {} file.iso", "校验和 {}", "image@sha256:{}", "etag={}")),
    ("version", version, ("version {} is out", "upgraded from v{}", "Chrome/{} Safari", "libfoo=={}", "版本{}", "release {}")),
    ("licence", lambda d: d.choice(("Apache-2.0", "BSD-3-Clause", f"LicenseRef-{letters(d, 6)}", "CC-BY-NC-SA-4.0",
     f"ISO-{digits(d, 5)}-{digits(d, 1)}:2019", f"FCC-{letters(d, 3).upper()}{digits(d, 6)}", f"Lic. No. {digits(d, 4)}-{digits(d, 6)}",
     f"GB/T {digits(d, 5)}-2020", f"京ICP备{digits(d, 8)}号")), ("SPDX: {}", "licensed under {}", "许可证 {}", "see {}")),
    ("isbn", lambda d: d.choice((isbn13, isbn10))(d), ("ISBN {}", "书号 ISBN {}", "the book ({}) is sold out", "ISBN: {}")),
    ("date", day, ("due on {}", "created {}", "时间：{}", "[{}] INFO started", "on {} in Paris")),
    ("card-like", not_luhn, ("order {} shipped", "tracking no. {}", "订单号 {}", "serial {}")),
    ("id-like", bad_resident, ("流水号 {}", "batch {} done", "编号{}", "id={}")),
    ("iban-like", bad_iban, ("part {} in stock", "reference {}", "型号 {}")),
    ("uuid", lambda d: str(uuid.UUID(int=d.getrandbits(128))), ("request {} failed", "uuid={}", "任务 {} 完成")),
    ("doi", lambda d: d.choice((f"10.{digits(d, 4)}/{digits(d, 7)}.{digits(d, 7)}", f"arXiv:{d.randint(10, 25)}{d.randint(1, 12):02d}.{digits(d, 5)}",
     f"PMID {digits(d, 8)}", f"RFC {digits(d, 4)}")), ("doi {}", "see {} for the proof", "参考 {}", "cited as {}")),
    ("number", lambda d: d.choice((f"{d.randint(1, 99)},{digits(d, 3)},{digits(d, 3)}.{digits(d, 2)}", f"0.{digits(d, 12)}", f"{d.uniform(-90, 90):.6f}, {d.uniform(-180, 180):.6f}",
     f"{digits(d, 3)} {digits(d, 3)} {digits(d, 3)} km", f"{d.randint(100, 999)}-{d.randint(100, 999)}", f"{digits(d, 4)}e-{digits(d, 2)}", f"1{digits(d, 12)}",
     f"{d.randint(1, 9)}{digits(d, 9)}")), ("total {}", "value = {}", "数值 {}", "measured {} twice", "timestamp {}")),
    ("code", lambda d: d.choice(("@app.route('/x')", "import a.b.c@1.2", "npm i react@18.2.0", "git clone git@github.com:org/repo.git", "a[1::2] + b[::3]",
     "password = forms.CharField()", "token = self.next_token()", "std::vector<int>::iterator", "password: str | None = None", "api_key=os.environ['API_KEY']",
     "secret = get_secret('db/main')", "matrix @ vector.T", "password=${DB_PASSWORD}", "token: <your-token-here>", "SECRET_KEY = 'changeme'", "0x1F4A9::abcd", "max_tokens = 4096",
     "password: ********", "xs[1:2, 3:4]", "tokenizer = AutoTokenizer.from_pretrained('gpt2')")), ("{}", "use {} here", "代码：{}", "    {}  # as before")),
    ("local", lambda d: d.choice(("127.0.0.1", "0.0.0.0", "255.255.255.0", "::1", "localhost:8080", "12:30:45", "16:9:4", "00:1a:2b:3c:4d:5e")),
     ("listen on {}", "bind {}", "地址 {}", "set to {}")),
    ("section", lambda d: ".".join(str(d.randint(1, 12)) for _ in range(4)), ("see section {}", "§{} applies", "第{}节", "Table {} lists")),
    ("product", lambda d: d.choice((f"EAN 4{digits(d, 12)}", f"SKU {digits(d, 3)}-{digits(d, 5)}-{digits(d, 3)}", f"P/N {letters(d, 3).upper()}-{digits(d, 4)}-{digits(d, 2)}",
     f"#{digits(d, 6)}", f"{digits(d, 5)}-{digits(d, 4)}", f"invoice {digits(d, 4)}-{digits(d, 4)}", f"flight CA{digits(d, 4)}", f"邮编{digits(d, 6)}", f"股票代码{digits(d, 6)}")),
     ("{}", "item {} sold", "编码 {}", "ref. {}")),
    ("near miss", lambda d: d.choice((f"icon@{d.randint(2, 3)}x.png", f"getty@tty{d.randint(1, 6)}.service", f"nginx 1.{d.randint(1, 27)}.{d.randint(1, 9)}.{d.randint(1, 9)} is out",
     f"call id {digits(d, 10)}", f"ring buffer of {digits(d, 8)} bytes", f"phone model SM-{digits(d, 9)}", f"mobile users: {d.randint(1000000, 99999999)}",
     f"text of {digits(d, 7)} characters", f"cell {d.randint(1, 99)},{d.randint(1, 99)} of {digits(d, 8)}", f"password must have 8 to {digits(d, 2)} characters", f"token {digits(d, 5)} of {digits(d, 7)}",
     f"电话数量 {digits(d, 8)}", f"手机型号 {digits(d, 4)}-{digits(d, 4)}", f"part {digits(d, 3)}-{digits(d, 2)}-{digits(d, 4)}", f"the secret is {d.choice(('patience', 'to whisk2gether', 'in_the_sauce'))}",
     "user@localhost", f"kernel@5.{d.randint(1, 19)}.0-generic", f"OID 1.3.6.1.{d.randint(1, 9)}.{digits(d, 4)}", f"{digits(d, 4)} {digits(d, 4)} {digits(d, 4)} {digits(d, 4)} units",
     f"密码长度为{d.randint(8, 32)}位", f"key={d.randint(1, 9)}{digits(d, 15)}")), ("{}", "note: {}", "关于 {}", "{}.")),
)  # fmt: skip


def rows(count: int, *, seed: int = 0) -> list[LabelledRow]:
    """So many rows, half of them hard negatives; every third positive row holds a hard negative as well."""
    draw = random.Random(seed)
    positives: list[tuple[str, str, Callable[[Draw], str], tuple[str, ...]]] = [
        *((kind, kind.lower(), make, forms) for kind, (make, forms) in PLAIN.items()),
        *((kind, make.__name__, make, forms) for kind, (make, forms) in ALSO.items()),
        *(("KEY", name, make, forms) for name, (make, forms) in ASSIGNED.items()),
    ]
    found = []
    for number in range(count):
        what, fake, shapes = draw.choice(NEGATIVES)
        innocent = draw.choice(shapes).format(fake(draw))
        if number % 2:
            found.append(LabelledRow(innocent, (), what))
            continue
        kind, name, make, forms = positives[number // 2 % len(positives)]
        if draw.random() < ODD_SHARE:
            kind, make, forms = draw.choice(ODD)
            name = make.__name__
        value = make(draw)
        text = draw.choice(forms).format(value)
        if number % 3 == 0:
            text = f"{innocent}; {text}" if draw.random() < 0.5 else f"{text} | {innocent}"
        found.append(LabelledRow(text, ((kind, value),), name))
    return found
