"""Tokens a second at 1, 8 and 32 clients over HTTP: our gateway, by engine, beside `transformers serve` and llama.cpp.

One model (SmolLM2-135M, out of the pinned asset, bfloat16 for all), the same prompts cut to the same number of tokens,
the same longest answer, greedy, every server alone on the machine in turn, with as many threads. Every client sends its
next prompt when its last answer has ended; no prompt is sent twice to a server, so that no cache of prefixes helps.
Tokens are counted by the model's tokenizer in what was answered. An answer that a server breaks off is asked for again,
twice at most, on that server's time (`broken` counts them); a server that goes on failing has null, and why. Where
`transformers serve` fails with continuous batching it is measured without.

llama.cpp's own server is `LLAMA_SERVER=PATH`; without, the same server out of xllamacpp's wheel, in an environment of
its own under .bench/serve. Sizes: SERVE_CLIENTS=1,8,32 SERVE_REQUESTS=2 (a client) SERVE_PROMPT=128 SERVE_ANSWER=128
SERVE_THREADS (default: half the processors, one at least) SERVE_ENGINES=torch,openvino SERVE_PEERS=transformers,llama
SERVE_READY_SECONDS=600 (for a server to come up) SERVE_SECONDS=240 (for a server's measurements).
"""

import asyncio
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from components import assets
from components.refs import ModelRef
from components.settings import load_settings

