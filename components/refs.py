"""Frozen pointers. Refs cross steps; data, models, clients and cursors never do."""

from pydantic import BaseModel, ConfigDict


class Ref(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataRef(Ref):
    """One immutable data version."""

    version: str
    """DVC's md5 of the whole directory, as in its `.dvc` pointer, without the `.dir` suffix."""
    tables: dict[str, str]
    """Table name → sha256 over its files; what caches and locks key on (design D4)."""


class ModelRef(Ref):
    """One registered model version."""

    name: str
    version: int
    run_id: str
    weights_sha256: str

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"
