"""The facts of the ecosystem view: the loop's stages, the family tree, the applications, the rule of live state.

Nothing here is a sentence for people (those are in the dashboard, in two languages); names, years,
papers and the directions of the arrows are the same in every language.

The loop and the tree are those of two Chinese overviews of the field, "LLM生态圈：AI产业新格局的前景" and
"LLM生态演进：从芽到枝繁叶茂": data → preprocessing → training → optimisation → deployment → application →
feedback → data, and NLP → deep learning → neural networks → RNN → LSTM, GRU beside Transformer → BERT,
GPT → pretraining. Years and papers are of the first publication under that name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["empty", "working", "ready", "waiting", "stale", "failed"]
STATES: tuple[State, ...] = ("empty", "working", "ready", "waiting", "stale", "failed")


# ---------------------------------------------------------------- the loop


@dataclass(frozen=True)
class Stage:
    """One station of the loop."""

    name: str
    page: str
    """The dashboard page that has its details."""
    made_of: tuple[str, ...]
    """Who does the work here: our packages and the projects they stand on."""
    words: tuple[str, ...]
    """What the names of flows and steps that are at this station begin with."""


STAGES: tuple[Stage, ...] = (
    # Text with a source and a licence per row; one immutable version at a time.
    Stage("data", "data", ("components.data", "DVC"), ("ingest", "fetch", "admit", "data")),
    # Cleaned, deduplicated, personal data masked, split leak-free; a checkpoint decides whether it becomes a version.
    Stage("preprocessing", "data", ("components.data", "Great Expectations"), ("build", "clean", "validate")),
    # A small GPT from scratch; public weights fine-tuned. Same lock, same weights, bit for bit.
    Stage(
        "training",
        "runs",
        ("components.training", "PyTorch", "Transformers"),
        ("pretrain", "finetune", "retrain", "train", "plan"),
    ),
    # Measured beside a plain baseline; a paired test says promote, reject or inconclusive.
    Stage("optimisation", "models", ("components.evaluation", "SciPy"), ("evaluate", "measure", "gate", "judge")),
    # The alias `champion` moves, journalled first; the gateway swaps without dropping a request.
    Stage(
        "deployment",
        "models",
        ("components.registry", "MLflow", "FastAPI"),
        ("register", "promote", "rollback", "gateway"),
    ),
    # People ask; each answer carries a receipt that names the version that gave it.
    Stage("application", "playground", ("components.serving",), ("rate", "rater")),
    # Approvals and corrections, durable before they are acknowledged; each row's fate can be looked up.
    Stage(
        "feedback",
        "feedback",
        ("components.ledger", "components.feedback"),
        ("claim", "collect", "tell", "close"),
    ),
)
STAGE_NAMES: tuple[str, ...] = tuple(stage.name for stage in STAGES)


@dataclass(frozen=True)
class Observation:
    """What is known of one stage."""

    count: int | None
    """How much there is (rows, runs, verdicts, champions, answers, feedback rows); None: never learnt."""
    is_answered: bool = True
    """The store that knows has answered just now; else `count` is what it said last."""
    is_working: bool = False
    has_failed: bool = False
    """The latest attempt at this stage failed and nothing has succeeded since."""
    is_waiting: bool = False
    """There is something, but it does not move on: a verdict is inconclusive, a champion is still loading,
    feedback is below the trigger's floor."""


def state_of(seen: Observation) -> State:
    """The live state. First rule that holds:

    1. never learnt anything, and the store does not answer: `failed`;
    2. the store does not answer: `stale`; what is shown is old, whatever it says;
    3. a run is here now: `working`;
    4. the latest attempt failed: `failed`;
    5. nothing here yet: `empty`;
    6. something is here that does not move on: `waiting`; else `ready`.
    """
    if not seen.is_answered:
        return "failed" if seen.count is None else "stale"
    if seen.is_working:
        return "working"
    if seen.has_failed:
        return "failed"
    if not seen.count:
        return "empty"
    return "waiting" if seen.is_waiting else "ready"


def stage_of(name: str) -> str | None:
    """The stage that a flow or a step is at, by the first known word of its name; None for the rest (such as `loop`).

    `gate banyan-library v2` is at the gate, whatever the model is called: words are read in order.
    """
    for word in re.findall(r"[a-z]+", name.lower()):
        for stage in STAGES:
            if word in stage.words:
                return stage.name
    return None


# ---------------------------------------------------------------- the tree


@dataclass(frozen=True)
class Paper:
    title: str
    authors: str
    year: int
    url: str


@dataclass(frozen=True)
class Family:
    """A node of the family tree."""

    name: str
    label: str
    parents: tuple[str, ...]
    paper: Paper
    is_trainable: bool = False
    """An architecture that this platform can train (the others are fields and methods)."""

    @property
    def year(self) -> int:
        return self.paper.year


