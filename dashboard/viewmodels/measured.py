"""What this installation has measured of each family: bits per byte against compute, on the same corpus."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboard.records import CostState, DataState, ModelVersion
from dashboard.text import Words
from dashboard.viewmodels.cost import TRAINING
from dashboard.viewmodels.evolution import family_of

METRIC = "bits_per_byte"
NUM_DRAWN = 40


@dataclass(frozen=True)
class Point:
    """One pretrained version."""

    family: str
    title: str
    """`GPT · gpt v2`."""
    seconds: float
    """Processor time of its training, all cores together."""
    bits: float
    is_best: bool
    """Of its family."""
    model: ModelVersion
    said: str
    """Both figures in words."""


@dataclass(frozen=True)
class MeasuredView:
    points: tuple[Point, ...]
    """Those on the corpus of the newest one, cheapest first."""
    num_elsewhere: int
    """On another corpus: their figures do not compare."""

    @property
    def best(self) -> tuple[Point, ...]:
        """The best of each family, the best family first."""
        return tuple(sorted((one for one in self.points if one.is_best), key=lambda one: one.bits))


def measured(models: Sequence[ModelVersion], costs: CostState, data: DataState | None, words: Words) -> MeasuredView:
    """Of versions whose compute is known."""
    spent = {cost.run_id: cost.cpu_seconds or cost.seconds for cost in costs.costs if cost.stage == TRAINING}
    tables = {one.version: one.tables for one in data.versions} if data else {}
    known = sorted(
        (one for one in models if METRIC in one.metrics and one.task == "corpus" and spent.get(one.run_id)),
        key=lambda one: -one.created_at,
    )
    if not known:
        return MeasuredView((), 0)
    corpus = _corpus(known[0], tables)
    same = [one for one in known if _corpus(one, tables) == corpus]
    best: dict[str, ModelVersion] = {}
    for one in same:
        family = family_of(one) or one.table
        if family not in best or one.metrics[METRIC] < best[family].metrics[METRIC]:
            best[family] = one
    points = [_point(one, spent[one.run_id], best, words) for one in same[:NUM_DRAWN]]
    return MeasuredView(tuple(sorted(points, key=lambda one: one.seconds)), len(known) - len(same))


def _corpus(model: ModelVersion, tables: Mapping[str, Mapping[str, str]]) -> str:
    """The hash of the table that it was trained on; where that is not known, the data version."""
    version = model.tags.get("banyan.data_version", "")
    table = str(model.recipe.get("table") or "corpus")
    return str(model.recipe.get("packed") or tables.get(version, {}).get(table, version))


def _point(model: ModelVersion, seconds: float, best: Mapping[str, ModelVersion], words: Words) -> Point:
    family = family_of(model) or model.table
    title = words(f"family.{family}") if words.has(f"family.{family}") else family
    bits = model.metrics[METRIC]
    return Point(
        family=title,
        title=f"{title} · {model.name.removeprefix('banyan-')} {words('version', version=model.version)}",
        seconds=seconds,
        bits=bits,
        is_best=best[family] is model,
        model=model,
        said=words("evolution.measured.said", bits=f"{bits:.3f}", time=words.duration(seconds)),
    )
