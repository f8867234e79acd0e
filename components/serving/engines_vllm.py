"""The engine by address: a version's weights in somebody else's server of OpenAI's completions, vLLM on a GPU foremost.

Everything around the model stays here, as for OpenVINO: the task's template, our tokenizer, the end of an answer, our
queue, the receipt. The server gets token ids, and gives token ids with their log-probabilities back. What a server
calls a version is `banyan-TABLE@VERSION`, so that no answer can be of another one by mistake.
"""

import functools
import queue
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from components.errors import ServingError
from components.refs import ModelRef
from components.serving.completions_client import (
    MAX_CONNECTIONS,
    Given,
    Server,
    find_server,
    tokens_of,
    values_of_given,
)
from components.serving.decoding import Decodes, Draft, goes_on, whole
from components.serving.engines import TorchEngine
from components.tasks.base import Answer, Task, Writer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PAUSE_SECONDS = 0.02
"""How long a step waits for any token at most: a text that comes meanwhile joins after it."""


class VllmEngine(TorchEngine):
    """One model version in a server that has it under the name `served_name` gives."""

    name = "vllm"

    def __init__(
        self,
        ref: ModelRef,
        model_dir: Path,
        *,
        task: str,
        urls: Sequence[str],
        key: str | None = None,
        timeout_seconds: float = 60.0,
        warm: bool = True,
    ) -> None:
        """Find the server among `urls`; nothing is loaded here but the tokenizer.

        Args:
            key: sent as `Authorization: Bearer`.
            timeout_seconds: the longest silence of the server before a text is given up.

        Raises:
            ServingError: no server has the version, one gives no log-probabilities, or the task does not write.
            InputFileError: no tokenizer or configuration that can be read in `model_dir`.
        """
        self._folder = model_dir
        self._wanted = (list(urls), key, timeout_seconds)
        super().__init__(ref, model_dir, task=task, warm=warm)
        self.takes_given = isinstance(self.decoder, RemoteDecoder) and self.decoder.given != ""

    def _load(self, model_dir: Path) -> "tuple[Any, PreTrainedTokenizerBase]":
        """What is known of the model without its weights."""
        import torch
        from transformers import AutoConfig, AutoTokenizer, GenerationConfig

        config = AutoConfig.from_pretrained(model_dir, local_files_only=True)
        if not isinstance(self._task, Writer) or config.is_encoder_decoder:
            raise ServingError(f"a server by address writes as causal models do, which {self.ref} does not")
        tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
        dtype = str(config.dtype or "float32").removeprefix("torch.")
        about = {"config": config, "generation_config": GenerationConfig.from_pretrained(model_dir)}
        return SimpleNamespace(**about, dtype=getattr(torch, dtype)), tokenizer

    def _decoder(self) -> Decodes:
        urls, key, timeout_seconds = self._wanted
        name = served_name(self.ref)
        start = f"vllm serve {self._folder} --served-model-name {name} --dtype {self.precision}"
        server, self._longest_text = find_server(urls, name, key=key, timeout_seconds=timeout_seconds, start=start)
        [probe] = self._task.prompts([self.example], self._tokenizer)  # type: ignore[attr-defined]
        return RemoteDecoder(server, self._tokenizer, self._task, given=server.takes_given(probe))

    def _longest(self) -> int:
        here = super()._longest()
        if self._longest_text is None:
            return here
        return max(1, min(here, self._longest_text - int(self._tokenizer.model_max_length)))

    def answer(self, texts: list[str]) -> list[Answer]:
        """Whole answers; what is being written meanwhile goes on beside them."""
        assert self.decoder is not None
        most = int(self._model.generation_config.max_new_tokens or self.max_new_tokens)
        return [Answer(one.text, one.confidence) for one in whole(self.decoder, texts, max_tokens=most)]


def served_name(ref: ModelRef) -> str:
    """What a server must call the version."""
    return f"{ref.name}@{ref.version}"


