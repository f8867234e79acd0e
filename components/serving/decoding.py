"""Texts written token by token, many at a time, each joining and leaving the batch by itself (Orca, Yu et al. 2022).

A text that comes joins at the next token; one that ends or is cancelled leaves at once: nobody waits for the longest.
Every row has its own keys, values and positions; rows of unequal length are padded on the left and masked there. What a
model carries along instead (a recurrence its state, others their last few tokens) goes with its row.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from components.ledger.schema import FinishReason
from components.tasks.base import Writer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


MAX_JOINS = 4
"""Prompts that torch reads at once, between two tokens of the others."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Temperature 0 takes the likeliest; then `top_p` and `seed` have no part in it."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends."""


@dataclass(frozen=True)
class Written:
    """A text that has ended. `confidence`: the geometric mean probability of its tokens, before temperature."""

    text: str
    finish_reason: FinishReason
    num_prompt_tokens: int
    num_tokens: int
    confidence: float


@dataclass(eq=False)
class Draft:
    """One text on its way. `cancel` may be called from any thread, the rest belongs to the engine's."""

    text: str
    """What is asked."""
    sampling: Sampling
    on_piece: Callable[[str], None]
    """Called with each new piece of the answer, in the engine's thread."""
    done: "Future[Written]" = field(default_factory=Future)
    forced: tuple[int, ...] = ()
    """Tokens that are written whatever the model thinks of them, to learn how likely it finds them; then it ends."""
    logprobs: list[float] = field(default_factory=list)
    """Of the tokens, an end token among them, in nats; before temperature."""
    is_cancelled: bool = False
    prompt: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    logprob: float = 0.0
    shown: str = ""
    generator: Any = None

    def cancel(self) -> None:
        """Let it end with what was written so far."""
        self.is_cancelled = True

    def finish(self, reason: FinishReason) -> None:
        """Tell whoever waits."""
        num_tokens = len(self.ids)
        confidence = math.exp(self.logprob / max(1, num_tokens))
        if self.done.done():
            return
        self.done.set_result(Written(self.shown, reason, len(self.prompt), num_tokens, confidence))

    def show(self, text: str) -> None:
        """Tell what `text` adds to what was told before."""
        if len(text) > len(self.shown) and text.startswith(self.shown):
            piece, self.shown = text[len(self.shown) :], text
            self.on_piece(piece)


class Decodes(Protocol):
    """A batch of drafts in one causal model, whichever engine's. For one thread."""

    max_rows: int
    max_joins: int
    """Drafts that join at once at most: whoever waits for its first token does not wait for all the others'."""

    @property
    def num_rows(self) -> int: ...

    def join(self, drafts: Sequence[Draft]) -> None: ...

    def step(self) -> None: ...

    def fail(self, err: Exception) -> None: ...


