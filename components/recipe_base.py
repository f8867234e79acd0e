"""What every kind of recipe is: frozen, strictly checked values that have a hash."""

import hashlib
import json

from pydantic import BaseModel, ConfigDict


class Recipe(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def sha256(self) -> str:
        """Hash of the canonical JSON form: equal recipes, equal hashes."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()
