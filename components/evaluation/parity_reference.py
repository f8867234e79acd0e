"""The trainer's side of the parity gate: its own way from a row to log-probabilities, and the rows to ask about."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.data import tables
from components.errors import ParityMismatch
from components.evaluation.parity import Probe, Reference
from components.models import pretrained
from components.recipes import Finetune
from components.serving.scoring import Read, reads_of, says_of
from components.tasks import get_task
from components.tasks.base import IGNORED, Task, Writer
from components.tasks.writing import body_and_head, positions

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

NUM_PROBES = 100
NUM_WRITTEN = 6
"""Tokens of a writer's target that are looked at."""
MOST_CHARS = 48
"""Of most probes' texts: a tokenizer's or a template's fault shows in few tokens, and each costs time."""
NUM_LONG = 2
"""Probes with their row's whole text: what is too long is cut, and both must cut alike."""
BATCH_SIZE = 16

HARD = (
    "  two  spaces, a\ttab and a trailing one ",
    "Zürich, naïve, façade, Ελλάδα, Москва",
    "数据版本，验证与回滚。",
    "emoji 👩‍👩‍👧 🏳️‍🌈 and é as two characters",
    "x_1 = f(a[i], b['k'])  # 3.14e-10 != 0x1F",
    "<|endoftext|> <|im_start|> [CLS] [SEP] [PAD] [MASK] </s>",
    "ALL CAPS, then\nlines\n\nand\r\nmore",
    "https://example.org/a?b=c&d=%20#e",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "1234567890 12,345.67 -0 ½ ² Ⅷ",
)
"""Where tokenizers go wrong first. No blank one: the gateway lets none in."""