FAMILIES: tuple[Family, ...] = (
    Family(
        "nlp",
        "NLP",
        (),
        Paper("Computing Machinery and Intelligence", "Turing", 1950, "https://doi.org/10.1093/mind/LIX.236.433"),
    ),
    Family(
        "deep_learning",
        "Deep learning",
        ("nlp",),
        Paper(
            "A Fast Learning Algorithm for Deep Belief Nets",
            "Hinton, Osindero, Teh",
            2006,
            "https://doi.org/10.1162/neco.2006.18.7.1527",
        ),
    ),
    Family(
        "neural_networks",
        "Neural networks",
        ("deep_learning",),
        Paper(
            "Learning Representations by Back-Propagating Errors",
            "Rumelhart, Hinton, Williams",
            1986,
            "https://doi.org/10.1038/323533a0",
        ),
    ),
    Family(
        "feedforward",
        "Feedforward LM",
        ("neural_networks",),
        Paper(
            "A Neural Probabilistic Language Model",
            "Bengio et al.",
            2003,
            "https://www.jmlr.org/papers/v3/bengio03a.html",
        ),
        is_trainable=True,
    ),
    Family(
        "rnn",
        "RNN",
        ("neural_networks",),
        Paper("Finding Structure in Time", "Elman", 1990, "https://doi.org/10.1207/s15516709cog1402_1"),
        is_trainable=True,
    ),
    Family(
        "lstm",
        "LSTM",
        ("rnn",),
        Paper("Long Short-Term Memory", "Hochreiter, Schmidhuber", 1997, "https://doi.org/10.1162/neco.1997.9.8.1735"),
        is_trainable=True,
    ),
    Family(
        "gru",
        "GRU",
        ("rnn",),
        Paper(
            "Learning Phrase Representations using RNN Encoder–Decoder for Statistical Machine Translation",
            "Cho et al.",
            2014,
            "https://arxiv.org/abs/1406.1078",
        ),
        is_trainable=True,
    ),
    Family(
        "transformer",
        "Transformer",
        ("neural_networks",),
        Paper("Attention Is All You Need", "Vaswani et al.", 2017, "https://arxiv.org/abs/1706.03762"),
        is_trainable=True,
    ),
    Family(
        "bert",
        "BERT",
        ("transformer",),
        Paper(
            "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
            "Devlin et al.",
            2018,
            "https://arxiv.org/abs/1810.04805",
        ),
        is_trainable=True,
    ),
    Family(
        "gpt",
        "GPT",
        ("transformer",),
        Paper(
            "Improving Language Understanding by Generative Pre-Training",
            "Radford et al.",
            2018,
            "https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf",
        ),
        is_trainable=True,
    ),
    Family(
        "pretraining",
        "Pretraining",
        ("bert", "gpt"),
        Paper("Language Models are Few-Shot Learners", "Brown et al.", 2020, "https://arxiv.org/abs/2005.14165"),
    ),
)

FAMILY_OF_BASE: Mapping[str, str] = {"minilm": "bert", "smollm2": "gpt"}
"""Base weights (names in `assets.toml`) → family: MiniLM is a small BERT; SmolLM2, a decoder, is GPT's descendant."""

NODE_OF_FAMILY: Mapping[str, str] = {"gpt2": "gpt", "ngram_gpt": "gpt"}
"""A recipe's family → its node of the tree, where the names differ: GPT-2's form, today's, and the one that reads the
last few tokens at each place, are one branch."""


def grown(model_families: Iterable[str]) -> frozenset[str]:
    """Every node that an installation's models stand on: their families and all ancestors of these.

    `pretraining` is not an ancestor but what BERT and GPT led to: a model of either has been pretrained.
    """
    parents = {family.name: family.parents for family in FAMILIES}
    reached: set[str] = set()
    todo = [name for name in model_families if name in parents]
    if {"bert", "gpt"} & set(todo):
        reached.add("pretraining")
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo.extend(parents[name])
    return frozenset(reached)


# ---------------------------------------------------------------- the applications


@dataclass(frozen=True)
class Application:
    """A use that the field names; grown here once a model of one of its tasks has been promoted."""

    name: str
    tasks: tuple[str, ...]
    """Modules of `components/tasks` that serve it; a name that has no module yet is to come."""


APPLICATIONS: tuple[Application, ...] = (
    Application("classification", ("classification",)),
    Application("summarisation", ("summarisation",)),
    Application("generation", ("generation", "corpus")),
    Application("question_answering", ("question_answering",)),
    Application("translation", ("translation",)),
    Application("entities", ("entities",)),
    Application("code", ("code",)),
    Application("dialogue", ("dialogue",)),
)