class Decoder:
    """A batch of drafts in one causal model. For one thread."""

    def __init__(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", task: Writer, *, max_rows: int = 32
    ) -> None:
        self.max_rows = max_rows
        self.max_joins = MAX_JOINS
        self._model = model
        self._tokenizer = tokenizer
        self._task = task
        self._end = int(tokenizer.eos_token_id)
        self._drafts: list[Draft] = []
        self._cache: Any = None
        self._mask: torch.Tensor  # (B, T): 1 where a row has a token
        self._next: torch.Tensor  # (B,): chosen, and not yet in the cache

    @property
    def num_rows(self) -> int:
        return len(self._drafts)

    def join(self, drafts: Sequence[Draft]) -> None:
        """Read the drafts' prompts and write the first token of each."""
        import torch

        from components.serving.growing_cache import growing

        for draft, prompt in zip(
            drafts, self._task.prompts([draft.text for draft in drafts], self._tokenizer), strict=True
        ):
            draft.prompt = prompt
            draft.generator = torch.Generator().manual_seed(draft.sampling.seed)
        length = max(len(draft.prompt) for draft in drafts)
        ids = torch.tensor([[self._end] * (length - len(d.prompt)) + d.prompt for d in drafts])
        mask = torch.tensor([[0] * (length - len(d.prompt)) + [1] * len(d.prompt) for d in drafts])
        logits, cache = self._forward(ids, mask, None)
        chosen = [self._choose(draft, row) for draft, row in zip(drafts, logits, strict=True)]
        if self._drafts:
            self._merge(cache, mask)
            self._next = torch.cat([self._next, torch.tensor(chosen)])
        else:
            self._cache, self._mask, self._next = growing(cache), mask, torch.tensor(chosen)
        self._drafts += drafts
        self._keep([self._go_on(draft, token) for draft, token in zip(drafts, chosen, strict=True)], last=len(drafts))

    def step(self) -> None:
        """Write one token of every draft; those that are cancelled leave first."""
        import torch

        self._keep([self._stay(draft) for draft in self._drafts], last=len(self._drafts))
        if not self._drafts:
            return
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._drafts), 1)], 1)
        logits, self._cache = self._forward(self._next[:, None], self._mask, self._cache)
        chosen = [self._choose(draft, row) for draft, row in zip(self._drafts, logits, strict=True)]
        self._next = torch.tensor(chosen)
        going = [self._go_on(draft, token) for draft, token in zip(self._drafts, chosen, strict=True)]
        self._keep(going, last=len(self._drafts))

    def fail(self, err: Exception) -> None:
        """Give every draft up."""
        drafts, self._drafts, self._cache = self._drafts, [], None
        for draft in drafts:
            if not draft.done.done():
                draft.done.set_exception(err)

    def _forward(self, ids: "torch.Tensor", mask: "torch.Tensor", cache: Any) -> tuple["torch.Tensor", Any]:
        """Logits of the next token (B, V), and the cache with `ids` (B, t) in it; `mask` (B, T) covers both."""
        import torch

        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with torch.inference_mode():
            out = self._model.base_model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
            head: Any = self._model.get_output_embeddings()
            return head(out.last_hidden_state[:, -1]).float(), out.past_key_values

    def _choose(self, draft: Draft, logits: "torch.Tensor") -> int:
        """The next token of one draft; `logits` (V)."""
        import torch

        logprobs = logits.log_softmax(-1)
        how = draft.sampling
        if draft.forced:
            token = draft.forced[len(draft.ids)]
        elif how.temperature == 0:
            token = int(logprobs.argmax())
        else:
            probabilities = (logits / how.temperature).softmax(-1)
            likeliest, order = probabilities.sort(descending=True)
            # The likeliest tokens that reach top_p together (Holtzman et al. 2020): the first is always among them.
            probabilities[order[likeliest.cumsum(-1) - likeliest >= how.top_p]] = 0
            # Drawn in the vocabulary's order: chance is dealt to places, and two tokens that are about as likely change
            # theirs in an order by likelihood as soon as a batch rounds otherwise (19 % of replays were the same).
            token = int(torch.multinomial(probabilities, 1, generator=draft.generator))
        draft.logprobs.append(float(logprobs[token]))
        if token != self._end:
            draft.logprob += float(logprobs[token])
        return token

    def _go_on(self, draft: Draft, token: int) -> bool:
        return goes_on(draft, token, task=self._task, tokenizer=self._tokenizer)

    def _stay(self, draft: Draft) -> bool:
        if draft.is_cancelled:
            draft.finish("cancelled")
        return not draft.is_cancelled

    def _merge(self, cache: Any, mask: "torch.Tensor") -> None:
        """Put rows with a cache of their own under those that are there, all padded on the left to one length."""
        import torch
        from torch.nn.functional import pad

        from components.models.carried import Carried

        longest = max(self._mask.shape[1], mask.shape[1])
        for mine, new in zip(self._cache.layers, cache.layers, strict=True):
            if isinstance(mine, Carried):
                mine.carry(*(torch.cat(both) for both in zip(mine.states, new.states, strict=True)))
                continue
            for name in ("keys", "values"):  # (B, H, T, D)
                both = [getattr(layer, name) for layer in (mine, new)]
                setattr(mine, name, torch.cat([pad(x, (0, 0, longest - x.shape[2], 0)) for x in both]))
        self._mask = torch.cat([pad(x, (longest - x.shape[1], 0)) for x in (self._mask, mask)])

    def _keep(self, stays: Sequence[bool], *, last: int) -> None:
        """Let the rows among the `last` go that do not stay, and the padding that nobody needs any more."""
        import torch

        from components.models.carried import Carried

        if all(stays):
            return
        first = len(self._drafts) - last
        rows = [*range(first), *(first + i for i, stay in enumerate(stays) if stay)]
        self._drafts = [self._drafts[i] for i in rows]
        if not rows:
            self._cache = None
            return
        chosen = torch.tensor(rows)
        self._mask, self._next = self._mask[chosen], self._next[chosen]
        unused = int(self._mask.any(0).int().argmax())
        self._mask = self._mask[:, unused:]
        for layer in self._cache.layers:
            if isinstance(layer, Carried):
                layer.carry(*(state[chosen] for state in layer.states))
                continue
            layer.keys, layer.values = layer.keys[chosen, :, unused:], layer.values[chosen, :, unused:]


