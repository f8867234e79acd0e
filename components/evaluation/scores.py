"""An evaluation as a value: small enough to cross steps."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import pandas as pd


class Scores(BaseModel):
    """An evaluation: its rows in a file, its figures here."""

    model_config = ConfigDict(frozen=True)

    path: Path
    """Parquet, one row an example, as `Task.score`."""
    metrics: dict[str, float]

    def rows(self) -> "pd.DataFrame":
        import pandas as pd

        return pd.read_parquet(self.path)
