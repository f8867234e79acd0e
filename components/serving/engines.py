"""The torch engine: the reference for every family. It answers by the task's own `answer`, as evaluation does."""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from components.errors import RecipeError
from components.refs import ModelRef
from components.registry import PREFIX, Registry
from components.serving import scoring
from components.serving.champions import Champions
from components.serving.decoding import Decoder, Decodes, can_stream
from components.serving.scoring import Read
from components.settings import Settings
from components.supervisor import addresses
from components.tasks import all_tasks, get_task
from components.tasks.base import Answer, Task, Writer, template_sha256

MOST_NEW_TOKENS = 1024
EMBED_BATCH = 16
STANDBY_SECONDS = 3600.0
"""How long a replaced champion stays in memory: a roll-back soon after a promotion then takes no loading."""
BIDIRECTIONAL = {
    "bert",
    "roberta",
    "distilbert",
    "electra",
    "mpnet",
    "albert",
    "xlm-roberta",
    "modernbert",
    "deberta-v2",
}
"""Model types whose hidden states make embeddings."""

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class TorchEngine:
    """One model version on the CPU, in the precision it is stored in."""

    name = "torch"
    instead = ""
    """Why it answers and not the engine that was asked for."""

    def __init__(self, ref: ModelRef, model_dir: Path, *, task: str, warm: bool = True) -> None:
        """Load and warm up; takes seconds.

        Raises:
            InputFileError: no model that can be read in `model_dir`.
        """
        import torch  # 1.0 s
        import transformers  # 0.5 s

        transformers.logging.disable_progress_bar()  # a log is no place for one
        # A core stays free for the event loop and for a model that loads meanwhile: sharing every core with another
        # process made torch ten times slower.
        torch.set_num_threads(max(1, min(2, (os.cpu_count() or 1) - 1)))
        self.ref = ref
        self.task = task
        self._task: Task = get_task(task)
        self._model, self._tokenizer = self._load(model_dir)
        self.example = self._task.example
        names = self._model.config.id2label if self._task.head == "classifier" else None
        self.labels = tuple(str(name) for _, name in sorted((names or {}).items()))
        self.template_sha256 = template_sha256(self._task)
        self.generation = generation_parameters(self._task, self._model, self._tokenizer, engine=self.name)
        self.generation |= {"tokenizer_sha256": sha256} if (sha256 := _tokenizer_sha256(model_dir)) else {}
        self.precision = str(self._model.dtype).removeprefix("torch.")
        self.decoder = self._decoder()
        self.takes_given = self.decoder is not None or self._task.head != "generator"
        self.max_new_tokens = self._longest() if self.decoder else 0
        self.num_dimensions = int(self._model.config.hidden_size) if _is_encoder(self._model) else None
        if warm:
            self.answer([self.example])

    def _load(self, model_dir: Path) -> "tuple[Any, PreTrainedTokenizerBase]":
        from components.models.pretrained import load_trained

        return load_trained(model_dir, task=self._task)

    def _decoder(self) -> Decodes | None:
        if isinstance(self._task, Writer) and can_stream(self._model, self._tokenizer):
            return Decoder(self._model, self._tokenizer, self._task)
        return None

    def answer(self, texts: list[str]) -> list[Answer]:
        return self._task.answer(self._model, self._tokenizer, texts)

    def score(self, texts: list[str], given: list[list[int]], *, together: bool) -> list[list[Read]]:
        """What is read of each text, and what is thought of what follows: of `given` tokens where it is a decoder's.

        One list a text; `together`, of other than decoders', one list of all.
        """
        if self.decoder and not self.takes_given:
            most = max(map(len, given))
            return [[read] for read in scoring.written(self.decoder, texts, most=most, together=together)]
        if self.decoder:
            return [[read] for read in scoring.forced(self.decoder, texts, given, together=together)]
        if self._task.head != "generator":
            return scoring.overheard(self._task, self._model, self._tokenizer, texts, together=together)
        most = max(map(len, given))
        groups = [texts] if together else [[text] for text in texts]
        return [scoring.generated(self._model, self._task, self._tokenizer, group, most=most) for group in groups]

    def num_tokens(self, asked: str, said: str = "") -> tuple[int, int]:
        """How many tokens the model reads of what is asked, template and all, and how many what is said has."""
        if isinstance(self._task, Writer):
            num_asked = len(self._task.prompts([asked], self._tokenizer)[0])
        else:
            num_asked = len(self._tokenizer(asked, truncation=True)["input_ids"])
        return num_asked, len(self._tokenizer(said, add_special_tokens=False)["input_ids"])

    def embed(self, texts: list[str]) -> list[list[float]]:
        """The mean of the last hidden states over each text's tokens, of length 1 (Sentence-BERT, Reimers 2019)."""
        import torch

        vectors: list[list[float]] = []
        for start in range(0, len(texts), EMBED_BATCH):
            some = texts[start : start + EMBED_BATCH]
            batch = self._tokenizer(some, truncation=True, padding=True, return_tensors="pt")
            with torch.inference_mode():
                hidden = self._model.base_model(**batch).last_hidden_state.float()  # (B, T, C)
            mask = batch["attention_mask"][..., None]  # (B, T, 1)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            vectors += torch.nn.functional.normalize(mean, dim=-1).tolist()
        return vectors

    def _longest(self) -> int:
        most = getattr(self._model.config, "max_position_embeddings", None)
        room = int(most) - int(self._tokenizer.model_max_length) if most else MOST_NEW_TOKENS
        return max(1, min(MOST_NEW_TOKENS, room))


