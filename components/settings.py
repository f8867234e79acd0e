"""The environment a run happens in: read once at an entry point, passed on as values."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from components.errors import RecipeError

PREFIX = "BANYAN_"
MASKED_KINDS = ("EMAIL", "PHONE", "CARD", "IBAN", "IP", "ID", "KEY")
"""What `data.privacy` finds by itself."""


class Settings(BaseSettings):
    """Where things are. Every field is an environment variable `BANYAN_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    workspace_dir: Path = Field(Path(".banyan"), validation_alias=f"{PREFIX}WORKSPACE")
    """What this installation lives on; never in Git."""
    assets_dir: Path | None = None
    """Where verified third-party files are kept; default: `assets/` in the workspace."""
    asset_files: Path | None = None
    """A folder of asset files fetched elsewhere, used before the package index is asked."""
    host: str = "127.0.0.1"
    """Address every service binds to. Off loopback the stack refuses to start without `api_key`."""
    prefect_port: int = 4200
    mlflow_port: int = 5000
    gateway_port: int = 8000
    dashboard_port: int = 8501
    prefect_url: str | None = None
    """Root URL of a Prefect server elsewhere; default: the local stack's."""
    mlflow_url: str | None = None
    gateway_url: str | None = None
    ledger_url: str | None = None
    """SQLAlchemy URL; default: SQLite in the workspace."""
    data_remote: str | None = None
    """DVC remote; default: a folder in the workspace."""
    ray_address: str | None = None
    """A Ray cluster that `banyan data pack` runs on, and the `workers` of a training, as `ray.init` takes it; default:
    this machine."""
    api_key: SecretStr | None = None
    """Operators' key: required by the gateway when set, and mandatory off loopback."""
    engine: Literal["auto", "torch", "openvino", "vllm"] = "auto"
    """What answers: OpenVINO where it is installed (`banyan-llm[fast]`) and the parity gate admits it to a version,
    torch else (auto); torch alone; as auto, with a warning where it is torch; or a server at `vllm_url`, likewise."""
    vllm_url: str | None = None
    """Root URLs of OpenAI-compatible servers that hold versions as `banyan-TABLE@VERSION`, separated by commas."""
    vllm_key: SecretStr | None = None
    """Sent to them as `Authorization: Bearer`."""
    vllm_timeout_seconds: float = Field(60.0, gt=0)
    """Their longest silence before a text is given up."""
    workers: int = Field(1, ge=1)
    """Processes that a training runs in: one a GPU, or shares of the CPU's cores. More than one are started by torchrun
    on this machine, or with `ray_address` by Ray Train on that cluster's nodes."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What several workers have: each the whole model (ddp), or a share of it (fsdp), for models that do not fit."""
    hung_checks: int = Field(6, ge=0)
    """After how many missed checks in a row (ten seconds each) a service that lives is taken for hung and restarted;
    0: never."""
    prompt_retention_days: int = Field(30, ge=0)
    """How long raw prompts are kept in the ledger; masked copies stay."""
    mask: str = "all"
    """Which personal data the ledger's copies are without: all, or some of `MASKED_KINDS`, separated by commas."""

    trace_share: float = Field(1.0, ge=0, le=1)
    """Share of the answers, and of the feedback on them, that MLflow is told of as traces; 0: none."""

    price_a_kwh: float = Field(0.25, ge=0)
    """What a kilowatt-hour costs, in `currency`: for the dashboard's costs."""
    price_an_hour: float = Field(0.0, ge=0)
    """What an hour of a training's machine costs besides its energy: rent, or what its purchase comes to."""
    currency: str = ""
    """As it is written behind an amount."""
    dashboard_secrets: Path | None = None
    """Streamlit's secrets file: `[auth]` is the OIDC provider, `[roles]` says who may do what. Without it the
    dashboard serves loopback only, and whoever reaches it there is an operator."""

    @field_validator("mask")
    @classmethod
    def _has_only_known_kinds(cls, value: str) -> str:
        named = {kind.strip() for kind in value.upper().split(",")}
        if value != "all" and (unknown := named - set(MASKED_KINDS)):
            raise ValueError(f"unknown kind {sorted(unknown)[0]!r}; all, or of {', '.join(MASKED_KINDS)}")
        return value

    @property
    def masked_kinds(self) -> frozenset[str]:
        """The kinds that `mask` names."""
        named = MASKED_KINDS if self.mask == "all" else self.mask.upper().split(",")
        return frozenset(kind.strip() for kind in named)

    @property
    def workspace(self) -> "Workspace":
        return Workspace(self.workspace_dir.expanduser().absolute(), self.assets_dir)

    @property
    def is_loopback(self) -> bool:
        return self.host in {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Workspace:
    """The paths of an installation. Making one touches no disk."""

    root: Path
    assets_dir: Path | None = None

    @property
    def assets(self) -> Path:
        return (self.assets_dir or self.root / "assets").absolute()

    @property
    def data(self) -> Path:
        """The DVC repository: `repo/`, `versions/<md5>/`, `staging/`, `failed/`, `docs/`, `HEAD`."""
        return self.root / "data"

    @property
    def packed(self) -> Path:
        """Packed corpora, one folder each."""
        return self.root / "packed"

    @property
    def inputs(self) -> Path:
        """Files fetched from addresses, and half-fetched ones."""
        return self.root / "inputs"

    @property
    def remote(self) -> Path:
        return self.root / "remote"

    @property
    def runs(self) -> Path:
        """Checkpoints, one folder a lock."""
        return self.root / "runs"

    @property
    def models(self) -> Path:
        """Registered versions, fetched from the registry for serving."""
        return self.root / "models"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def prefect(self) -> Path:
        return self.root / "prefect"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.db"

    @property
    def stack_file(self) -> Path:
        """What the running stack says of itself: processes, ports, addresses."""
        return self.root / "stack.json"


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        RecipeError: a `BANYAN_` variable that does not exist, or a value that cannot be.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {f"{PREFIX}WORKSPACE"}
    known.discard(f"{PREFIX}WORKSPACE_DIR")
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise RecipeError(f"unknown setting {unknown[0]}", f"settings are {', '.join(sorted(known))}")
    try:
        return Settings()  # type: ignore[call-arg]  # the alias hides the default from mypy
    except ValidationError as err:
        first = err.errors()[0]
        name = PREFIX + re.sub(f"^{PREFIX}", "", str(first["loc"][0]), flags=re.IGNORECASE).upper()
        raise RecipeError(f"setting {name}: {first['msg']} (got {first['input']!r})") from err
