"""What the gate found, where versions come from, and who moved what: key → (English, Chinese)."""

from collections.abc import Mapping

GATE: Mapping[str, tuple[str, str]] = {}
