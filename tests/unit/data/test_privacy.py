import pytest

from components.data.privacy import Span, find, mask, mask_all, mask_row
from components.data.privacy_formats import hints
from tests.benchmarks.privacy_quality import outcome
from tests.benchmarks.privacy_rows import rows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ann.lee+x@mail.example.org now", "write to [EMAIL_1] now"),
        ("call +44 20 7946 0958, please", "call [PHONE_1], please"),
        ("call (212) 555-0187 or 13912345678", "call [PHONE_1] or [PHONE_2]"),
        ("card 4111 1111 1111 1111 expires", "card [CARD_1] expires"),
        ("pay to DE89 3704 0044 0532 0130 00 soon", "pay to [IBAN_1] soon"),
        ("from 203.0.113.7 and 2001:db8::17", "from [IP_1] and [IP_2]"),
        ("key sk-abcDEF0123456789abcdXY is out", "key [KEY_1] is out"),
        ("AKIAIOSFODNN7EXAMPLE", "[KEY_1]"),
        ("我的邮箱zhang.wei@qq.com联系我", "我的邮箱[EMAIL_1]联系我"),
        ("邮箱：ｗｅｉ＠ｑｑ．ｃｏｍ", "邮箱：[EMAIL_1]"),
        ("手机13912345678，座机010-62781234", "手机[PHONE_1]，座机[PHONE_2]"),
        ("身份证11010519491231002X。", "身份证[ID_1]。"),
        ("SSN 078-05-1120 and NINO QQ is not", "SSN [ID_1] and NINO QQ is not"),
        ("mail ann at example dot org", "mail [EMAIL_1]"),
        ("IBAN GB82WEST12345698765432 BIC DEUTDEFF", "IBAN [IBAN_1] BIC DEUTDEFF"),
        ("密码是Tr0ub4dor", "密码是[KEY_1]"),
        ("postgres://app:s3cretpw@db/x", "postgres://app:[KEY_1]@db/x"),
        ("Authorization: Bearer 9f8e7d6c5b4a39281706abcdef", "Authorization: Bearer [KEY_1]"),
        ("ssh root@203.0.113.9 from 10.2.3.4", "ssh root@[IP_1] from [IP_2]"),
        ("password = 'hunter2hunter2hunter2'", "password = '[KEY_1]'"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- x", "[KEY_1] x"),
    ],
)
def test_personal_data_is_masked_by_kind(text, expected):
    assert mask(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112 fails Luhn",
        "GB00 WEST 1234 5698 7654 32 fails mod 97",
        "bind to 127.0.0.1 or 0.0.0.0",
        "version 999.300.1.1",
        "x = 0.13912345678 and 3.14159265358979",
        "a[1:2, ::3] and b[10::20], b::d, f00::bar and std::vector and 12:30:45",
        "@property\ndef f(self): ...",
        "numpy.array([1, 2, 3]) of shape (10, 20, 30)",
        "in 2024, 1000000 rows",
        "ISBN 978-3-16-148410-0 and 0-306-40615-2",
        "commit 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12, Apache-2.0",
        "version 1.2.3.4, Chrome/120.0.0.0, nginx 1.18.4.1, section 3.2.1.4",
        "身份证110105194912310021",
        "git@github.com:org/repo.git and icon@2x.png and lodash@4.17.21",
        "password = forms.CharField(); token = self.next_token(); password=password2",
        "api_key=os.environ['API_KEY'] and password=${DB_PASSWORD1}",
        "on 2024-05-06T07:08:09Z, 20240506070809, 2024年5月6日",
        "uuid 123e4567-e89b-12d3-a456-426614174000",
    ],
)
def test_ordinary_numbers_and_code_stay_as_they_are(text):
    assert mask(text) == text


def test_the_same_value_has_the_same_number_throughout_a_row():
    text, answer = mask_row(["a@x.org wrote to b@x.org", "B@x.org answered a@x.org"])
    assert text == "[EMAIL_1] wrote to [EMAIL_2]"
    assert answer == "[EMAIL_2] answered [EMAIL_1]"


def test_masking_twice_changes_nothing_more():
    once = mask("mail a@x.org, call +1 212 555 0187")
    assert mask(once) == once


def test_a_number_from_an_earlier_masking_is_not_given_to_another_value():
    assert mask_row(["[EMAIL_1] wrote", "to b@x.org"]) == ["[EMAIL_1] wrote", "to [EMAIL_2]"]


def test_one_value_written_in_two_ways_has_one_number():
    assert mask("call +1 212 555 0187 or +1-212-555-0187") == "call [PHONE_1] or [PHONE_1]"


def test_spans_are_of_the_text_that_was_given_and_in_order():
    text = "来自2001:db8::17，电话１３９１２３４５６７８，x@y.org"
    assert [(span.kind, text[span.start : span.end]) for span in find(text)] == [
        ("IP", "2001:db8::17"),
        ("PHONE", "１３９１２３４５６７８"),
        ("EMAIL", "x@y.org"),
    ]


def test_rows_as_people_write_them_are_masked_with_few_mistakes():
    outcomes = [outcome(row) for row in rows(2_000, seed=3)]
    hits, wrong, missed = (sum(column) for column in zip(*outcomes, strict=True))
    assert hits / (hits + wrong) > 0.99
    assert hits / (hits + missed) > 0.96


def test_names_that_a_model_found_are_masked_alike_in_the_whole_row():
    texts = [
        "Ann Lee wrote to 王小明 and to bo@example.org.",
        "王小明 answered ANN LEE; Leeds and Annual stay. Ann Lee!",
    ]
    found = [[Span("NAME", 0, 7), Span("NAME", 17, 20)], []]
    assert mask_row(texts, found) == [
        "[NAME_1] wrote to [NAME_2] and to [EMAIL_1].",
        "[NAME_2] answered ANN LEE; Leeds and Annual stay. [NAME_1]!",
    ]


def test_a_name_inside_an_address_is_part_of_the_address():
    text = "ann@example.org is Ann, says ann"
    found = [[Span("NAME", 0, 3), Span("NAME", 19, 22)]]
    assert mask_row([text], found) == ["[EMAIL_1] is [NAME_1], says [NAME_1]"]


def test_many_texts_at_once_are_masked_as_one_by_one_whatever_spaces_digits_and_letters_they_hold():
    given = [row.text for row in rows(1500, seed=3)]
    odd = ["\u3000", "\x85", "\x1f", "\x0b", "\u2028", "\u200a", "\ufeff", "\u0130", "\u017f", "\ud800", "\uff11"]
    arabic = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
    swapped = [text.replace(" ", odd[place % len(odd)]) for place, text in enumerate(given[:400])]
    texts = [*given, *swapped, *(text.translate(arabic) for text in given[:200]), *map(str.upper, given[:200]), ""]
    one_by_one = [mask(text) for text in texts]
    assert sum(one != text for one, text in zip(one_by_one, texts, strict=True)) > 900
    assert mask_all(texts) == one_by_one  # with a lone surrogate among them
    whole = [text for text in texts if "\ud800" not in text]
    assert mask_all(whole) == [mask(text) for text in whole]
    assert len(set(hints(whole))) > 3
