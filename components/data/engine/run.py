"""From raw documents to a packed corpus: what happens in which order, on one machine or many."""

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from components.data import packing
from components.data.engine import duplicates, finishing, jobs
from components.data.engine.blocks import FINISHED, PREPARED, is_done
from components.data.engine.execution import Resources as Resources
from components.data.engine.execution import run_parts
from components.data.engine.inputs import PART_BYTES, Part, cut, find_files
from components.data.engine.tokenizers import end_of, make_tokenizer
from components.errors import DataError, UsageError
from components.recipes import Pack

Progress = Callable[[str], None]
FORMAT = 1
"""Of what lies in the folder that is worked in: another number, and nothing that is there is used."""
LINE_SECONDS = 1.0


@dataclass
class Report:
    """What was made. Rows in are rows kept and rows rejected, always."""

    folder: Path
    rows_in: int = 0
    rows_kept: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    """Reason → rows."""
    changed: dict[str, int] = field(default_factory=dict)
    """What was done to how many rows."""
    documents: dict[str, int] = field(default_factory=dict)
    """Split → documents."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Split → tokens."""
    sources: dict[str, dict[str, int]] = field(default_factory=dict)
    """Source → rows and kept."""
    bytes_in: int = 0
    parts: int = 0
    candidate_pairs: int = 0
    edges: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage → seconds."""

    @property
    def rows_rejected(self) -> int:
        return sum(self.rejects.values())


def pack_corpus(
    recipe: Pack,
    *,
    folder: Path,
    resources: Resources | None = None,
    progress: Progress | None = None,
    part_bytes: int = PART_BYTES,
    cache: Path | None = None,
    may_replace: Callable[[Path], bool] | None = None,
) -> Report:
    """Make the packed corpus `folder` of a recipe's documents; when it is there already, say what it is.

    `may_replace` says of a folder made of something else whether it may go: once the new one is whole.

    What is worked in lies beside it (`<folder>.work`) until all is done: a run that was killed goes on where it was.
    Resources and `part_bytes` change nothing of what is made. What lies at an address is fetched into `cache` first.

    Raises:
        InputFileError: an input is not there, or no document of it is kept.
        SourceUnreachable: an address does not answer.
        UsageError: the folder holds something else; there is no such Ray cluster.
        DataError: a part cannot be worked on.
    """
    resources, say = resources or Resources(), progress or (lambda _: None)
    files = find_files(recipe, cache=cache)
    key = _key(recipe, [(str(file.path.absolute()), file.path.stat()) for file in files], part_bytes)
    if folder.exists():
        if (same := _there_already(folder, key, say)) is not None:
            return same
        if may_replace is None or not may_replace(folder):
            raise UsageError(f"{folder} is there and was made of something else", "give another name, or remove it")
    parts = cut(files, part_bytes=part_bytes)
    report = Report(folder, bytes_in=sum(part.num_bytes for part in parts), parts=len(parts))
    work = folder.with_name(f"{folder.name}.work")
    _begin(work, key, say)
    clock = _Clock(report, say)
    say(f"{len(files)} files, {report.bytes_in / 1e6:.1f} MB, {len(parts)} parts, {resources.workers} workers")
    _prepare(recipe, parts, work, resources, report, clock)
    found = duplicates.find(
        work,
        num_parts=len(parts),
        threshold=recipe.rules.near_duplicate_threshold,
        memory_bytes=resources.memory_mb * (1 << 20) // 8,
    )
    report.candidate_pairs, report.edges = found.candidate_pairs, found.edges
    _write_decisions(work, found)
    clock.stage("duplicates")
    if not (found.decisions == duplicates.KEPT).any():
        raise _nothing_left(report)
    make_tokenizer(recipe, work, num_parts=len(parts), num_chars=int(report.changed.pop("chars")))
    clock.stage("tokenizer")
    _finish(recipe, parts, work, resources, report, clock)
    if report.rows_in != report.rows_kept + report.rows_rejected:
        raise DataError(
            f"{report.rows_in} rows went in, {report.rows_kept} are kept and {report.rows_rejected} rejected",
            f"this is a fault of the engine; {work} is kept as it is",
        )
    info = _assemble(recipe, len(parts), work)
    clock.stage("assemble")
    origin = {"key": key, "recipe": recipe.model_dump(mode="json"), "report": _plain(report)}
    described = info.model_copy(update={"origin": origin})
    (work / "made" / packing.INFO).write_text(described.model_dump_json(indent=1) + "\n", "utf-8")
    if folder.exists():
        folder.rename(work / "replaced")
    work.joinpath("made").rename(folder)
    shutil.rmtree(work, ignore_errors=True)
    return report


# ---------------------------------------------------------------- stages


def _prepare(
    recipe: Pack, parts: Sequence[Part], work: Path, resources: Resources, report: Report, clock: "_Clock"
) -> None:
    shared = {"recipe": recipe.model_dump(mode="json"), "work": str(work), "batch_chars": batch_chars(resources)}
    arguments = [{"part": asdict(part), **shared} for part in parts]
    done = lambda one: is_done(work, PREPARED, one["part"]["number"])  # noqa: E731
    rejects: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    sources: dict[str, Counter[str]] = {}
    seen: set[int] = set()
    for counts in _counted(jobs.prepare, arguments, PREPARED, done, work, resources):
        if counts["number"] in seen:
            continue
        seen.add(counts["number"])
        report.rows_in += counts["rows"]
        rejects.update(counts["rejects"])
        changed.update(counts["changed"])
        changed["chars"] += counts["chars"]
        for name, counted in counts["sources"].items():
            sources.setdefault(name, Counter()).update(counted)
        clock.passed("clean, filter, sign", counts["bytes"], report.bytes_in)
    report.rejects, report.changed = dict(rejects), dict(changed)
    report.sources = {name: {"rows": counted["rows"], "kept": 0} for name, counted in sorted(sources.items())}
    clock.stage("prepare")


def _finish(
    recipe: Pack, parts: Sequence[Part], work: Path, resources: Resources, report: Report, clock: "_Clock"
) -> None:
    tokenizer_json = work / "tokenizer" / "tokenizer.json"
    shared = {
        "recipe": recipe.model_dump(mode="json"),
        "work": str(work),
        "tokenizer_json": str(tokenizer_json),
        "end_id": end_of(work / "tokenizer"),
    }
    arguments = [{"number": part.number, **shared} for part in parts]
    done = lambda one: is_done(work, FINISHED, one["number"])  # noqa: E731
    rejects, documents, tokens = Counter(report.rejects), Counter[str](), Counter[str]()
    seen: set[int] = set()
    for counts in _counted(jobs.finish, arguments, FINISHED, done, work, resources):
        if counts["number"] in seen:
            continue
        seen.add(counts["number"])
        report.rows_kept += counts["kept"]
        rejects.update(counts["rejects"])
        documents.update(counts["documents"])
        tokens.update(counts["tokens"])
        report.changed["masked"] = report.changed.get("masked", 0) + counts["masked"]
        for name, kept in counts["sources"].items():
            report.sources[name]["kept"] += kept
        clock.passed("mask, split, tokenise", parts[counts["number"]].num_bytes, report.bytes_in)
    report.rejects = dict(rejects.most_common())
    report.documents, report.tokens = dict(documents), dict(tokens)
    clock.stage("finish")


def _counted(
    job: Callable[..., dict[str, Any]],
    arguments: Sequence[dict[str, Any]],
    stage: str,
    done: Callable[[dict[str, Any]], bool],
    work: Path,
    resources: Resources,
) -> "Any":
    """Counts of every part: first of those that an earlier run has done, then as they come."""
    from components.data.engine.blocks import counts_of

    number_of = lambda one: one["part"]["number"] if "part" in one else one["number"]  # noqa: E731
    reported: set[int] = set()
    for one in arguments:
        if done(one):
            reported.add(number_of(one))
            yield {"number": number_of(one), **counts_of(work, stage, number_of(one))}
    waiting = [one for one in arguments if number_of(one) not in reported]
    for counts in run_parts(job, waiting, resources=resources, is_done=done):
        reported.add(counts["number"])
        yield counts
    for one in arguments:  # done by a machine that died before it said so
        if number_of(one) not in reported:
            yield {"number": number_of(one), **counts_of(work, stage, number_of(one))}


def _write_decisions(work: Path, found: duplicates.Found) -> None:
    for number, (low, high) in enumerate(zip(found.starts[:-1], found.starts[1:], strict=True)):
        path = finishing.decisions_path(work, number)
        path.parent.mkdir(exist_ok=True)
        np.save(path, found.decisions[low:high])


def _assemble(recipe: Pack, num_parts: int, work: Path) -> packing.Packed:
    """The parts' tokens one after the other, in the order of the documents."""
    made = work / "made"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    shutil.copytree(work / "tokenizer", made / "tokenizer")
    vocab_size = _vocab_size(made / "tokenizer" / "tokenizer.json")
    dtype = packing.dtype_for(vocab_size)
    splits = {}
    for split in packing.SPLITS:
        with packing.SplitWriter(made, split, dtype) as writer:
            for number in range(num_parts):
                part = work / FINISHED / f"{number:06}"
                sizes = np.load(part / f"{split}.sizes.npy")
                writer.add(np.fromfile(part / f"{split}.tokens", dtype), sizes)
            splits[split] = writer.close()
    for name in ("rows", "rejects"):
        (made / name).mkdir()
        for number in range(num_parts):
            for stage, mark in ((PREPARED, "a"), (FINISHED, "b")):
                path = work / stage / f"{number:06}" / f"{name}.parquet"
                if path.is_file():
                    shutil.copyfile(path, made / name / f"{number:06}{mark if name == 'rejects' else ''}.parquet")
    return packing.Packed(
        name=recipe.name,
        dtype=dtype.name,
        end_id=end_of(made / "tokenizer"),
        vocab_size=vocab_size,
        tokenizer_sha256=packing.tokenizer_sha256(made / "tokenizer"),
        splits=splits,
    )


