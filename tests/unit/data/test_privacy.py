import pytest

from components.data.privacy import mask, mask_row


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ann.lee+x@mail.example.org now", "write to [EMAIL_1] now"),
        ("call +44 20 7946 0958, please", "call [PHONE_1], please"),
        ("call (212) 555-0187 or 13912345678", "call [PHONE_1] or [PHONE_2]"),
        ("card 4111 1111 1111 1111 expires", "card [CARD_1] expires"),
        ("pay to DE89 3704 0044 0532 0130 00 soon", "pay to [IBAN_1] soon"),
        ("from 203.0.113.7 and 2001:db8::17", "from [IP_2] and [IP_1]"),
        ("key sk-abcDEF0123456789abcdXY is out", "key [KEY_1] is out"),
        ("AKIAIOSFODNN7EXAMPLE", "[KEY_1]"),
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