ROOT = Path(__file__).parents[2]
OWN = ROOT / ".bench" / "serve"
CLIENTS = [int(one) for one in os.environ.get("SERVE_CLIENTS", "1,8,32").split(",")]
NUM_REQUESTS = int(os.environ.get("SERVE_REQUESTS", "2"))
NUM_PROMPT = int(os.environ.get("SERVE_PROMPT", "128"))
NUM_ANSWER = int(os.environ.get("SERVE_ANSWER", "128"))
THREADS = int(os.environ.get("SERVE_THREADS", str(max(1, (os.cpu_count() or 2) // 2))))
ENGINES = [one for one in os.environ.get("SERVE_ENGINES", "torch,openvino").split(",") if one]
PEERS = [one for one in os.environ.get("SERVE_PEERS", "transformers,llama").split(",") if one]
READY_SECONDS = float(os.environ.get("SERVE_READY_SECONDS", "600"))
MOST_SECONDS = float(os.environ.get("SERVE_SECONDS", "240"))
TRIES = 3
XLLAMACPP = "xllamacpp==2026.10.11549"
LLAMA = """
import sys, time
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.hostnames, params.port = sys.argv[1], ["127.0.0.1"], int(sys.argv[2])
params.n_parallel, params.n_ctx, params.cpuparams.n_threads = int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
params.warmup = True
server = xllamacpp.Server(params)
while True:
    time.sleep(1)
"""


class Missing(Exception):
    """A server that cannot be had here, and why."""


class Broken(Exception):
    """A server that does not go on answering, and why; `figures` are what it did before."""

    def __init__(self, why: str, figures: dict[str, dict[str, float]]) -> None:
        super().__init__(why)
        self.figures = figures


# ---------------------------------------------------------------- one model for all


def model_folder(scratch: Path) -> Path:
    """SmolLM2 as a trained version's folder: what it reads and writes at most stands in it."""
    from transformers import AutoTokenizer, GenerationConfig

    weights = assets.weights("smollm2", settings=load_settings())
    folder = Path(shutil.copytree(weights, scratch / "model"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = NUM_PROMPT + 64
    tokenizer.save_pretrained(folder)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    GenerationConfig(max_new_tokens=NUM_ANSWER, do_sample=False, **ends).save_pretrained(folder)
    return folder


def gguf_file(scratch: Path) -> Path:
    """The asset's own file with its tensors in BF16: the very values that the folder holds."""
    import gguf
    import numpy as np

    settings = load_settings()
    source = assets.unpack("smollm2", settings=settings)
    reader = gguf.GGUFReader(source)
    target = scratch / "model-bf16.gguf"
    writer = gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=sub_type)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if values.ndim > 1:
            packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16)
            writer.add_tensor(tensor.name, packed, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def prompts(folder: Path, count: int) -> list[str]:
    """Pieces of the interpreter's own source, no two alike, each of about so many tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    source = "\n".join(p.read_text("utf-8") for p in sorted(Path(textwrap.__file__).parent.glob("*.py"))[:40])
    found = []
    for i in range(count):
        ids = tokenizer(source[i * 700 : i * 700 + 8 * NUM_PROMPT])["input_ids"][:NUM_PROMPT]
        found.append(str(tokenizer.decode(ids)))
    return found


# ---------------------------------------------------------------- the servers


def serve_gateway(engine: str, folder: Path, port: int) -> None:
    """Our gateway alone: no registry, no stack. Runs until it is told to stop."""
    import torch
    import uvicorn

    from components.serving.app import create_app
    from components.serving.champions import Champions
    from components.serving.engines import TorchEngine
    from components.serving.engines_openvino import OpenVinoEngine

    ref = ModelRef(name="banyan-text", version=1, run_id="r", weights_sha256="0" * 64)

    def load(*_: object) -> TorchEngine:
        torch.set_num_threads(THREADS)
        if engine == "openvino":
            return OpenVinoEngine(ref, folder, task="generation", graph_dir=folder.parent / "graph")
        served = TorchEngine(ref, folder, task="generation")
        torch.set_num_threads(THREADS)
        return served

    app = create_app(load_settings(), champions=Champions(find=lambda: {"text": ref}, load=load))
    uvicorn.run(app, port=port, log_level="warning", access_log=False)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(argv: list[str], *, ready: str, log: Path, **env: str) -> Iterator[None]:
    """A server from when `ready` answers 200 until the block's end. Raises Missing."""
    limits = {"OMP_NUM_THREADS": str(THREADS), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out, env=os.environ | limits | env, start_new_session=True)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(ready, timeout=2).status_code == 200:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise Missing(f"it did not come up: {log.read_text('utf-8', 'replace')[-300:].strip()}")
            time.sleep(0.3)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def gateway(engine: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Address and model's name."""
    if engine == "openvino":
        try:
            version("openvino-genai")
        except PackageNotFoundError as err:
            raise Missing("openvino-genai is not installed: pip install 'banyan-llm[fast]'") from err
        argv = [sys.executable, "-m", "tests.benchmarks.serve", "--export", str(folder)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=READY_SECONDS, check=False)
        if done.returncode:
            raise Missing(f"no graph was made: {done.stderr[-300:].strip()}")
    url = f"http://127.0.0.1:{(port := free_port())}"
    argv = [sys.executable, "-m", "tests.benchmarks.serve", "--gateway", engine, str(folder), str(port)]
    workspace = {"BANYAN_WORKSPACE": str(folder.parent / f"workspace-{engine}")}
    with running(argv, ready=f"{url}/readyz", log=folder.parent / f"{engine}.log", **workspace):
        yield url, "text"


@contextmanager
def transformers_serve(folder: Path, *, batching: bool) -> Iterator[tuple[str, str]]:
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = Path(sys.executable).with_name("transformers")
    options = ["--dtype", "bfloat16", "--device", "cpu", "--port", str(port)]
    options += ["--continuous-batching"] if batching else []
    argv = [str(command), "serve", str(folder), "--host", "127.0.0.1", *options]
    with running(argv, ready=f"{url}/health", log=folder.parent / "transformers.log"):
        yield url, str(folder)


@contextmanager
def llama_server(folder: Path) -> Iterator[tuple[str, str]]:
    url = f"http://127.0.0.1:{(port := free_port())}"
    model, slots = gguf_file(folder.parent), max(CLIENTS)
    context = slots * (NUM_PROMPT + NUM_ANSWER + 64)
    if path := os.environ.get("LLAMA_SERVER"):
        numbers = ["-np", slots, "-c", context, "-t", THREADS, "--port", port]
        argv = [path, "-m", str(model), "--host", "127.0.0.1", *map(str, numbers)]
    else:
        argv = [str(_own_python()), "-c", LLAMA, str(model), *map(str, (port, slots, context, THREADS))]
    with running(argv, ready=f"{url}/health", log=folder.parent / "llama.log"):
        yield url, "model"


def _own_python() -> Path:
    python = OWN / "bin" / "python"
    if not python.is_file():
        print(f"making {OWN.relative_to(ROOT)} with {XLLAMACPP}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", OWN], check=True)
    done = subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", XLLAMACPP], capture_output=True, text=True
    )
    if done.returncode:
        raise Missing(f"{XLLAMACPP} cannot be installed; give llama.cpp's server with LLAMA_SERVER=PATH")
    return python


# ---------------------------------------------------------------- the clients


async def ask(client: httpx.AsyncClient, model: str, prompt: str) -> tuple[str, float, float]:
    """Text, seconds to its first piece, seconds to its end."""
    body = {"model": model, "prompt": prompt, "max_tokens": NUM_ANSWER, "temperature": 0, "stream": True}
    started, first, text = time.perf_counter(), 0.0, ""
    async with client.stream("POST", "/v1/completions", json=body) as response:
        if response.status_code != 200:
            raise httpx.RemoteProtocolError(f"it answered {response.status_code}: {(await response.aread())[:200]!r}")
        async for line in response.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            content = json.loads(line[6:])
            if "error" in content:
                raise httpx.RemoteProtocolError(f"it ended with {str(content['error'])[:200]}")
            piece = (content.get("choices") or [{}])[0].get("text") or ""
            first = first or (time.perf_counter() - started if piece else 0.0)
            text += piece
    return text, first, time.perf_counter() - started


Answered = tuple[str, float, float]


async def crowd(url: str, model: str, texts: list[str], *, num_clients: int) -> tuple[list[Answered], int]:
    """What was answered, and how many answers were broken off. Raises httpx.TransportError after `TRIES` of one."""
    waiting = list(texts)
    found: list[Answered] = []
    num_broken = 0

    async def insist(client: httpx.AsyncClient, prompt: str) -> Answered:
        nonlocal num_broken
        for number in range(TRIES):
            try:
                return await ask(client, model, prompt)
            except (httpx.TransportError, ValueError):
                num_broken += 1
                if number + 1 == TRIES:
                    raise
                await asyncio.sleep(0.5)
        raise AssertionError

    async def one(client: httpx.AsyncClient) -> None:
        while waiting:
            found.append(await insist(client, waiting.pop()))

    limits = httpx.Limits(max_connections=num_clients)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client, asyncio.TaskGroup() as group:
        for _ in range(num_clients):
            group.create_task(one(client))
    return found, num_broken


def measure(url: str, model: str, texts: list[str], tokenizer: Any) -> dict[str, dict[str, float]]:
    """Clients → tokens a second, first token, and what was written. Raises Broken."""
    waiting = list(texts)
    figures: dict[str, dict[str, float]] = {}
    num_clients, deadline = 1, time.monotonic() + MOST_SECONDS

    async def in_time(some: list[str]) -> tuple[list[Answered], int]:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await crowd(url, model, some, num_clients=num_clients)

    try:
        # First what is loaded or compiled at the first request.
        asyncio.run(in_time([waiting.pop()]))
        for num_clients in CLIENTS:
            some = [waiting.pop() for _ in range(num_clients * NUM_REQUESTS)]
            started = time.perf_counter()
            said, num_broken = asyncio.run(in_time(some))
            seconds = time.perf_counter() - started
            num_tokens = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text, _, _ in said)
            figures[str(num_clients)] = {
                "tokens_per_second": round(num_tokens / seconds, 1),
                "first_token_ms": round(1000 * median(first for _, first, _ in said), 1),
                "tokens": num_tokens,
                "answers": len(said),
                "broken": num_broken,
            }
            print(f"  {num_clients:3d} clients: {figures[str(num_clients)]}", flush=True)
    except ExceptionGroup as err:
        first = err.exceptions[0]
        raise Broken(f"with {num_clients} clients: {type(first).__name__}: {first}", figures) from err
    except TimeoutError as err:
        raise Broken(f"with {num_clients} clients: not done in {MOST_SECONDS:.0f} s of all", figures) from err
    return figures


def ratio(results: dict[str, Any], clients: int) -> float | None:
    """Our fastest engine over the fastest peer; None where either was not measured."""

    def best(ours: bool) -> float:
        rates = [
            one[str(clients)]["tokens_per_second"]
            for name, one in results.items()
            if isinstance(one, dict) and str(clients) in one and name.startswith("gateway-") == ours
        ]
        return max(rates, default=0.0)

    return round(best(True) / best(False), 2) if best(True) and best(False) else None


def first_token(results: dict[str, Any], ours: str | None, clients: int) -> float | None:
    """Our fastest engine's time to the first token over the earliest peer's; None where either was not measured."""
    found = {name: one[str(clients)]["first_token_ms"] for name, one in results.items() if one and str(clients) in one}
    peers = [value for name, value in found.items() if not name.startswith("gateway-")]
    return round(found[ours] / min(peers), 2) if ours in found and peers else None


def main() -> int:
    if sys.argv[1:2] == ["--export"]:
        from components.serving.choice import export

        export(Path(sys.argv[2]), task="generation", folder=Path(sys.argv[2]).parent / "graph")
        return 0
    if sys.argv[1:2] == ["--gateway"]:
        serve_gateway(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
        return 0
    from transformers import AutoTokenizer

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers go with whoever is told to stop
    results: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="banyan-serve-") as scratch:
        folder = model_folder(Path(scratch))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        texts = prompts(folder, 1 + sum(CLIENTS) * NUM_REQUESTS)
        servers: list[tuple[str, Any]] = [(f"gateway-{one}", lambda one=one: gateway(one, folder)) for one in ENGINES]
        peers = {
            "transformers": lambda: transformers_serve(folder, batching=True),
            "transformers-plain": lambda: transformers_serve(folder, batching=False),
            "llama": lambda: llama_server(folder),
        }
        names = [one for name in PEERS for one in ([name, "transformers-plain"] if name == "transformers" else [name])]
        servers += [(name, peers[name]) for name in names]
        for name, start in servers:
            if name == "transformers-plain" and "transformers" not in reasons:
                continue
            print(name, flush=True)
            try:
                with start() as (url, model):
                    results[name] = measure(url, model, texts, tokenizer)
            except Broken as err:
                results[name], reasons[name] = err.figures or None, str(err)[:300]
            except (Missing, httpx.HTTPError, OSError, subprocess.SubprocessError) as err:
                results[name], reasons[name] = None, f"{type(err).__name__}: {err}"[:300]
            if name in reasons:
                print(f"  not measured whole: {reasons[name]}", flush=True)
    packages = ("torch", "transformers", "openvino-genai")
    fastest = max(
        (name for name, one in results.items() if one and name.startswith("gateway-")),
        key=lambda name: max(one["tokens_per_second"] for one in results[name].values()),
        default=None,
    )
    found = {
        "ratio_vs_best_peer_at_8": ratio(results, 8),
        "ratio_vs_best_peer_at_32": ratio(results, 32),
        "first_token_vs_best_peer": {str(n): first_token(results, fastest, n) for n in CLIENTS},
        "first_token_ms": {
            name: {k: v["first_token_ms"] for k, v in one.items()} for name, one in results.items() if one
        },
        "engine": fastest,
        "precision": "bfloat16 weights; openvino computes in bfloat16 where the processor has it",
        "results": results,
        "not_measured": reasons,
        "prompt_tokens": NUM_PROMPT,
        "most_answer_tokens": NUM_ANSWER,
        "requests_a_client": NUM_REQUESTS,
        "threads": THREADS,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "versions": {name: _version(name) for name in packages} | {"llama": os.environ.get("LLAMA_SERVER", XLLAMACPP)},
    }
    print(json.dumps(found))
    return 0 if any(results.values()) else 2


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    raise SystemExit(main())
