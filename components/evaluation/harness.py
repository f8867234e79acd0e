"""EleutherAI's LM Evaluation Harness (the extra `eval`) on our causal models, through its own interface.

Gao et al. 2024, doi 10.5281/zenodo.12608602. Tasks are local YAML files; nothing is fetched.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import InputFileError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from components.settings import Settings

REMEDY = "pip install 'banyan-llm[eval]'"


class Reader:
    """What the harness asks of a causal model: how likely a text is, and how another one goes on."""

    def __init__(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", *, max_tokens: int, batch_size: int = 8
    ) -> None:
        """`max_tokens`: what is longer loses its beginning."""
        self.model, self.tokenizer = model.eval(), tokenizer
        self.max_tokens, self.batch_size = max_tokens, batch_size

    @property
    def start(self) -> int:
        """What stands before a text that has nothing before it."""
        start = self.tokenizer.bos_token_id
        return int(self.tokenizer.eos_token_id if start is None else start)

    def ids(self, text: str) -> list[int]:
        """Tokens without special ones."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return found

    def pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Tokens of both: blanks at the context's end belong to the continuation's first token."""
        blanks = len(context) - len(context.rstrip())
        if blanks:
            context, continuation = context[:-blanks], context[-blanks:] + continuation
        whole, before = self.ids(context + continuation), self.ids(context)
        return before or [self.start], whole[len(before) :]

    def likelihoods(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        """Per (context, continuation): log-probability of the continuation in nats; whether greedy decoding says it."""
        import torch

        found: list[tuple[float, bool]] = [(0.0, True)] * len(pairs)
        order = sorted(
            (i for i, (_, after) in enumerate(pairs) if after), key=lambda i: -len(pairs[i][0]) - len(pairs[i][1])
        )
        for at in range(0, len(order), self.batch_size):
            some = order[at : at + self.batch_size]
            rows = [(pairs[i][0] + pairs[i][1])[-(self.max_tokens + 1) :][:-1] for i in some]
            length = max(map(len, rows))
            ids = torch.tensor([row + [0] * (length - len(row)) for row in rows], device=self.model.device)
            mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=self.model.device)
            with torch.inference_mode():
                logits = self.model(input_ids=ids, attention_mask=mask).logits  # (B, T, V)
            for row, i in enumerate(some):
                after = torch.tensor(pairs[i][1][-self.max_tokens :], device=logits.device)
                own = logits[row, len(rows[row]) - len(after) : len(rows[row])].float().log_softmax(-1)
                chosen = own.gather(-1, after[:, None])[:, 0]
                found[i] = (float(chosen.sum()), bool((own.argmax(-1) == after).all()))
        return found

    def rolling(self, text: str) -> float:
        """Log-probability of a whole text in nats: windows that share no token, each after the token before it."""
        ids = self.ids(text)
        before = [self.start, *ids]
        windows = [(before[at : at + 1], ids[at : at + self.max_tokens]) for at in range(0, len(ids), self.max_tokens)]
        return sum(value for value, _ in self.likelihoods(windows))

    def go_on(self, context: str, *, until: Sequence[str], most: int) -> str:
        """The likeliest continuation, before the first of `until`."""
        import torch

        ids = self.ids(context)[-max(1, self.max_tokens - most) :] or [self.start]
        prompt = torch.tensor([ids], device=self.model.device)
        with torch.inference_mode():
            made: Any = self.model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=most,
                do_sample=False,
                pad_token_id=self.tokenizer.eos_token_id,
                **({"stop_strings": list(until), "tokenizer": self.tokenizer} if until else {}),
            )
        said = str(self.tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True))
        return said[: min((at for stop in until if (at := said.find(stop)) >= 0), default=len(said))]


def harness_model(reader: Reader) -> Any:
    """The reader as the harness's own kind of model.

    Raises:
        UsageError: the harness is not installed.
    """
    try:
        from lm_eval.api.model import LM
    except ImportError as err:
        raise UsageError("the LM Evaluation Harness is not installed", REMEDY) from err

    class CausalModel(LM):
        def loglikelihood(self, requests: Any) -> list[tuple[float, bool]]:
            return reader.likelihoods([reader.pair(*request.args) for request in requests])

        def loglikelihood_rolling(self, requests: Any) -> list[float]:
            return [reader.rolling(request.args[0]) for request in requests]

        def generate_until(self, requests: Any) -> list[str]:
            said = []
            for request in requests:
                context, wanted = request.args
                until = wanted.get("until") or []
                until = [until] if isinstance(until, str) else until
                most = int(wanted.get("max_gen_toks", 128))
                said.append(reader.go_on(context, until=[one for one in until if one], most=most))
            return said

    return CausalModel()


def tasks_in(path: Path) -> list[dict[str, Any]]:
    """The harness's tasks in a YAML file or a folder of them; data files are found beside the YAML.

    Raises:
        InputFileError: there is none, or one cannot be read.
    """
    import yaml

    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise InputFileError(f"there is no harness task at {path}", "name a YAML file or a folder with some")
    found = []
    for file in files:
        try:
            task = yaml.safe_load(file.read_text("utf-8"))
            data = task["dataset_kwargs"]["data_files"]
            task["dataset_kwargs"]["data_files"] = {
                split: str((file.parent / name).resolve(strict=True)) for split, name in data.items()
            }
        except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as err:
            raise InputFileError(
                f"{file} is no task of the harness with its data beside it ({type(err).__name__}: {err})",
                "it needs task, dataset_path: json and dataset_kwargs.data_files: {split: file}",
            ) from err
        found.append(task)
    return found


def run_harness(
    which: str, path: Path, *, settings: "Settings", max_rows: int | None = None, batch_size: int = 8
) -> dict[str, Any]:
    """Task → metric → value and standard error, as the harness computes them.

    Args:
        which: a registered causal model, `generation@2`; or a pinned asset, `smollm2`.
        path: as `tasks_in`.

    Raises:
        UsageError: the harness is not installed; the model does not write from left to right.
        InputFileError: as `tasks_in`.
        VersionNotFound, ServiceDown, AssetError: there is no such model, or no registry.
    """
    tasks = tasks_in(path)
    reader, name = reader_of(which, settings=settings, batch_size=batch_size)
    model = harness_model(reader)
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    import lm_eval
    from lm_eval.tasks import TaskManager

    found = lm_eval.simple_evaluate(
        model=model,
        tasks=tasks,
        task_manager=TaskManager(include_defaults=False),
        limit=max_rows,
        bootstrap_iters=1000,
        log_samples=False,
    )
    results = {
        task: {key.removesuffix(",none"): value for key, value in figures.items() if key not in {"alias", "name"}}
        for task, figures in found["results"].items()
    }
    return {"model": name, "tasks": results, "num_rows": found["n-samples"], "lm_eval": lm_eval.__version__}


def reader_of(which: str, *, settings: "Settings", batch_size: int) -> tuple[Reader, str]:
    """A registered causal model, or a pinned asset's; and its name with its version.

    Raises:
        UsageError: the model does not write from left to right.
        VersionNotFound, ServiceDown, AssetError: there is no such model, or no registry.
    """
    import transformers

    from components import assets
    from components.evaluation.registered import find_model, registry_of
    from components.models import pretrained

    if which in assets.load_assets():
        folder, name = assets.weights(which, settings=settings), which
    else:
        registry = registry_of(settings)
        ref = find_model(which, registry=registry)
        folder, name = registry.fetch(ref, settings), str(ref)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    except ValueError as err:  # of our own families, none of which writes from left to right in the library's sense
        raise UsageError(f"{name} does not write from left to right", "name a causal language model") from err
    if config.is_encoder_decoder or "ForCausalLM" not in " ".join(config.architectures or ()):
        raise UsageError(f"{name} does not write from left to right", "name a causal language model")
    model = pretrained.read(folder, transformers.AutoModelForCausalLM, dtype="auto")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    most = int(getattr(config, "max_position_embeddings", 0) or 1024)
    return Reader(model, tokenizer, max_tokens=min(most, 2048), batch_size=batch_size), name