def whole(decoder: Decodes, texts: Sequence[str], *, max_tokens: int) -> list[Written]:
    """What is written to each text; drafts that are there already go on beside them. Raises what the decoder does."""
    drafts = [Draft(text, Sampling(max_tokens=max_tokens), lambda _: None) for text in texts]
    waiting = list(drafts)
    while not all(draft.done.done() for draft in drafts):
        room = decoder.max_rows - decoder.num_rows
        wave, waiting = waiting[:room], waiting[room:]
        if wave:
            decoder.join(wave)
        decoder.step()
    return [draft.done.result(0) for draft in drafts]


def goes_on(draft: Draft, token: int, *, task: Writer, tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the draft goes on after `token`; told to its reader as far as it is certain."""
    if draft.forced:
        draft.ids.append(token)
        if len(draft.ids) == len(draft.forced):
            draft.finish("length")
        return len(draft.ids) < len(draft.forced)
    if token == int(tokenizer.eos_token_id):
        draft.show(task.said(draft.ids, tokenizer))
        draft.finish("stop")
        return False
    draft.ids.append(token)
    text = task.said(draft.ids, tokenizer)
    stops = [at for stop in draft.sampling.stop if (at := text.find(stop)) >= 0]
    if stops:
        draft.show(text[: min(stops)])
        draft.finish("stop")
        return False
    if task.is_over(draft.ids, tokenizer):
        draft.show(text)
        draft.finish("stop")
        return False
    if len(draft.ids) >= draft.sampling.max_tokens:
        draft.show(text)
        draft.finish("length")
        return False
    draft.show(certain(text, draft.sampling.stop))
    return True


def can_stream(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the rows of what the model keeps of the tokens before can be put together and taken apart.

    So of plain keys and values, and of what our own families carry along. Not so: sliding windows, encoder–decoders.
    """
    from transformers.cache_utils import DynamicLayer

    from components.models.carried import Carried

    kinds = _layers(model, tokenizer)
    return bool(kinds) and kinds <= {DynamicLayer, Carried}


def keeps_plain(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether that is keys and values alone, as other engines know them."""
    from transformers.cache_utils import DynamicLayer

    return _layers(model, tokenizer) == {DynamicLayer}


def _layers(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> set[type]:
    """Of what a causal model keeps after a token; empty where it keeps nothing that is known, or is none."""
    import torch
    from transformers.cache_utils import Cache

    if model.config.is_encoder_decoder or model.get_output_embeddings() is None:
        return set()
    with torch.inference_mode():
        out = model.base_model(input_ids=torch.tensor([[int(tokenizer.eos_token_id)]]), use_cache=True)
    cache = getattr(out, "past_key_values", None)
    return {type(layer) for layer in cache.layers} if isinstance(cache, Cache) else set()


def certain(text: str, stop: Sequence[str] = ()) -> str:
    """What of a text no later token can take back: half a character, or what may be the beginning of a stop."""
    text = text.rstrip("\ufffd")
    longest = max((len(one) for one in stop), default=0)
    for length in range(min(longest - 1, len(text)), 0, -1):
        if any(one.startswith(text[-length:]) for one in stop):
            return text[:-length]
    return text
