"""The share of answers that come out the same when they are asked again, alone: per engine, `identical`.

Answers are written as the gateway writes them, all at once and joining one batch, then one after another; greedy, and
drawn with a seed. A writer (SmolLM2-135M, bfloat16) by each engine, and the demo's encoder (MiniLM, float32, a new
head), of which labels are compared. REPLAY_TEXTS=48 REPLAY_TOKENS=32 REPLAY_ENGINES=torch,openvino.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from components import assets
from components.recipes import Finetune
from components.refs import ModelRef
from components.serving.batching import Batcher
from components.serving.choice import export
from components.serving.decoding import Sampling
from components.serving.engines import TorchEngine
from components.settings import load_settings
from tests.benchmarks import serve

NUM_TEXTS = int(os.environ.get("REPLAY_TEXTS", "48"))
NUM_TOKENS = int(os.environ.get("REPLAY_TOKENS", "32"))
ENGINES = [one for one in os.environ.get("REPLAY_ENGINES", "torch,openvino").split(",") if one]
REF = ModelRef(name="banyan-text", version=1, run_id="r", weights_sha256="0" * 64)
PACKAGES = ("torch", "transformers", "openvino", "openvino-genai")


def loaded(engine: str, folder: Path, *, task: str) -> TorchEngine:
    """The engine over a model's folder."""
    if engine == "torch":
        return TorchEngine(REF, folder, task=task)
    from components.serving.engines_openvino import OpenVinoEngine

    graph = folder.parent / f"graph-{folder.name}"
    if not graph.is_dir():
        export(folder, task=task, folder=graph)
    return OpenVinoEngine(REF, folder, task=task, graph_dir=graph)


def share(ask: Callable[[str], Any], texts: list[str]) -> float:
    """Of texts whose answer, given among all the others, is that which they get alone. `ask` gives a future."""
    coming = [ask(text) for text in texts]
    together = [one.result(600) for one in coming]
    alone = [ask(text).result(600) for text in texts]
    said = [[getattr(one, "text", None) or getattr(one, "output", "") for one in some] for some in (together, alone)]
    return round(sum(a == b for a, b in zip(*said, strict=True)) / len(texts), 4)


def writer(engine: str, folder: Path, texts: list[str]) -> dict[str, float]:
    batcher = Batcher(loaded(engine, folder, task="generation"), capacity=4 * len(texts))
    drawn = Sampling(max_tokens=NUM_TOKENS, temperature=0.8, top_p=0.9, seed=11)
    try:
        return {
            "greedy": share(lambda text: batcher.write(text, Sampling(NUM_TOKENS), lambda _: None).done, texts),
            "drawn with a seed": share(lambda text: batcher.write(text, drawn, lambda _: None).done, texts),
        }
    finally:
        batcher.close()


def classifier_folder(scratch: Path) -> Path:
    """MiniLM with a head of twenty labels that is as drawn: its probabilities lie closer than trained ones."""
    from components.models.pretrained import load_base
    from components.tasks import get_task

    given = {"name": "c", "task": "classification", "table": "c", "base": "minilm"}
    recipe = Finetune.model_validate({**given, "num_steps": 1, "learning_rate": 1e-4, "precision": "fp32"})
    weights = assets.weights("minilm", settings=load_settings())
    labels = [f"label {number}" for number in range(20)]
    model, tokenizer = load_base(weights, task=get_task("classification"), labels=labels, recipe=recipe)
    folder = scratch / "classifier"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> int:
    identical: dict[str, dict[str, float]] = {}
    reasons: dict[str, str] = {}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="banyan-replay-") as folder:
        scratch = Path(folder)
        written, labelled = serve.model_folder(scratch), classifier_folder(scratch)
        texts = serve.prompts(written, NUM_TEXTS)
        for engine in ENGINES:
            try:
                identical[engine] = writer(engine, written, texts)
                batcher = Batcher(loaded(engine, labelled, task="classification"), capacity=4 * len(texts))
                identical[engine]["labels"] = share(batcher.submit, texts)
                batcher.close()
                print(f"{engine}: {identical[engine]}", flush=True)
            except ImportError as err:
                reasons[engine] = f"{err}: pip install 'banyan-llm[fast]'"
    result = {
        "benchmark": "replay",
        "identical": identical,
        "not_measured": reasons,
        "texts": NUM_TEXTS,
        "most_tokens": NUM_TOKENS,
        "seconds": round(time.perf_counter() - started, 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }
    print(json.dumps(result))
    return 0 if identical else 2


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    raise SystemExit(main())