class RemoteDecoder:
    """Drafts in a server, which batches them as it likes. For one thread; the server is read in another."""

    def __init__(
        self,
        server: Server,
        tokenizer: "PreTrainedTokenizerBase",
        task: Task,
        *,
        given: Given,
        max_rows: int = MAX_CONNECTIONS,
    ) -> None:
        self.max_rows = self.max_joins = max_rows
        self.given = given
        self._server = server
        self._tokenizer = tokenizer
        self._task: Any = task
        self._end = int(tokenizer.eos_token_id)
        self._rows: dict[Draft, Callable[[], object]] = {}
        self._told: queue.SimpleQueue[tuple[Draft, Any]] = queue.SimpleQueue()

    @property
    def num_rows(self) -> int:
        return len(self._rows)

    def join(self, drafts: Sequence[Draft]) -> None:
        """Send the drafts' prompts; their tokens come with later steps."""
        prompts = self._task.prompts([draft.text for draft in drafts], self._tokenizer)
        for draft, prompt in zip(drafts, prompts, strict=True):
            draft.prompt = prompt
            self._rows[draft] = self._server.read(self._body(draft), functools.partial(self._hear, draft))

    def _hear(self, draft: Draft, part: Any) -> None:
        """In the thread that reads the server."""
        self._told.put((draft, part))

    def step(self) -> None:
        """Take what has come, or wait a moment for it; those that are cancelled leave first."""
        for draft in [draft for draft in self._rows if draft.is_cancelled]:
            self._leave(draft)
            draft.finish("cancelled")
        if not self._rows:
            return
        try:
            self._take(*self._told.get(timeout=PAUSE_SECONDS))
            while True:
                self._take(*self._told.get_nowait())
        except queue.Empty:
            pass

    def fail(self, err: Exception) -> None:
        """Give every draft up."""
        for draft in list(self._rows):
            self._give_up(draft, err)

    def _body(self, draft: Draft) -> dict[str, Any]:
        how = draft.sampling
        if draft.forced:
            body = self._server.body([*draft.prompt, *draft.forced], max_tokens=1)
            return body | ({"echo": True} if self.given == "echo" else {"prompt_logprobs": 1})
        body = self._server.body(draft.prompt, max_tokens=how.max_tokens) | {"stream": True}
        if how.temperature > 0:
            body |= {"temperature": how.temperature, "top_p": how.top_p, "seed": how.seed}
        return body

    def _take(self, draft: Draft, part: Any) -> None:
        if draft not in self._rows:  # it has left meanwhile
            return
        if isinstance(part, Exception):
            self._give_up(draft, part)
            return
        try:
            if part is None or "error" in part:
                raise ValueError("it ended in the middle")
            ended = [self._forced(draft, one) if draft.forced else self._written(draft, one) for one in part["choices"]]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as err:
            self._give_up(draft, self._server.down(err))
            return
        if any(ended):
            self._leave(draft)

    def _written(self, draft: Draft, choice: Mapping[str, Any]) -> bool:
        """Whether the draft has ended with this piece."""
        ids, logprobs = tokens_of(choice)
        if choice.get("text") and not ids:
            raise ValueError("a piece without its tokens")
        for token, logprob in zip(ids, logprobs, strict=True):
            draft.logprobs.append(logprob)
            draft.logprob += logprob if token != self._end else 0.0
            if not goes_on(draft, token, task=self._task, tokenizer=self._tokenizer):
                return True
        if not choice.get("finish_reason"):
            return False
        draft.show(self._task.said(draft.ids, self._tokenizer))
        draft.finish("length" if choice["finish_reason"] == "length" else "stop")  # an end it did not tell as a token
        return True

    def _forced(self, draft: Draft, choice: Mapping[str, Any]) -> bool:
        values = values_of_given(choice, [*draft.prompt, *draft.forced], self.given)[len(draft.prompt) :]
        draft.ids = list(draft.forced)
        draft.logprobs = [float(value) for value in values if value is not None]
        draft.finish("length")
        return True

    def _leave(self, draft: Draft) -> None:
        self._rows.pop(draft)()  # the server hears it by the connection's end

    def _give_up(self, draft: Draft, err: Exception) -> None:
        self._leave(draft)
        if not draft.done.done():
            draft.done.set_exception(err)