def probe_rows(*, data_dir: Path, recipe: Finetune, num_probes: int = NUM_PROBES) -> "pd.DataFrame":
    """Rows to ask about: the hard texts, then the table's, of the test split first, most of them cut short.

    A table with too few rows gives pieces of its texts besides.
    """
    import pandas as pd

    task = get_task(recipe.task)
    there = [tables.read_split(data_dir, recipe.table, split) for split in ("test", "train")]
    rows = pd.concat([part for part in there if len(part)], ignore_index=True).head(4 * num_probes)
    text, target = task.columns[:2]
    if task.head in ("tagger", "span"):  # what they point at may be cut off; the target changes nothing that is read
        rows = rows.assign(**{target: "[]"})
    first = rows.head(1)
    hard = pd.concat([first] * len(HARD), ignore_index=True).assign(**{text: HARD}) if task.head != "span" else first
    whole = rows.head(NUM_LONG)
    cut = rows.assign(**{text: [_cut(one, task, start=0) for one in rows[text]]})
    pieces = [rows.assign(**{text: [_cut(one, task, start=7 * k) for one in rows[text]]}) for k in range(1, 40)]
    found = pd.concat([hard, whole, cut, *pieces[: 1 + num_probes // max(1, len(rows))]], ignore_index=True)
    return found.drop_duplicates(text).head(num_probes + NUM_LONG + len(HARD)).reset_index(drop=True)


def _cut(text: str, task: Task, *, start: int) -> str:
    if task.head == "span":  # the question stays
        question, _, context = text.partition("\n")
        return f"{question}\n{context[start : start + 3 * MOST_CHARS] or context}"
    return text[start : start + MOST_CHARS]


def reference(
    recipe: Finetune, *, model_dir: Path, weights_dir: Path, data_dir: Path, num_probes: int = NUM_PROBES
) -> Reference:
    """The trainer's view of at least `num_probes` texts.

    Args:
        weights_dir: the base that was trained, whose tokenizer the trainer used.

    Raises:
        ParityMismatch: the log-probabilities do not add up to the task's own loss.
        InputFileError: no model or tokenizer to read.
    """
    task = get_task(recipe.task)
    trainer = Trainer(model_dir, task=task)
    tokenizer = trainer_tokenizer(weights_dir, recipe)
    rows = probe_rows(data_dir=data_dir, recipe=recipe, num_probes=num_probes)
    labels = tables.table_info(data_dir, recipe.table).labels
    texts: list[str] = []
    reads: list[Read] = []
    checks: list[Mapping[str, Any]] = []
    for k, text in enumerate(rows[task.columns[0]]):
        for example in task.rows(rows.iloc[[k]], tokenizer, recipe, labels):
            ids, start = list(example["input_ids"]), len(example["input_ids"])
            if isinstance(task, Writer):
                # The target begins at the first token with a loss; where the text has one too, after its prompt.
                start = next(i for i, label in enumerate(example["labels"]) if label != IGNORED)
                start = start or len(task.prompts([text], tokenizer)[0])
                ids = ids[: start + NUM_WRITTEN]
                checks.append({"input_ids": ids, "labels": [IGNORED] * start + ids[start:]})
            else:
                checks.append(example)
            texts.append(text)
            reads.append(Read(tuple(ids), start, ()))
    trained = trainer.read(reads, pad_id=int(tokenizer.pad_token_id or 0))
    trainer.check_loss(checks[:BATCH_SIZE], trained[:BATCH_SIZE], pad_id=int(tokenizer.pad_token_id or 0))
    return Reference(
        task=task.name,
        head=trainer.head,
        precision=trainer.precision,
        probes=tuple(
            Probe(text=text, ids=read.ids, num_given=read.num_given, values=read.values)
            for text, read in zip(texts, trained, strict=True)
        ),
    )


def trainer_tokenizer(weights_dir: Path, recipe: Finetune) -> "PreTrainedTokenizerBase":
    """The base's, as `pretrained.load_base` hands it to the trainer."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(weights_dir, local_files_only=True)
    tokenizer.model_max_length = recipe.max_length_tokens
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


class Trainer:
    """The finished weights, read as the trainer reads: batches of whole sequences, padded by its own rule, no cache."""

    def __init__(self, model_dir: Path, *, task: Task, exact: bool = False) -> None:
        """`exact`: computed in float32, whatever the weights are stored in.

        Raises:
            InputFileError: no model that can be read in `model_dir`.
        """
        self._task = task
        self.model, _ = pretrained.load_trained(model_dir, task=task)
        if exact:
            self.model.float()
        self.precision = str(self.model.dtype).removeprefix("torch.")
        self.head: Literal["generator", "encoder"] = "generator" if task.head == "generator" else "encoder"

    def read(self, reads: Sequence[Read], *, pad_id: int) -> list[Read]:
        """The same readings with the trainer's values, in their order."""
        import torch

        order = sorted(range(len(reads)), key=lambda i: len(reads[i].ids))  # little padding
        found: dict[int, Read] = {}
        with torch.inference_mode():
            for begin in range(0, len(order), BATCH_SIZE):
                chosen = order[begin : begin + BATCH_SIZE]
                values = self._values([reads[i] for i in chosen], pad_id)
                for i, one in zip(chosen, values, strict=True):
                    found[i] = Read(reads[i].ids, reads[i].num_given, tuple(one))
        return [found[i] for i in range(len(reads))]

    def check_loss(self, examples: Sequence[Mapping[str, Any]], reads: Sequence[Read], *, pad_id: int) -> None:
        """What was read of these training examples is what they were trained on. Raises ParityMismatch."""
        import torch

        if self._task.head not in ("classifier", "generator"):
            return  # of spans and tags the trainer looks at some tokens alone: the tokens themselves are compared
        with torch.inference_mode():
            loss, _ = self._task.loss(self.model, self._task.collate(examples, pad_id))
        if self.head == "generator":
            mine = -sum(sum(read.values) for read in reads)
        else:
            mine = -sum(
                math.log(max(value, 1e-30))
                for one, read in zip(examples, reads, strict=True)
                for value in _said(read.values, one["labels"])
            )
        few = 0.02 if self.precision != "float32" else 1e-3
        if not abs(float(loss) - mine) <= few * max(1.0, abs(mine)):
            raise ParityMismatch(
                f"the trainer's loss on {len(reads)} probes is {float(loss):.5g}, and its log-probabilities add up to "
                f"{mine:.5g}",
                f"the task {self._task.name} computes its loss in another way than parity_reference does: mend either",
            )

    def _values(self, reads: Sequence[Read], pad_id: int) -> Iterator[list[float]]:
        import torch

        if self.model.config.is_encoder_decoder:
            yield from map(self._values_of_decoder, reads)
            return
        writes = self.head == "generator"
        length = max(len(read.ids) for read in reads)
        ids = torch.full((len(reads), length), pad_id)
        mask = torch.zeros_like(ids)
        for i, read in enumerate(reads):  # writers are padded on the left, others on the right: as the tasks collate
            at = slice(length - len(read.ids), length) if writes else slice(0, len(read.ids))
            ids[i, at], mask[i, at] = torch.tensor(read.ids, dtype=torch.long), 1
        if not writes:
            out = self.model(input_ids=ids, attention_mask=mask)
            inputs = {"input_ids": ids, "attention_mask": mask}
            yield from (list(one.values) for one in reads_of(out, inputs, says=says_of(self._task)))
            return
        body, head = body_and_head(self.model)
        hidden = body(input_ids=ids, attention_mask=mask, position_ids=positions(mask), use_cache=False)
        for i, read in enumerate(reads):
            own = mask[i].bool()
            states = hidden.last_hidden_state[i][own][read.num_given - 1 : -1]  # (written, C)
            logprobs = head(states).float().log_softmax(-1)  # (written, V)
            yield logprobs.gather(-1, ids[i][own][read.num_given :, None])[:, 0].tolist()

    def _values_of_decoder(self, read: Read) -> list[float]:
        """Of an encoder–decoder: it reads what is given and writes the rest."""
        import torch

        given, written = torch.tensor([read.ids[: read.num_given]]), torch.tensor([read.ids[read.num_given :]])
        if not written.shape[1]:
            return []
        first = torch.full((1, 1), int(self.model.config.decoder_start_token_id or 0))
        logits = self.model(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            decoder_input_ids=torch.cat([first, written[:, :-1]], 1),
            use_cache=False,
        ).logits  # (1, T, V)
        return logits.float().log_softmax(-1).gather(-1, written[..., None])[0, :, 0].tolist()


def _said(values: Sequence[float], labels: int | Sequence[float]) -> list[float]:
    """How likely a head finds what is right: one label, or of each whether the text has it."""
    if not isinstance(labels, Sequence):
        return [values[labels]]
    return [value if has else 1 - value for value, has in zip(values, labels, strict=True)]
