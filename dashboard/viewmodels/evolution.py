"""The evolution page: the family tree, lit where this installation has grown models."""

from collections.abc import Sequence
from dataclasses import dataclass

from components.ecosystem import FAMILIES, FAMILY_OF_BASE, NODE_OF_FAMILY, grown
from dashboard.records import ModelVersion
from dashboard.text import Words


@dataclass(frozen=True)
class TreeLeaf:
    name: str
    title: str
    year: int
    meaning: str
    parents: tuple[str, ...]
    is_grown: bool
    models: str
    """The models of this very family, written for the wide picture; empty when there are none."""
    models_short: str
    href: str


@dataclass(frozen=True)
class TreeView:
    label: str
    leaves: tuple[TreeLeaf, ...]


@dataclass(frozen=True)
class FamilyCard:
    title: str
    year: str
    meaning: str
    paper: str
    paper_url: str
    status: str
    is_grown: bool
    is_foundation: bool
    """A field or a method, or an ancestor of what is grown: nothing of its own is missing here."""


@dataclass(frozen=True)
class EvolutionView:
    tree: TreeView
    cards: tuple[FamilyCard, ...]
    is_empty: bool


def family_of(model: ModelVersion) -> str | None:
    """The family of a version: a pretraining's recipe names it, a fine-tuning's base belongs to one."""
    named = str(model.recipe.get("family") or "")
    return NODE_OF_FAMILY.get(named, named) or FAMILY_OF_BASE.get(str(model.recipe.get("base") or ""))


def evolution(models: Sequence[ModelVersion], words: Words) -> EvolutionView:
    """The page for these registered versions (none when nothing has been trained, or nothing is known)."""
    own: dict[str, list[ModelVersion]] = {}
    for model in models:
        name = family_of(model)
        if name:
            own.setdefault(name, []).append(model)
    reached = grown(own)
    leaves, cards = [], []
    for family in FAMILIES:
        mine = own.get(family.name, [])
        names = sorted({model.table for model in mine})
        leaves.append(
            TreeLeaf(
                name=family.name,
                title=words(f"family.{family.name}"),
                year=family.year,
                meaning=words(f"family.{family.name}.meaning"),
                parents=family.parents,
                is_grown=family.name in reached,
                models=", ".join(names) if len(", ".join(names)) <= 22 else words("evolution.own", count=len(mine)),
                models_short=words("evolution.own", count=len(mine)) if mine else "",
                href=f"models?lang={words.language}",
            )
        )
        if mine:
            status = f"{words('evolution.grown')} · {', '.join(_versions(mine))}"
        elif family.is_trainable:
            status = words("evolution.foundation" if family.name in reached else "evolution.not_grown")
        else:
            status = words("evolution.foundation")
        cards.append(
            FamilyCard(
                title=words(f"family.{family.name}"),
                year=str(family.year),
                meaning=words(f"family.{family.name}.meaning"),
                paper=f"{family.paper.authors}: {family.paper.title}",
                paper_url=family.paper.url,
                status=status,
                is_grown=bool(mine),
                is_foundation=not mine and status == words("evolution.foundation"),
            )
        )
    return EvolutionView(TreeView(words("evolution.tree"), tuple(leaves)), tuple(cards), not models)


def _versions(models: Sequence[ModelVersion]) -> list[str]:
    """`library v1–v3`, by table."""
    found: dict[str, list[int]] = {}
    for model in models:
        found.setdefault(model.table, []).append(model.version)
    return [
        f"{table} v{min(versions)}" + (f"–v{max(versions)}" if len(versions) > 1 else "")
        for table, versions in sorted(found.items())
    ]
