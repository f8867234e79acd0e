"""Every kind of recipe: the parameters of one run, as frozen, strictly checked values.

A recipe is a YAML file in `flows/recipes/`, a flow's parameter (so that Prefect's UI shows its
schema), and part of the lock that determines a model's weights.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from components.errors import RecipeError
from components.recipe_base import Recipe as Recipe
from components.training.recipes import Augmentation as Augmentation
from components.training.recipes import Finetune as Finetune
from components.training.recipes import Preference as Preference
from components.training.recipes import Pretrain as Pretrain
from components.training.recipes import Search as Search
from components.training.recipes import Training as Training
from components.watch_policy import WatchPolicy

# ---------------------------------------------------------------- data


class PackageSource(Recipe):
    """Sources and docstrings of packages pinned in `assets.toml`."""

    kind: Literal["packages"] = "packages"
    assets: tuple[str, ...] = Field(min_length=1)


class BookSource(Recipe):
    """Plain-text books inside a pinned asset."""

    kind: Literal["books"] = "books"
    asset: str


class InterpreterSource(Recipe):
    """The running interpreter's own library: no download, but another data version per Python."""

    kind: Literal["interpreter"] = "interpreter"


class DocstringSource(Recipe):
    """A task's rows that pinned packages hold by construction: what the authors marked up themselves."""

    kind: Literal["docstrings"] = "docstrings"
    assets: tuple[str, ...] = Field(min_length=1)
    task: str
    """A language task that says what is `gold` in a module."""
    table: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")


class CatalogueSource(Recipe):
    """Translations out of the gettext catalogues in pinned packages."""

    kind: Literal["catalogues"] = "catalogues"
    assets: tuple[str, ...] = Field(min_length=1)
    source_language: str = "en"
    """As the catalogues' folders are named; `en` is the language of the messages themselves."""
    target_languages: tuple[str, ...] = Field(min_length=1)
    """With several, a text begins with the one it is to be put into: `>>de<< Save`."""
    task: Literal["translation"] = "translation"
    table: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")


MissingPolicy = Annotated[
    str,
    Field(
        pattern=r"^(drop|constant(=.+)?|most_frequent|mean|median|interpolate|regression"
        r"|model=[A-Za-z0-9][\w.-]*(@[1-9][0-9]*)?)$"
    ),
]


_MODEL = r"^[A-Za-z0-9][\w.-]*(@[1-9][0-9]*)?$"


class BackTranslation(Recipe):
    """New training rows: a row's text in another language and back again, by registered models of task translation.

    Sennrich, Haddow and Birch, ACL 2016 (arXiv:1511.06709); for the texts of other tasks: Yu et al., ICLR 2018.
    """

    there: str = Field(pattern=_MODEL)
    """Which translates the texts, e.g. `banyan-en-de`: its champion; `banyan-en-de@2`."""
    back: str = Field(pattern=_MODEL)
    """Which translates them back."""
    there_language: str | None = Field(default=None, pattern=r"^[A-Za-z][\w-]*$")
    """Of a model for several languages: a text begins with `>>de<<` then."""
    back_language: str | None = Field(default=None, pattern=r"^[A-Za-z][\w-]*$")
    share: float = Field(default=1.0, gt=0, le=1)
    """Of the training rows, drawn by their ids and the recipe's seed."""


