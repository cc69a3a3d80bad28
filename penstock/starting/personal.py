"""Finds personal data by its pattern, or by the name of its column. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Treatment = Literal["hash", "drop", "keep"]


@dataclass(frozen=True)
class Personal:
    """What a column has of people, and what is safe: ``hash`` keeps events of one person together, ``drop`` nothing."""

    what: str
    safe: Treatment


EMAIL = Personal("e-mail addresses", "hash")
CARD = Personal("card numbers", "hash")
IP = Personal("IP addresses", "hash")
PHONE = Personal("phone numbers", "hash")
ACCOUNT = Personal("account or identity numbers", "hash")
NAME = Personal("names of people", "drop")
ADDRESS = Personal("addresses", "drop")
BIRTH = Personal("dates of birth", "drop")

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
_CARD = re.compile(r"[0-9]{4}(?:[ -]?[0-9]){9,15}")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_NAMES: tuple[tuple[Personal, re.Pattern[str]], ...] = (
    (EMAIL, re.compile(r"e_?mail|(.*_)?e_?mail(_address)?")),
    (CARD, re.compile(r"(.*_)?(card_number|pan|cc_number|credit_card)")),
    (IP, re.compile(r"(.*_)?(ip|ip_address|ip_addr|remote_addr)")),
    (PHONE, re.compile(r"(.*_)?(phone|phone_number|mobile|mobile_number|msisdn|telephone)")),
    (ACCOUNT, re.compile(r"(.*_)?(iban|ssn|social_security(_number)?|passport(_number)?|tax_id|national_id)")),
    (BIRTH, re.compile(r"(.*_)?(birth_?date|date_of_birth|dob|birthday)")),
    (ADDRESS, re.compile(r"(.*_)?(address|street|street_address|address_line_?[0-9]?)")),
    (
        NAME,
        re.compile(
            r"name|(.*_)?(full_?name|first_?name|last_?name|middle_name|surname|family_name|given_name|maiden_name|"
            r"cardholder|card_holder|holder_name|cardholder_name|customer_name|user_?name|person_name|owner_name|"
            r"recipient_name|sender_name|patient_name|passenger_name|driver_name|employee_name)"
        ),
    ),
)
# So many of the texts look like it. Free text with an address in it now and then is personal, too.
_LEAST_SHARE = {EMAIL: 0.01, CARD: 0.5, IP: 0.5, ACCOUNT: 0.5}


def personal_by_name(column: str) -> Personal | None:
    """What the name of a column says; the name is in snake case.

    >>> personal_by_name("billing_email").what, personal_by_name("product_name")
    ('e-mail addresses', None)
    """
    return next((personal for personal, pattern in _NAMES if pattern.fullmatch(column)), None)


def personal_of(text: str) -> Personal | None:
    """What a value looks like.

    >>> [found.what for found in map(personal_of, ("a@b.org", "4111 1111 1111 1111", "2001:db8::1")) if found]
    ['e-mail addresses', 'card numbers', 'IP addresses']
    """
    if "@" in text and _EMAIL.search(text):
        return EMAIL
    if _CARD.fullmatch(text) and passes_luhn(text):
        return CARD
    if _IBAN.fullmatch(text) and _is_iban(text):
        return ACCOUNT
    return IP if _is_ip(text) else None


def personal_by_values(looked_at: int, found: Sequence[Personal]) -> Personal | None:
    """What a column has, by what so many of its texts look like.

    Args:
        looked_at: How many texts were looked at.
        found: What those look like that look like something.
    """
    for personal, share in _LEAST_SHARE.items():
        if (count := found.count(personal)) and count >= share * looked_at:
            return personal
    return None


def passes_luhn(text: str) -> bool:
    """Whether the last digit is the check digit of card numbers."""
    digits = [int(digit) for digit in reversed(text) if digit.isdigit()]
    doubled = [digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[1::2]]
    return any(digits) and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    return int("".join(str(int(letter, 36)) for letter in text[4:] + text[:4])) % 97 == 1


def _is_ip(text: str) -> bool:
    if not (text.count(".") == 3 or text.count(":") >= 2):
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def stand_in(personal: Personal, number: int) -> str:
    """A value of the same form that is nobody's, for tests: the documentation's addresses, a card for tests.

    >>> stand_in(EMAIL, 1), stand_in(IP, 2)
    ('person1@example.org', '192.0.2.2')
    """
    match personal.what:
        case EMAIL.what:
            return f"person{number}@example.org"
        case IP.what:
            return f"192.0.2.{number % 256}"
        case CARD.what:
            body = f"411111{number:09d}"
            return next(f"{body}{digit}" for digit in range(10) if passes_luhn(f"{body}{digit}"))
        case BIRTH.what:
            return "1990-01-01"
        case _:
            return f"{personal.what.split()[0]}-{number}"
