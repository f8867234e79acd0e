"""The data page: one version, what is in it, what was left out, and whether it passed its checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboard.records import DataState, DataVersion
from dashboard.text import Words
from dashboard.viewmodels.shapes import Bar, Box, Fact, Tile, Tone, short

SPLITS = ("train", "test", "heldout", "pool", "reserve", "feedback")


@dataclass(frozen=True)
class TableCard:
    name: str
    bars: tuple[Bar, ...]
    sources: tuple[Bar, ...]
    labels: tuple[Bar, ...]
    """None where the answers are free text."""


@dataclass(frozen=True)
class DataView:
    tiles: tuple[Tile, ...]
    tables: tuple[TableCard, ...]
    rejects: tuple[Bar, ...]
    checks: str
    is_checked: bool
    facts: tuple[Fact, ...]
    failed: Box | None


def label_of(version: DataVersion, words: Words) -> str:
    """How a version is called in a list."""
    head = f" · {words('data.head')}" if version.is_head else ""
    return f"{version.name} · {words.moment(version.created_at)} · {short(version.version)}{head}"


def first_shown(versions: Sequence[DataVersion], *, wanted: str) -> int:
    """Which of them a page opens with: the one that its address names, else the current one."""
    named = [place for place, one in enumerate(versions) if wanted and one.version.startswith(wanted)]
    heads = [place for place, one in enumerate(versions) if one.is_head]  # a packed corpus may be newer
    return next(iter([*named, *heads]), 0)


def failed_build(state: DataState, words: Words) -> Box | None:
    """The newest build that was kept out, while no version is newer."""
    newest = max((version.created_at for version in state.versions), default=0.0)
    for build in state.failed:
        if build.at > newest:
            return Box(
                "failed", words("data.failed"), words("data.failed.hint", reason="; ".join(build.failed[:3]) + ".")
            )
    return None


def data_view(state: DataState, version: DataVersion, words: Words) -> DataView:
    """The page for one version."""
    dropped = {words.named("reason", reason): count for reason, count in _summed(version.rejects).items()}
    num_dropped = sum(dropped.values())
    passed = words("data.checks.passed", count=version.num_checks)
    facts = [
        Fact(words("data.version"), version.version, True),
        Fact(words("data.made"), words.moment(version.created_at)),
    ]
    if version.parent:
        facts.append(Fact(words("data.parent"), version.parent, True))
    return DataView(
        tiles=(
            Tile(words("data.rows"), words.number(version.num_rows), words.counted("table", len(version.rows))),
            Tile(words("data.dropped"), words.number(num_dropped), _share(num_dropped, version.num_rows, words)),
            Tile(words("data.sources"), str(len(_sources(version))), ", ".join(sorted(set(version.licences.values())))),
            *_tokens(version, words),
        ),
        tables=tuple(_table(version, table, words) for table in sorted(version.rows)),
        rejects=tuple(_bars(dropped, words, "warn")),
        checks=passed if version.num_checks else words("data.checks.none"),
        is_checked=version.num_checks > 0,
        facts=tuple(facts),
        failed=failed_build(state, words),
    )


def _tokens(version: DataVersion, words: Words) -> list[Tile]:
    if not version.tokens:
        return []
    splits = ", ".join(f"{words.number(number)} {split}" for split, number in version.tokens.items())
    total = words.number(sum(version.tokens.values()))
    return [Tile(words("data.tokens"), total, words("data.tokens.packed", splits=splits))]


def _table(version: DataVersion, table: str, words: Words) -> TableCard:
    splits = version.rows[table]
    known = [split for split in SPLITS if splits.get(split)] + sorted(set(splits) - set(SPLITS))
    most = max(splits.values(), default=0) or 1
    bars = tuple(
        Bar(
            words.named("split", split),
            splits[split] / most,
            words.number(splits[split]),
            "blue" if split == "feedback" else "plain" if split in {"test", "heldout"} else "strong",
        )
        for split in known
    )
    sources = tuple(
        Bar(bar.label, bar.share, bar.value, "plain", version.licences.get(bar.label, ""))
        for bar in _bars(version.sources.get(table, {}), words, "plain")
    )
    return TableCard(table, bars, sources, tuple(_bars(version.labels.get(table, {}), words, "strong")))


def _bars(counts: Mapping[str, int], words: Words, tone: Tone) -> list[Bar]:
    most = max(counts.values(), default=0) or 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Bar(name, count / most, words.number(count), tone) for name, count in ordered]


def _summed(rejects: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for reasons in rejects.values():
        for reason, count in reasons.items():
            total[reason] = total.get(reason, 0) + count
    return {reason: count for reason, count in total.items() if count}


def _sources(version: DataVersion) -> set[str]:
    return {source for sources in version.sources.values() for source in sources}


def _share(dropped: int, kept: int, words: Words) -> str:
    return words.percent(dropped / (dropped + kept)) if dropped + kept else ""
