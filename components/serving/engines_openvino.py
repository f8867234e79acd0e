"""The OpenVINO engine: a version's own graph on the CPU, its texts written by GenAI's continuous batching.

Everything around the model stays as it is: the task's template and our tokenizer (the one that GenAI reads from a file
was silently wrong), merged adapters, our queue. GenAI gets token ids and gives token ids back.
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from components.errors import ServingError
from components.refs import ModelRef
from components.serving.decoding import Decodes, Draft, goes_on, whole
from components.serving.engines import TorchEngine
from components.serving.openvino_export import GRAPH, LAST_HIDDEN
from components.tasks.base import Answer, Task, Writer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

MAX_ROWS = 32
BLOCK_TOKENS = 32
"""Of GenAI's cache on the CPU."""
SPARE_TOKENS = 256
"""A text beyond its prompt, on average: so much of the cache is set aside for each of `MAX_ROWS`."""
DTYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenVinoEngine(TorchEngine):
    """One model version on the CPU, by OpenVINO.

    `exact`: everything in float32, which is for the parity gate's first step; else in bfloat16 where the weights are
    stored so and the processor has it.
    """

    name = "openvino"

    def __init__(
        self, ref: ModelRef, model_dir: Path, *, task: str, graph_dir: Path, exact: bool = False, warm: bool = True
    ) -> None:
        """Compile; takes seconds. `graph_dir` is what `openvino_export` made of `model_dir`.

        Raises:
            InputFileError: no tokenizer or configuration that can be read in `model_dir`.
            ServingError: OpenVINO cannot read the graph.
        """
        self._graph = graph_dir
        self._exact = exact
        super().__init__(ref, model_dir, task=task, warm=warm)
        self.takes_given = True

    def _load(self, model_dir: Path) -> "tuple[Any, PreTrainedTokenizerBase]":
        """The model's outside: what the tasks and `TorchEngine` ask of one that is no writer's."""
        import torch
        from transformers import AutoConfig, AutoTokenizer, GenerationConfig

        config = AutoConfig.from_pretrained(model_dir, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
        precision = serving_precision(str(config.dtype or "float32").removeprefix("torch."), exact=self._exact)
        self._properties = {
            "INFERENCE_PRECISION_HINT": DTYPES[precision],
            "KV_CACHE_PRECISION": DTYPES[precision],
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",  # weights that are quantised while they are read are not these
            "INFERENCE_NUM_THREADS": str(torch.get_num_threads()),
        }
        generation = GenerationConfig.from_pretrained(model_dir) if self._task.head == "generator" else None
        about = {"config": config, "generation_config": generation, "dtype": getattr(torch, precision)}
        if self._task.head == "generator":
            return SimpleNamespace(**about), tokenizer
        return Head(self._graph, self._properties, **about), tokenizer

    def _decoder(self) -> Decodes | None:
        if not isinstance(self._task, Writer):
            return None
        longest = int(self._tokenizer.model_max_length)
        return PagedDecoder(self._graph, self._tokenizer, self._task, self._properties, longest_prompt=longest)

    def answer(self, texts: list[str]) -> list[Answer]:
        """Whole answers; what is being written meanwhile goes on beside them."""
        if self.decoder is None:
            return super().answer(texts)
        most = int(self._model.generation_config.max_new_tokens or self.max_new_tokens)
        return [Answer(one.text, one.confidence) for one in whole(self.decoder, texts, max_tokens=most)]


def serving_precision(stored: str, *, exact: bool = False) -> str:
    """What the processor computes such weights in: bfloat16 only where it has instructions for it."""
    if exact or stored == "float32":
        return "float32"
    import openvino as ov

    return "bfloat16" if "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "float32"


class Head:
    """An encoder that is called as a model of transformers is."""

    device = "cpu"

    def __init__(self, folder: Path, properties: dict[str, str], **about: Any) -> None:
        import openvino as ov

        try:
            self._compiled = ov.Core().compile_model(folder / GRAPH, "CPU", properties)
        except RuntimeError as err:
            raise ServingError(f"OpenVINO cannot read {folder / GRAPH}: {err}") from err
        self.config: Any = about["config"]
        self.dtype: Any = about["dtype"]
        self.generation_config = None

    def __call__(self, *, input_ids: "torch.Tensor", attention_mask: "torch.Tensor", **_: Any) -> Any:
        import torch

        found = self._compiled({"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()})
        named = {next(iter(port.names)): torch.from_numpy(value.copy()) for port, value in found.items()}
        return SimpleNamespace(**named)

    def base_model(self, **inputs: Any) -> Any:
        """Its last hidden states."""
        return SimpleNamespace(last_hidden_state=getattr(self(**inputs), LAST_HIDDEN))


class PagedDecoder:
    """Drafts in GenAI's continuous batching, each joining and leaving it by itself.

    What it does not refuse is refused here: a prompt that its cache cannot hold would be ignored, and all behind it
    with it; a request id that is given twice makes every step fail; a queue of its own has no bound.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: "PreTrainedTokenizerBase",
        task: Task,
        properties: dict[str, str],
        *,
        longest_prompt: int,
        max_rows: int = MAX_ROWS,
    ) -> None:
        import openvino_genai as genai

        self.max_rows = self.max_joins = max_rows  # GenAI reads prompts in parts, beside the tokens of the others
        self._tokenizer = tokenizer
        self._task: Any = task
        self._end = int(tokenizer.eos_token_id)
        self._capacity = max_rows * (min(longest_prompt, 4096) + SPARE_TOKENS)
        self._rows: list[tuple[Draft, Any]] = []
        self._next_id = 0
        how = genai.SchedulerConfig()
        how.num_kv_blocks = -(-self._capacity // BLOCK_TOKENS) + max_rows
        how.max_num_seqs = max_rows
        # A prefix out of the cache was computed in another batch: an answer would depend on who asked before.
        how.enable_prefix_caching = False
        try:
            self._pipeline = genai.ContinuousBatchingPipeline(str(folder), how, "CPU", properties)
        except RuntimeError as err:
            raise ServingError(f"OpenVINO cannot write with {folder}: {err}") from err

    @property
    def num_rows(self) -> int:
        return len(self._rows)

    def join(self, drafts: Sequence[Draft]) -> None:
        """Hand the drafts over; their first tokens come with the next step.

        Raises:
            ServingError: one of them has no tokens, or more than the cache holds; none is handed over then.
        """
        import numpy as np
        import openvino as ov

        prompts = self._task.prompts([draft.text for draft in drafts], self._tokenizer)
        for draft, prompt in zip(drafts, prompts, strict=True):
            draft.prompt = prompt
            ids = [*prompt, *draft.forced]
            if not prompt or len(ids) + draft.sampling.max_tokens > self._capacity:
                raise ServingError(f"{len(ids)} tokens and {draft.sampling.max_tokens} more are not to be written")
        for draft in drafts:
            read = np.array([[*draft.prompt, *draft.forced]], dtype=np.int64)
            handle = self._pipeline.add_request(self._next_id, ov.Tensor(read), self._config(draft))
            self._next_id += 1
            self._rows.append((draft, handle))

    def step(self) -> None:
        """Write one token of every draft, or read on in a long prompt; those that are cancelled leave first."""
        self._rows = [row for row in self._rows if self._stays(*row)]
        if self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        self._rows = [row for row in self._rows if self._took(*row)]

    def fail(self, err: Exception) -> None:
        """Give every draft up."""
        rows, self._rows = self._rows, []
        for draft, handle in rows:
            handle.cancel()
            if not draft.done.done():
                draft.done.set_exception(err)

    def _config(self, draft: Draft) -> Any:
        import openvino_genai as genai

        how, config = draft.sampling, genai.GenerationConfig()
        config.eos_token_id, config.stop_token_ids = self._end, {self._end}
        config.logprobs = 1
        if draft.forced:  # nothing is written: what is given is looked at
            config.echo, config.max_new_tokens = True, 0
            return config
        config.max_new_tokens = how.max_tokens
        if how.temperature > 0:
            config.do_sample, config.temperature, config.top_p = True, how.temperature, how.top_p
            config.rng_seed = how.seed
        return config

    def _stays(self, draft: Draft, handle: Any) -> bool:
        if draft.is_cancelled:
            handle.cancel()
            draft.finish("cancelled")
        return not draft.is_cancelled

    def _took(self, draft: Draft, handle: Any) -> bool:
        """Whether the draft goes on after what there is to read; `read` on nothing would wait for ever."""
        while handle.can_read():
            [out] = handle.read().values()
            if draft.forced:
                draft.ids = list(draft.forced)
                draft.logprobs = [float(one) for one in out.generated_log_probs[len(draft.prompt) :]]
                draft.finish("length")
                return False
            for token, logprob in zip(out.generated_ids, out.generated_log_probs, strict=True):
                draft.logprobs.append(float(logprob))
                draft.logprob += float(logprob) if token != self._end else 0.0
                if not goes_on(draft, int(token), task=self._task, tokenizer=self._tokenizer):
                    handle.cancel()
                    return False
        if handle.get_status().name in ("RUNNING", "CACHED"):
            return True
        if handle.get_status().name != "FINISHED":
            draft.done.set_exception(ServingError(f"OpenVINO gave a text up: {handle.get_status().name}"))
            return False
        draft.show(self._task.said(draft.ids, self._tokenizer))
        draft.finish("stop")  # an end that it did not tell as a token
        return False
