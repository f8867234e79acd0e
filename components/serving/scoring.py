"""What the serving path reads of a text and how likely it finds what it is given: what the parity gate compares.

By the very code that answers: a writer's texts go through its decoder, joining and leaving its batch, with the next
tokens given instead of chosen; of other models every call that the task makes while it answers is listened to.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from components.serving.decoding import Decodes, Draft, Sampling
from components.tasks.base import Task, column_type

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WAVE = 8
"""Texts of a mixed batch that join at once; the next ones join after a token."""


@dataclass(frozen=True)
class Read:
    """One reading of a text (a long one takes several, in windows).

    Of a writer `values` are the log-probabilities in nats of the tokens after `num_given`; of other models the
    probabilities of all that the head tells apart, in its order, at each token where it has some.
    """

    ids: tuple[int, ...]
    """The tokens that were read: of a writer its prompt, then what was given or, where it cannot be, generated."""
    num_given: int
    values: tuple[float, ...]


def forced(decoder: Decodes, texts: Sequence[str], given: Sequence[Sequence[int]], *, together: bool) -> list[Read]:
    """The log-probabilities of `given` tokens after each text; alone, or in batches that are joined while they run."""
    drafts = [
        Draft(text, Sampling(max_tokens=len(tokens)), lambda _: None, forced=tuple(tokens))
        for text, tokens in zip(texts, given, strict=True)
    ]
    waiting = list(drafts)
    while waiting or decoder.num_rows:
        if decoder.num_rows:
            decoder.step()
        room = min(WAVE, decoder.max_rows - decoder.num_rows) if together else 1 - decoder.num_rows
        if waiting and room > 0:
            wave, waiting = waiting[:room], waiting[room:]
            decoder.join(wave)
    for draft in drafts:
        draft.done.result(0)
    return [Read((*draft.prompt, *draft.forced), len(draft.prompt), tuple(draft.logprobs)) for draft in drafts]


def written(decoder: Decodes, texts: Sequence[str], *, most: int, together: bool) -> list[Read]:
    """What is written after each text by itself, at most `most` tokens: the way of the cache, token by token."""
    drafts = [Draft(text, Sampling(max_tokens=most), lambda _: None) for text in texts]
    waiting = list(drafts)
    while waiting or decoder.num_rows:
        room = min(WAVE, decoder.max_rows - decoder.num_rows) if together else 1 - decoder.num_rows
        if waiting and room > 0:
            wave, waiting = waiting[:room], waiting[room:]
            decoder.join(wave)
        decoder.step()
    for draft in drafts:
        draft.done.result(0)
    return [
        Read((*draft.prompt, *draft.ids), len(draft.prompt), tuple(draft.logprobs[: len(draft.ids)]))
        for draft in drafts
    ]


def overheard(
    task: Task, model: Any, tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], *, together: bool
) -> list[list[Read]]:
    """Per text: what a classifier, a tagger or a reader of spans read and said, each window once.

    Together, whose windows they are is told by their tokens: of two texts that read alike both have both.
    """
    if not together:
        found = []
        for text in texts:
            ear = _Ear(model, task)
            task.answer(ear, tokenizer, [text])  # type: ignore[arg-type]
            found.append(ear.reads)
        return found
    ear = _Ear(model, task)
    task.answer(ear, tokenizer, list(texts))  # type: ignore[arg-type]
    return [ear.reads]


class _Ear:
    """A model that remembers its calls."""

    def __init__(self, model: Any, task: Task) -> None:
        self._model, self._says = model, says_of(task)
        self.reads: list[Read] = []

    def __call__(self, **inputs: "torch.Tensor") -> Any:
        out = self._model(**inputs)
        self.reads += reads_of(out, inputs, says=self._says)
        return out

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


Says = Literal["one", "each", "number"]
"""Whether a head says one out of all, each label by itself, or a number."""


def says_of(task: Task) -> Says:
    """What a task's head says: a classifier whose answers are lists says each label by itself."""
    if task.head == "regressor":
        return "number"
    is_set = task.head == "classifier" and column_type(task, task.columns[1]) == "json"
    return "each" if is_set else "one"


def reads_of(out: Any, inputs: "Mapping[str, torch.Tensor]", *, says: Says = "one") -> Iterator[Read]:
    """What a head said in one call: a `Read` a row; padding is left out. Probabilities; of a regressor the number."""
    for row, mask in enumerate(inputs["attention_mask"].bool()):
        if getattr(out, "start_logits", None) is not None:  # of spans: which token is the first, which the last
            said = [out.start_logits[row][mask], out.end_logits[row][mask]]  # (T,) each
        else:  # a tagger's (T, tags), a classifier's (labels,)
            said = [out.logits[row][mask] if out.logits.dim() == 3 else out.logits[row]]
        values = [value for one in said for value in _values(one.float(), says).flatten().tolist()]
        ids = tuple(inputs["input_ids"][row][mask].tolist())
        yield Read(ids, len(ids), tuple(values))


def _values(logits: "torch.Tensor", says: Says) -> "torch.Tensor":
    return logits if says == "number" else logits.sigmoid() if says == "each" else logits.softmax(-1)


def generated(
    model: "PreTrainedModel", task: Task, tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], *, most: int
) -> list[Read]:
    """Of models that keep no plain keys and values: what they write by themselves, at most `most` tokens a text.

    Listened to at the body, which is fed tokens, and at the head, whose likeliest token is what is written.
    """
    starts: list[tuple[int, torch.Tensor, torch.Tensor]] = []  # at which call of the head which rows begin
    heads: list[torch.Tensor] = []  # (B, V) each
    body: Any = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    head: Any = model.get_output_embeddings()

    def on_body(_: Any, args: Any, kwargs: Any, __: Any) -> None:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        mask = kwargs["attention_mask"]
        if mask.shape == ids.shape:  # later calls feed one token, and the mask of all
            starts.append((len(heads), ids, mask.bool()))

    def on_head(_: Any, __: Any, out: Any) -> None:
        heads.append(out if out.dim() == 2 else out[:, -1])

    generation: Any = model.generation_config
    longest, generation.max_new_tokens = generation.max_new_tokens, most
    hooks = [body.register_forward_hook(on_body, with_kwargs=True), head.register_forward_hook(on_head)]
    try:
        task.answer(model, tokenizer, list(texts))
    finally:
        generation.max_new_tokens = longest
        for hook in hooks:
            hook.remove()
    ends = [first for first, _, _ in starts[1:]] + [len(heads)]
    found = []
    for (first, ids, mask), end in zip(starts, ends, strict=True):
        for row, own in enumerate(mask):
            prompt = tuple(ids[row][own].tolist())
            best = [one[row].float().log_softmax(-1).max(-1) for one in heads[first:end]]
            tokens = [int(token) for _, token in best]
            length = tokens.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in tokens else len(tokens)
            values = tuple(float(value) for value, _ in best[:length])
            found.append(Read((*prompt, *tokens[:length]), len(prompt), values))
    return found
