"""What it costs: key → (English, Chinese)."""

from collections.abc import Mapping

COST: Mapping[str, tuple[str, str]] = {}
