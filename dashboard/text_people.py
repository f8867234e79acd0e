"""Who may do what: key → (English, Chinese)."""

from collections.abc import Mapping

PEOPLE: Mapping[str, tuple[str, str]] = {}
