"""What one subject may do: how fast, how much, and how a subject that does not answer in earnest is found."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from components.ledger.schema import Feedback
from components.recipes import ScreeningPolicy


def person(row: Feedback) -> str:
    """Whose word it is. Without a subject nobody can tell: then each row is a person's."""
    return row.subject or f"row {row.sequence}"


def speaker(row: Feedback) -> str:
    """Whose share it is. Without a subject it is the channel's: else leaving the name out would lift every limit."""
    return row.subject or f"channel {row.channel}"


def is_kept_aside(row: Feedback, policy: ScreeningPolicy) -> bool:
    """Whether the row's subject is one of those that are measured by and never trained on.

    By a hash of the pseudonym: a subject stays on its side for good, whatever others come. Rows without a subject are
    trained on: whose they are cannot be told, so no group of them can be kept together.
    """
    if not policy.heldout_share or row.subject is None:
        return False
    drawn = int.from_bytes(hashlib.sha256(f"held out {row.subject}".encode()).digest()[:8], "big")
    return drawn < policy.heldout_share * 2**64


def bursts(rows: Iterable[Feedback], policy: ScreeningPolicy) -> set[int]:
    """Sequences of the rows above `burst_rows` in any `burst_seconds` of one speaker; refused ones do not count."""
    exempt = {*policy.declared_channels, *policy.import_channels}
    recent: dict[str, list[float]] = defaultdict(list)
    found = set()
    for row in rows:
        if row.channel in exempt:
            continue
        window = [at for at in recent[speaker(row)] if at > row.at - policy.burst_seconds]
        if len(window) >= policy.burst_rows:
            found.add(row.sequence)
        else:
            window.append(row.at)
        recent[speaker(row)] = window
    return found


def failing_canaries(said: Iterable[tuple[Feedback, str | None, str]], policy: ScreeningPolicy) -> set[str]:
    """Subjects that got `canary_failures` canaries wrong, and more than half of theirs.

    Args:
        said: row, the known answer to its text (None where it is no canary), and what the row takes for right.
    """
    wrong: Counter[str] = Counter()
    given: Counter[str] = Counter()
    for row, answer, target in said:
        if answer is not None and row.subject is not None:
            given[row.subject] += 1
            wrong[row.subject] += answer != target
    return {who for who, count in wrong.items() if count >= policy.canary_failures and count > given[who] / 2}


def over_share(rows: Sequence[Feedback], policy: ScreeningPolicy) -> set[int]:
    """Sequences of the rows above a speaker's share of all of them; the earliest stay.

    The share is of what is left once everybody is capped, so that a hundred thousand rows do not raise their own cap.
    """
    capped = [row for row in rows if row.channel not in policy.declared_channels]
    counts = Counter(speaker(row) for row in capped)
    if len(counts) < policy.influence_subjects:
        return set()
    cap = max(counts.values())
    while True:  # the largest cap that is no more than its share of what it leaves; it falls, so this ends
        total = sum(min(count, cap) for count in counts.values())
        lower = max(policy.influence_rows, int(policy.influence_share * total))
        if lower >= cap:
            break
        cap = lower
    seen: Counter[str] = Counter()
    found = set()
    for row in capped:
        seen[speaker(row)] += 1
        if seen[speaker(row)] > cap:
            found.add(row.sequence)
    return found