class TextRules(Recipe):
    """What becomes of an own table's texts besides what becomes of all; each rule is off until it is asked for."""

    compatible_characters: bool = False
    """Full-width letters, ligatures and odd spaces become their plain forms (NFKC)."""
    languages: tuple[str, ...] = ()
    """Only texts in these are kept, e.g. `[en, zh]`; `und` stands for those whose language cannot be told."""
    min_language_confidence: float = Field(default=0.5, ge=0, le=1)
    """Below, a text's language counts as `und`."""
    gopher: bool = False
    """Gopher's quality rules (Rae et al. 2021), which are for documents of 50 words or more."""
    gopher_repetition: bool = False
    """Gopher's limits of repeated lines, paragraphs and n-grams."""
    c4: bool = False
    """C4's rules (Raffel et al. 2020): lines that are no sentences go, and pages that are left with too few."""
    blocked_words: Path | None = None
    """A file with a word a line; texts with one of them are dropped."""
    near_duplicate_threshold: float = Field(default=0.9, gt=0, le=1)
    """Of texts whose sets of word pairs overlap so much (Jaccard) one is kept."""
    decontaminate: tuple[Path, ...] = ()
    """Benchmarks: files of texts, `.jsonl` or one a line. A row that holds a piece of one is dropped."""
    decontaminate_own_tests: bool = False
    """The same against the test splits of the other tables."""
    decontaminate_words: int = Field(default=13, ge=5)
    """So many words in a row make a piece (Brown et al. 2020)."""