def _vocab_size(tokenizer_json: Path) -> int:
    import tokenizers

    return tokenizers.Tokenizer.from_file(str(tokenizer_json)).get_vocab_size(with_added_tokens=True)


# ---------------------------------------------------------------- around


def batch_chars(resources: Resources) -> int:
    """How many characters of documents a worker holds at once, within the memory that it has."""
    each = (resources.memory_mb - 300) * (1 << 20) / resources.workers - 150 * (1 << 20)
    return int(min(max(each / 40, 1 << 18), 4 << 20))


def _key(recipe: Pack, files: Sequence[tuple[str, Any]], part_bytes: int) -> str:
    """Hash of what the work depends on: the recipe, and names, sizes and times of the files."""
    listed = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in files]
    text = json.dumps([FORMAT, recipe.sha256(), part_bytes, listed])
    return hashlib.sha256(text.encode()).hexdigest()


def _begin(work: Path, key: str, say: Progress) -> None:
    mark = work / "key"
    if work.exists() and mark.is_file() and mark.read_text("utf-8") == key:
        say("going on where it was")
        return
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for stage in (PREPARED, FINISHED):
        (work / stage).mkdir()
    mark.write_text(key, "utf-8")


def _there_already(folder: Path, key: str, say: Progress) -> Report | None:
    info = packing.read_info(folder) if (folder / packing.INFO).is_file() else None
    if info is None or info.origin.get("key") != key:
        return None
    say("it is there already: the same recipe, the same files")
    return Report(folder, **{name: value for name, value in info.origin["report"].items() if name != "folder"})


