"""From raw documents to packed tokens: our engine, Hugging Face datasets, Polars with rensa, Ray Data and datatrove.

The documents are the Python, reStructuredText and Markdown files of the installed packages and of the standard library,
in the order of a hash of their paths, up to `MEGABYTES`. Each side normalises and filters them, drops near-duplicates,
masks personal data, tokenises and packs, with the same rules and two workers, in a fresh process and an environment of
its own; the environments, the documents and the tokenizer are made once and kept under `.bench/data`. The clock runs
from the first read to the last write; importing and starting (Ray's cluster) is told apart.

    MEGABYTES=5 PEERS=polars,datasets make bench NAME=data    # under a minute once the environments are there
    REPEATS=1 make bench NAME=data                            # the default: 3 for us, datasets and Polars, else 1
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from components.data.cleaning import clean_code
from components.data.dedup import bands, components, near_pairs
from components.data.quality import gopher_reason
from components.models.tokenizer import train_bpe
from tests.benchmarks.data_peers.protocol import NUM_BANDS, ROWS_PER_BAND, THRESHOLD, WORKERS

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / ".bench" / "data"
SUFFIXES = (".py", ".rst", ".md")
FILE_BYTES = (200, 500_000)
NUM_SHARDS = 8
VOCAB_SIZE = 16_384
TOKENIZER_MEGABYTES = 10
TOLERANCE = 0.01
"""Of rows kept: MinHash estimates."""


@dataclass(frozen=True)
class Side:
    """Who runs the pipeline: a module of `data_peers`, and what it needs to be installed."""

    module: str
    packages: tuple[str, ...] = ()
    repeats: int = 1


SIDES = {
    "ours": Side("ours", repeats=3),
    "datasets": Side("hf_datasets", ("datasets==5.2.0", "rensa==0.5.0", "tokenizers==0.23.3"), repeats=3),
    "polars": Side(
        "polars_rensa",
        ("polars==2.1.0", "numpy==2.4.6", "pyarrow==25.0.1", "rensa==0.5.0", "tokenizers==0.23.3"),
        repeats=3,
    ),
    "ray_data": Side("ray_data", ("ray[data]==2.60.0", "aiohttp==3.14.5", "rensa==0.5.0", "tokenizers==0.23.3")),
    "datatrove": Side("datatrove_local", ("datatrove[io,processing]==0.10.1", "xxhash==3.8.2", "tokenizers==0.23.3")),
}
"""xxhash 4 refuses the strings that datatrove 0.10.1 hands it."""


@dataclass
class Turn:
    """One run of one side."""

    said: dict[str, Any]
    startup_seconds: float
    cpu_seconds: float
    """Starting included."""
    peak_mb: float


@dataclass
class Corpus:
    """What all are given, and what the platform's own blocks make of it."""

    shards: Path
    tokenizer: Path
    megabytes: float
    rows: int
    kept: int
    rejected: dict[str, int] = field(default_factory=dict)


# ---------------------------------------------------------------- what all are given


def files() -> Iterator[tuple[str, Path]]:
    """(name, path) of every document there is, in an order that neither the file system nor the alphabet gives."""
    roots = (Path(sysconfig.get_paths()["stdlib"]), Path(sysconfig.get_paths()["purelib"]))
    found = []
    for root in roots:
        for folder, below, names in os.walk(root):
            if root == roots[0]:
                below[:] = [name for name in below if name != "site-packages"]
            for name in names:
                path = Path(folder, name)
                if name.endswith(SUFFIXES) and FILE_BYTES[0] <= path.stat().st_size <= FILE_BYTES[1]:
                    relative = f"{root.name}/{path.relative_to(root)}"
                    found.append((hashlib.blake2b(relative.encode()).digest(), relative, path))
    for _, relative, path in sorted(found):
        yield relative, path


def prepared(text: str) -> tuple[str, str]:
    text = clean_code(text)
    return text, gopher_reason(text)