def _is_encoder(model: Any) -> bool:
    """A classifier over a transformer that reads both ways; a decoder's states know nothing of what comes after."""
    kind = (model.config.architectures or [type(model).__name__])[0]
    return "ForSequenceClassification" in kind and model.config.model_type in BIDIRECTIONAL


def _tokenizer_sha256(model_dir: Path) -> str:
    """Of the tokenizer's file, as it lies with the weights; empty where there is none."""
    file = model_dir / "tokenizer.json"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def generation_parameters(
    task: Task, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", *, engine: str = "torch"
) -> dict[str, JsonValue]:
    """What shapes an answer besides weights and template: lengths in tokens, precision, decoding."""
    shape: dict[str, JsonValue] = {
        "engine": engine,
        "precision": str(model.dtype).removeprefix("torch."),
        "max_length_tokens": int(tokenizer.model_max_length),
    }
    if task.head == "generator" and model.generation_config is not None:
        config = model.generation_config
        shape["max_new_tokens"] = config.max_new_tokens
        shape["do_sample"] = bool(config.do_sample)
        for name in ("temperature", "top_p", "top_k", "num_beams", "repetition_penalty"):
            if config.do_sample or name in {"num_beams", "repetition_penalty"}:
                shape[name] = getattr(config, name)
    return shape


def registry_champions(settings: Settings) -> Champions:
    """The registry's champions, by the engine that the settings ask for and the parity gate admits.

    The registry's address is asked for at every look, so the gateway may start before MLflow does, and follows it.

    Raises:
        RecipeError: vLLM is to answer, and no address of it is given.
    """
    if settings.engine == "vllm" and not settings.vllm_url:
        raise RecipeError("BANYAN_ENGINE=vllm needs an address", "BANYAN_VLLM_URL=http://HOST:PORT")
    registry: Registry | None = None
    served = {task.name for task in all_tasks()}  # a model that only continues text is asked nowhere
    tasks: dict[tuple[str, int], str] = {}

    def ask() -> Registry:
        nonlocal registry
        url = addresses(settings).mlflow
        if registry is None or registry.url != url:
            registry = Registry(url)
        return registry

    def task_of(ref: ModelRef) -> str:
        if (ref.name, ref.version) not in tasks:  # a version's task never changes
            tasks[ref.name, ref.version] = ask().get(ref).task
        return tasks[ref.name, ref.version]

    def find() -> dict[str, ModelRef]:
        found = {name: ref for name, ref in ask().champions().items() if name.startswith(PREFIX)}
        return {name.removeprefix(PREFIX): ref for name, ref in found.items() if task_of(ref) in served}

    def load(_: str, ref: ModelRef) -> TorchEngine:
        from components.evaluation.admission import PARITY_FILE
        from components.serving.choice import choose

        asked = ask()
        return choose(
            ref,
            asked.fetch(ref, settings),
            task=task_of(ref),
            settings=settings,
            tags=dict(asked.get(ref).tags),
            admission=lambda: asked.artifact(ref, PARITY_FILE),
        )

    return Champions(
        find=find,
        load=load,
        standby_seconds=STANDBY_SECONDS,
        resolve=lambda table, version: ask().ref(PREFIX + table, version),
    )