def _plain(report: Report) -> dict[str, Any]:
    return {name: value for name, value in asdict(report).items() if name != "folder"}


def _nothing_left(report: Report) -> UsageError:
    why = "; ".join(f"{reason}: {number}" for reason, number in Counter(report.rejects).most_common(4))
    return UsageError(
        f"none of {report.rows_in} documents is kept ({why or 'there was none'})", "look at the rules and columns"
    )


class _Clock:
    """Says how fast it goes and how long it will take."""

    def __init__(self, report: Report, say: Progress) -> None:
        self.report, self.say = report, say
        self.began = self.said = time.monotonic()
        self.done_bytes = 0

    def passed(self, what: str, num_bytes: int, total: int) -> None:
        """So many bytes more of a stage are done."""
        now = time.monotonic()
        self.done_bytes += num_bytes
        if now - self.said >= LINE_SECONDS:
            self.said = now
            rate = self.done_bytes / (now - self.began)
            left = max(total - self.done_bytes, 0) / rate if rate else 0.0
            share = self.done_bytes / max(total, 1)
            self.say(f"{what}: {share:.0%}, {rate / 1e6:.1f} MB/s, about {left:.0f} s left")

    def stage(self, name: str) -> None:
        """A stage has ended."""
        now = time.monotonic()
        self.report.seconds[name] = round(now - self.began, 3)
        self.say(f"{name}: {now - self.began:.1f} s")
        self.began, self.done_bytes = now, 0