class FileSource(Recipe):
    """A table of the user's own: a file, a folder or a glob of them, an address, or a SQL query."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Literal["file"] = "file"
    path: Path | None = None
    """A file, a folder (also one that Hugging Face `datasets` saved) or a glob."""
    url: str | None = Field(default=None, pattern=r"^(https?|s3)://")
    """`https://`, `http://` or `s3://`, of a file; of S3 also of all files below."""
    database: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9+]*://")
    """SQLAlchemy's address of a database, without the password."""
    query: str | None = None
    """Of `database`, which needs it: what gives the rows; it may only read."""
    password_env: str | None = None
    """Of `database`: the environment variable that holds the password, where the ingest runs."""
    table: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    task: str
    format: str | None = None
    """csv, tsv, json, jsonl, parquet, arrow, text, markdown, html, pdf, or one of the task's own (squad, iob2 …); None:
    by the file's ending."""
    encoding: str | None = None
    """Of texts; None: it is detected, file by file."""
    piece_chars: int | None = Field(default=None, gt=0)
    """Documents (text, Markdown, HTML, PDF) are cut at blank lines into rows of about so many; None: one row each."""
    max_bytes: int = Field(default=4 << 30, gt=0)
    """Of one file, unpacked, and of what is fetched from an address."""
    timeout_seconds: float = Field(default=60.0, gt=0)
    """How long an address or a database may be silent."""
    columns: dict[str, str] = {}
    """Our column → the file's column, where the names differ."""
    licence: str = "unstated"
    missing: dict[str, MissingPolicy] = {}
    """Column → what to do where it is empty; rows without text or label are dropped by default."""
    rules: TextRules = TextRules()
    names_model: str | None = Field(default=None, pattern=_MODEL)
    """A registered model of the task entities that marks persons (`banyan-people`: its champion; `banyan-people@3`):
    the names that it finds are masked as other personal data is. None: names are not looked for."""
    stratified: bool = False
    """Of tables with labels: the test split has its share of each label, as far as whole groups allow."""
    labels: tuple[str, ...] = ()
    """The labels there may be; a row with another is rejected. None given: those of the file."""
    back_translation: BackTranslation | None = None
    """More training rows, with the same answers and in the same groups; nothing that is measured by is touched."""

    @model_validator(mode="after")
    def _is_one_source(self) -> Self:
        given = [name for name in ("path", "url", "database") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of path, url and database, not {' and '.join(given) or 'none'}")
        if (self.database is None) != (self.query is None):
            raise ValueError("query goes with database, and only with it")
        if self.password_env is not None and self.database is None:
            raise ValueError("password_env goes with database, and only with it")
        if self.database is not None and (self.format or self.encoding or self.piece_chars):
            raise ValueError("format, encoding and piece_chars have no effect on a query")
        if re.search(r"://[^/]*:[^/]*@|[?&;](password|passwd|pwd)=", self.url or self.database or "", re.IGNORECASE):
            raise ValueError(
                "a password in the address would be kept with every run; name the variable that holds it in "
                "password_env (database), or leave it to the AWS client's own environment (s3)"
            )
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The registered models that it asks, as the recipe calls them."""
        filling = [policy.removeprefix("model=") for policy in self.missing.values() if policy.startswith("model=")]
        both = self.back_translation
        return tuple(filter(None, [self.names_model, *filling, *((both.there, both.back) if both else ())]))

    @property
    def address(self) -> str:
        """Where it is, for people: without user and query string."""
        found = self.url or self.database
        return re.sub(r"(://)[^/@]*@|\?.*$", r"\1", found, flags=re.DOTALL) if found else str(self.path)


Source = Annotated[
    PackageSource | BookSource | InterpreterSource | DocstringSource | CatalogueSource | FileSource,
    Field(discriminator="kind"),
]


class RejectLimits(Recipe):
    """Shares of a table's raw rows. Above one, the batch is taken for poisoned and does not become a version."""

    missing: float = Field(default=0.2, ge=0, le=1)
    """No text, no label, or a row that cannot be read."""
    duplicate: float = Field(default=0.5, ge=0, le=1)
    conflicting: float = Field(default=0.1, ge=0, le=1)
    """The same text with different labels."""
    unknown_label: float = Field(default=0.1, ge=0, le=1)
    drift: float | None = Field(default=None, ge=0, le=1)
    """Largest effect against the version before, of labels, sources, languages and lengths; None: it only warns."""
    languages: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """Language → the smallest share of the kept texts that must be in it, `{en: 0.9}`, of a sample of each split."""
    leak_similarity: float | None = Field(default=None, gt=0, le=1)
    """No text to measure by may have a training text whose word pairs overlap so much (Jaccard); None: any may."""


class Ingest(Recipe):
    kind: Literal["ingest"] = "ingest"
    name: str
    sources: tuple[Source, ...] = Field(min_length=1)
    corpus_chars_per_source: int = Field(1_500_000, gt=0)
    split_rows: dict[str, int] = {"train": 200, "test": 1000, "pool": 1000, "reserve": 1000}
    """Rows per split of each labelled table (packages); a file is split by `test_share`."""
    table_split_rows: dict[str, dict[str, int]] = {}
    """Table → its own numbers instead."""
    corpus_heldout_share: float = Field(0.03, gt=0, lt=1)
    limits: RejectLimits = RejectLimits()
    test_share: float = Field(0.2, gt=0, lt=1)
    max_text_chars: int = Field(600, gt=0)
    seed: int = 0


_Address = Annotated[str, BeforeValidator(lambda given: str(given) if isinstance(given, Path) else given)]


class Pack(Recipe):
    """A corpus of any size from raw documents to packed tokens."""

    kind: Literal["pack"] = "pack"
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$")
    inputs: tuple[_Address, ...] = Field(min_length=1)
    """Files, folders or globs; addresses (`https://`, `http://`; `s3://`, also of a folder or a glob)."""
    columns: dict[Literal["text", "source", "group"], str] = {}
    """Our column → the files' column, where the names differ."""
    format: str | None = None
    """As of a `file` source; None: by the files' endings."""
    rules: TextRules = TextRules()
    min_chars: int = Field(default=1, gt=0)
    """Shorter texts are dropped."""
    max_chars: int = Field(default=10_000_000, gt=0)
    """Longer texts are dropped: one document has to fit a worker's memory."""
    mask: bool = True
    """Personal data becomes `[EMAIL_1]` and the like."""
    heldout_share: float = Field(default=0.03, ge=0, lt=1)
    """Share of the groups (of the documents, where they have none) that nothing is trained on."""
    tokenizer: Path | None = None
    """A folder with a `tokenizer.json`; None: one is trained on the texts that are kept for training."""
    tokenizer_kind: Literal["bpe", "wordpiece"] | None = None
    """Of a tokenizer that is trained; None: byte-level BPE."""
    vocab_size: int | None = Field(default=None, ge=300, le=1 << 24)
    """Of a tokenizer that is trained, which needs it."""
    tokenizer_chars: int = Field(default=20_000_000, gt=0)
    """At most about so many characters, of documents drawn by their hash, are what a tokenizer is trained on."""
    seed: int = 0

    @model_validator(mode="after")
    def _has_no_option_without_effect(self) -> Self:
        if (self.tokenizer is None) != (self.vocab_size is not None):
            raise ValueError("give either tokenizer, or vocab_size of the one to be trained")
        if self.tokenizer is not None and self.tokenizer_kind is not None:
            raise ValueError("tokenizer_kind: the tokenizer that is given has its own")
        if self.rules.decontaminate_own_tests:
            raise ValueError(
                "decontaminate_own_tests: there are no other tables here; name their files in decontaminate"
            )
        if self.min_chars > self.max_chars:
            raise ValueError(f"min_chars {self.min_chars} exceeds max_chars {self.max_chars}")
        return self


# ---------------------------------------------------------------- decisions


class GatePolicy(Recipe):
    """When a challenger replaces the champion (design: honest promotion)."""

    kind: Literal["gate"] = "gate"
    confidence_level: float = Field(0.95, gt=0.5, lt=1)
    minimum_difference: float = 0.0
    """The interval of challenger − champion must lie above this."""
    power: float = Field(0.8, gt=0, lt=1)
    """Used for "about N more examples would decide"."""
    num_resamples: int = Field(10_000, ge=1000)
    seed: int = 0
    max_looks: int | None = Field(25, gt=0)
    """How many comparisons one test set may decide. The stream of them together promotes something that is no better
    with a probability of at most 1 − `confidence_level`; None: each comparison stands alone."""
    slices: tuple[Literal["label", "source", "length", "language", "group"], ...] = ("label", "source", "length")
    """Kinds of slices to look at one by one; those of fewer than 30 rows are left out. `group`: what stands before the
    first slash of a row's group."""
    slice_margin: float = Field(0.05, ge=0, lt=1)
    """A slice's loss, in the task's score, from which on it counts as harm."""
    slices_rule: Literal["report", "not_worse", "non_inferior"] = "not_worse"
    """What slices may forbid: nothing; a promotion that is shown to harm one; or any that is not shown to harm none
    (which small slices never allow)."""
    minimum_seeds: int = Field(1, gt=0)
    """Trainings of the challenger's recipe and data that differ in their seed. From two on, all of them together must
    be better too, with the variance between seeds in the interval."""
    typo_rows: int = Field(0, ge=0)
    """Test rows on which both models are asked again with typing errors and in other words, and timed; 0: none.
    Classifiers only."""
    timed_rows: int = Field(20, ge=0)
    """Test rows on which both models are timed where they are not asked again; 0: none."""


class ScreeningPolicy(Recipe):
    """Which feedback may teach. A pure function of the rows: the same cut and policy admit the same ones."""

    kind: Literal["screening"] = "screening"
    burst_rows: int = Field(default=60, gt=0)
    """One subject's rows in `burst_seconds`; more are refused."""
    burst_seconds: float = Field(default=10.0, gt=0)
    influence_share: float = Field(default=0.25, gt=0, le=1)
    """Of the admitted rows, one subject's at most; those without a subject count as one, channel by channel."""
    influence_rows: int = Field(default=50, ge=0)
    """So many of a subject's rows are never too many."""
    influence_subjects: int = Field(default=5, gt=0)
    """Below so many subjects there is no share to speak of, and `influence_share` is not applied."""
    declared_channels: tuple[str, ...] = ("scripted-rater",)
    """Channels of programs that are known to speak much and fast: bursts and influence are not counted there."""
    import_channels: tuple[str, ...] = ("import",)
    """Channels whose rows come all at once: bursts are not counted there."""
    domain_overlap: float = Field(default=0.3, ge=0, lt=1)
    """Least share of a text's letter trigrams that the training texts hold; 0: any text."""
    minimum_votes: int = Field(default=5, gt=0)
    """From so many votes on that others speak of, a rater may be found unreliable in saying a label."""
    minimum_trust: float = Field(default=0.5, ge=0, lt=1)
    """Less often right than this, by what the others say: what they say of that label does not teach."""
    certainty: float = Field(default=0.9, gt=0.5, lt=1)
    """Posterior probability from which contradicting raters are decided instead of all refused."""
    canaries: dict[str, str] = {}
    """Text → its known answer. Feedback on these teaches nothing, and tells who answers in earnest."""
    canary_failures: int = Field(default=2, gt=0)
    """So many wrong ones, and more than half of all they were given, and nothing that the subject says teaches."""
    heldout_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the subjects whose feedback is kept aside to measure by, and never trained on."""


class TriggerPolicy(Recipe):
    """When a retraining starts by itself, and what keeps it from starting."""

    kind: Literal["trigger"] = "trigger"
    minimum_feedback: int = Field(200, gt=0)
    """Unconsumed feedback rows, counted in the ledger."""
    quiet_seconds: float = Field(5.0, ge=0)
    """How long no new row must have arrived: a burst is consumed whole."""
    longest_wait_seconds: float = Field(600.0, gt=0)
    """Retrain even if rows keep arriving."""
    on_new_data: bool = False
    """Also when the table's labelled rows are others than the champion was trained on."""
    maximum_drift: float | None = Field(None, gt=0, le=1)
    """Also when those drifted by more than this (effect size: 0.1 is small, 0.3 medium, 0.5 large); None: never."""
    on_failed_canary: bool = False
    """Also when the watch took a version back."""
    rest_seconds: float = Field(0.0, ge=0)
    """How long no retraining of the table begins after one has ended, whatever the cause."""
    maximum_a_day: int | None = Field(None, gt=0)
    """No more retrainings of a table than these in 24 hours; None: any number."""
    minimum_gain_an_hour: float = Field(0.0, ge=0)
    """Of the gate's metric, expected from the retrainings of before, for an hour of training; 0: it is not weighed."""
    watch: WatchPolicy = WatchPolicy()
    """How the champion that comes of it is watched."""


class Rater(Recipe):
    """A scripted rater: replays held-back labelled rows through the gateway. Not a person."""

    kind: Literal["rater"] = "rater"
    table: str
    split: str = "pool"
    num_requests: int = Field(1000, gt=0)
    silent_share: float = Field(0.30, ge=0, le=1)
    wrong_share: float = Field(0.05, ge=0, le=1)
    seed: int = 0


class Loop(Recipe):
    """One turn of the whole loop, by the names of the recipes it runs."""

    kind: Literal["loop"] = "loop"
    name: str
    ingest: str
    pretrain: str
    finetune: tuple[str, ...]
    rater: Rater


AnyRecipe = Annotated[
    Ingest
    | Pack
    | Pretrain
    | Finetune
    | Preference
    | Search
    | GatePolicy
    | ScreeningPolicy
    | TriggerPolicy
    | Rater
    | Loop,
    Field(discriminator="kind"),
]
_adapter: TypeAdapter[Any] = TypeAdapter(AnyRecipe)


def parse_recipe(content: object, *, origin: str = "recipe") -> Any:
    """The recipe that `content` (parsed YAML) describes.

    Raises:
        RecipeError: an unknown field, a missing one or an impossible value, by name.
    """
    try:
        return _adapter.validate_python(content)
    except ValidationError as err:
        lines = []
        for problem in err.errors():
            field = ".".join(str(part) for part in problem["loc"][1:]) or "kind"
            reason = "unknown field" if problem["type"] == "extra_forbidden" else problem["msg"]
            lines.append(f"{field}: {reason}")
        raise RecipeError(f"{origin}: {'; '.join(lines)}", "compare with the recipes in flows/recipes/") from err


def load_recipe(path: Path) -> Any:
    """The recipe in a YAML file.

    Raises:
        RecipeError: the file is missing, is not YAML, or does not describe a recipe.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError as err:
        raise RecipeError(f"there is no recipe {path}", "list them with: ls flows/recipes") from err
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise RecipeError(f"{path} is not readable YAML: {err}") from err
    return parse_recipe(content, origin=str(path))
