"""What MLflow runs when somebody loads a registered version (`mlflow.pyfunc.load_model`).

A copy of this file goes into every version (MLflow's "models from code": nothing is pickled).
It answers by the task's own `answer`, as evaluation and the gateway do, so the template and the lengths
are the same wherever the model is asked.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel


class BanyanModel(PythonModel):  # type: ignore[misc, unused-ignore]
    """Column `text` in; `output` and, but for mere continuations, `confidence` out.

    Parameters: `max_new_tokens` of what generates (0: the model's own), `seed` of what continues a text.
    """

    def load_context(self, context: Any) -> None:
        folder = Path(context.artifacts["model"])
        name: str = context.model_config["task"]
        self._tokenizer: Any
        if name == "corpus":
            from components.models.families import load_language_model

            self._task = None
            self._model, self._tokenizer = load_language_model(folder)
        else:
            from components.models.pretrained import load_trained
            from components.tasks import get_task

            self._task = get_task(name)
            base_dir = _base_dir(folder)
            self._model, self._tokenizer = load_trained(folder, task=self._task, base_dir=base_dir)

    def predict(
        self,
        context: Any,  # noqa: ARG002  # MLflow passes it by position
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        texts = model_input["text"].tolist()
        longest = int((params or {}).get("max_new_tokens") or 0)
        if self._task is None:
            from components.training.pretraining import continue_text

            seed = int((params or {}).get("seed") or 0)
            model, tokenizer = self._model, self._tokenizer
            outputs = [continue_text(model, tokenizer, text, num_tokens=longest or 48, seed=seed) for text in texts]
            return pd.DataFrame({"output": outputs})
        own = getattr(self._model, "generation_config", None)  # a classifier has none
        before = own.max_new_tokens if own is not None else None
        try:
            if own is not None and longest:
                own.max_new_tokens = longest
            answers = self._task.answer(self._model, self._tokenizer, texts)
        finally:
            if own is not None:
                own.max_new_tokens = before
        return pd.DataFrame({"output": [a.output for a in answers], "confidence": [a.confidence for a in answers]})


def _base_dir(folder: Path) -> Path | None:
    """Of adapters what they lie on, from the stores of the installation that this process is in."""
    from components.models import adapters

    base = adapters.reference(folder)
    if base is None:
        return None
    from components.registry import Registry
    from components.settings import load_settings
    from components.supervisor import addresses

    settings = load_settings()
    return Registry(addresses(settings).mlflow).base_of(base, settings)


mlflow.models.set_model(BanyanModel())