def write_corpus(megabytes: float, folder: Path) -> None:
    """Shards, a tokenizer trained on the first of them, and how many rows the platform's blocks keep."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    print(f"writing {megabytes:g} MB of documents", flush=True)
    names, texts, size = [], [], 0
    for name, path in files():
        if size >= megabytes * 1e6:
            break
        text = path.read_bytes().decode("utf-8", "replace")
        names.append(name)
        texts.append(text)
        size += len(text.encode())
    if size < megabytes * 1e6:
        print(f"the environment holds {size / 1e6:.0f} MB of documents, not MEGABYTES={megabytes:g}", file=sys.stderr)
        raise SystemExit(2)
    (folder / "shards").mkdir(parents=True)
    table = pa.table({"id": names, "text": texts})
    for number in range(NUM_SHARDS):
        low, high = (len(names) * at // NUM_SHARDS for at in (number, number + 1))
        pq.write_table(table.slice(low, high - low), folder / "shards" / f"{number:02}.parquet", row_group_size=500)
    with ProcessPoolExecutor(WORKERS) as pool:
        rows = list(pool.map(prepared, texts, chunksize=100))
    good = [text for text, reason in rows if not reason]
    slice_end, held = 0, 0
    while slice_end < len(good) and held < TOKENIZER_MEGABYTES * 1e6:
        held += len(good[slice_end])
        slice_end += 1
    print(f"training a tokenizer on {held / 1e6:.0f} MB", flush=True)
    train_bpe(good[:slice_end], VOCAB_SIZE).save_pretrained(folder / "tokenizer")
    first = components(len(good), near_pairs(good, threshold=THRESHOLD))
    kept = len(set(first.tolist()))
    rejected = Counter(reason for _, reason in rows if reason)
    rejected["near-duplicate"] = len(good) - kept
    held_by = {"megabytes": size / 1e6, "rows": len(names), "kept": kept, "rejected": rejected}
    (folder / "corpus.json").write_text(json.dumps(held_by))


def corpus(megabytes: float) -> Corpus:
    """Made once for a size and an environment."""
    packages = sorted(path.name for path in Path(sysconfig.get_paths()["purelib"]).glob("*.dist-info"))
    key = hashlib.blake2b("\n".join([sys.version, *packages]).encode(), digest_size=4).hexdigest()
    folder = BENCH / f"corpus-{megabytes:g}-{key}"
    if not (folder / "corpus.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        write_corpus(megabytes, folder)
    return Corpus(folder / "shards", folder / "tokenizer", **json.loads((folder / "corpus.json").read_text()))


def interpreter(name: str) -> Path:
    """The Python of a side's environment, which is made when it is not there or was made for other packages."""
    side = SIDES[name]
    if not side.packages:
        return Path(sys.executable)
    folder = BENCH / name
    stamp = folder / "packages.txt"
    python = folder / "bin" / "python"
    if not stamp.is_file() or stamp.read_text().split() != [*side.packages]:
        print(f"installing {', '.join(side.packages)} into .bench/data/{name}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        done = subprocess.run([python, "-m", "pip", "install", "-qq", *side.packages], capture_output=True, text=True)
        if done.returncode:
            print(f"pip could not install {name}:\n{done.stderr[-2000:]}", file=sys.stderr)
            raise SystemExit(2)
        stamp.write_text("\n".join(side.packages))
    return python


# ---------------------------------------------------------------- one run


class Watch(threading.Thread):
    """A process and all below it: the largest sum of proportional set sizes (what two share counts once), and CPU.

    Of a process that ends, the CPU of its last half second is missed.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process(pid)
        self.peak_mb = 0.0
        self.cpu: dict[int, float] = {}
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.5):
            held = 0
            try:
                family = [self.process, *self.process.children(recursive=True)]
            except psutil.Error:
                return
            for process in family:
                try:
                    times = process.cpu_times()
                    self.cpu[process.pid] = times.user + times.system
                    held += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak_mb = max(self.peak_mb, held / 1e6)


def turn(name: str, given: Corpus) -> Turn:
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-", dir=BENCH) as folder:
        for shard in given.shards.iterdir():  # from the page cache for everybody
            shard.read_bytes()
        command = [
            interpreter(name), "-m", f"tests.benchmarks.data_peers.{SIDES[name].module}",
            "--shards", given.shards, "--tokenizer", given.tokenizer, "--folder", folder,
        ]  # fmt: skip
        env = {
            **os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": f"{folder}/hf", "DO_NOT_TRACK": "1",
            "DAFT_ANALYTICS_ENABLED": "0", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        with Path(folder, "said").open("w+") as said, Path(folder, "complained").open("w+") as complained:
            started = time.perf_counter()
            process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdout=said, stderr=complained, start_new_session=True
            )
            watch = Watch(process.pid)
            watch.start()
            try:
                code = process.wait()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)  # whoever of its children is still there
            whole = time.perf_counter() - started
            watch.over.set()
            watch.join()
            for stream in (said, complained):
                stream.seek(0)
            if code:
                print(f"{name} failed:\n{complained.read()[-4000:]}", file=sys.stderr)
                raise SystemExit(1)
            last = json.loads(said.read().splitlines()[-1])
    return Turn(last, whole - last["seconds"], sum(watch.cpu.values()), watch.peak_mb)


def versions(name: str) -> dict[str, str]:
    wanted = ("daft", "datasets", "polars", "ray", "datatrove", "rensa", "tokenizers", "pyarrow", "numpy", "xxhash")
    code = (
        "import json, importlib.metadata as m\n"
        f"print(json.dumps({{d.name: d.version for d in m.distributions() if d.name in {wanted!r}}}))"
    )
    done = subprocess.run([interpreter(name), "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def summary(name: str, turns: list[Turn], given: Corpus) -> dict[str, Any]:
    """Medians of a side's turns, and how far its rows are from those that the platform's blocks keep."""
    said = turns[0].said
    kept, rejected = said["rows_kept"], sum(said["rejected"].values())
    assert said["rows_in"] == given.rows == kept + rejected, f"{name} lost rows: {said}"
    difference = kept / given.kept - 1
    return {
        "seconds": round(statistics.median(one.said["seconds"] for one in turns), 2),
        "all_seconds": [round(one.said["seconds"], 2) for one in turns],
        "startup_seconds": round(statistics.median(one.startup_seconds for one in turns), 2),
        "cpu_seconds": round(statistics.median(one.cpu_seconds for one in turns), 2),
        "peak_mb": round(statistics.median(one.peak_mb for one in turns)),
        "stages": {
            stage: round(statistics.median(one.said["stages"][stage] for one in turns), 2) for stage in said["stages"]
        },
        "rows_kept": kept,
        "rows_rejected": rejected,
        "rejected": dict(sorted(said["rejected"].items())),
        "difference_from_the_blocks": round(difference, 5),
        "tokens": said["tokens"],
        "versions": versions(name),
    }


def main() -> None:
    megabytes = float(os.environ.get("MEGABYTES", "200"))
    wanted = [name for name in os.environ.get("PEERS", ",".join(SIDES)).split(",") if name and name != "ours"]
    if unknown := set(wanted) - set(SIDES):
        print(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(SIDES)}", file=sys.stderr)
        raise SystemExit(2)
    assert bands(THRESHOLD) == (NUM_BANDS, ROWS_PER_BAND), "the peers would look for other duplicates than we do"
    sides = ["ours", *wanted]
    for name in sides:
        interpreter(name)
    given = corpus(megabytes)
    print(f"{given.rows} documents, {given.megabytes:.0f} MB; the platform's blocks keep {given.kept}", flush=True)
    repeats = {name: int(os.environ.get("REPEATS", SIDES[name].repeats)) for name in sides}
    turns: dict[str, list[Turn]] = {name: [] for name in sides}
    for number in range(max(repeats.values())):
        for name in sides:  # one after the other, so that what slows the machine down slows all
            if number < repeats[name]:
                one = turn(name, given)
                turns[name].append(one)
                seconds = one.said["seconds"]
                print(f"  {name:<10} {seconds:7.1f} s  {one.peak_mb:6.0f} MB  {one.said['stages']}", flush=True)
    found = {name: summary(name, turns[name], given) for name in sides}
    ours = found["ours"]
    apart = [name for name in sides if abs(found[name]["rows_kept"] / ours["rows_kept"] - 1) > TOLERANCE]
    result = {
        "benchmark": "data",
        **{f"ratio_vs_{name}": round(found[name]["seconds"] / ours["seconds"], 2) for name in wanted},
        "seconds": ours["seconds"],
        "cpu_seconds": ours["cpu_seconds"],
        "peak_mb": ours["peak_mb"],
        "rows_in": given.rows,
        "rows_kept": ours["rows_kept"],
        "rows_rejected": ours["rows_rejected"],
        "megabytes": round(given.megabytes, 1),
        "rows_of_the_blocks": {"kept": given.kept, "rejected": dict(sorted(given.rejected.items()))},
        "sides": found,
        "threshold": THRESHOLD,
        "bands_and_rows": [NUM_BANDS, ROWS_PER_BAND],
        "workers": WORKERS,
        "repeats": repeats,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version()},
    }
    print(json.dumps(result))
    if apart:
        print(f"rows kept differ by more than {TOLERANCE:.0%} from ours: {', '.join(apart)}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
