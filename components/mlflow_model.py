"""What MLflow runs when somebody loads a registered version (`mlflow.pyfunc.load_model`).

A copy of this file goes into every version (MLflow's "models from code": nothing is pickled).
It answers by the task's own `answer`, as evaluation and the gateway do, so the template and the lengths
are the same wherever the model is asked.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.pyfunc.model import PythonModel

if TYPE_CHECKING:
    import pandas as pd


class BanyanModel(PythonModel):  # type: ignore[misc, unused-ignore]
    """Column `text` in; `output` and `confidence` out. Parameter `max_new_tokens` (0: the model's own)."""

    def load_context(self, context: Any) -> None:
        folder = Path(context.artifacts["model"])
        self._tokenizer: Any
        self._task_name: str = context.model_config["task"]
        if self._task_name == "corpus":
            import transformers

            import components.models.families  # noqa: F401  # registers our own families with transformers' Auto classes

            self._model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            return
        from components.models.pretrained import load_trained
        from components.tasks import get_task

        self._task = get_task(self._task_name)
        self._model, self._tokenizer = load_trained(folder, task=self._task)

    def predict(
        self,
        context: Any,  # noqa: ARG002  # MLflow passes it by position
        model_input: "pd.DataFrame",
        params: dict[str, Any] | None = None,
    ) -> "pd.DataFrame":
        import pandas as pd

        texts = model_input["text"].tolist()
        longest = int((params or {}).get("max_new_tokens") or 0)
        if self._task_name == "corpus":
            outputs = [self._continue(text, longest or 48) for text in texts]
            return pd.DataFrame({"output": outputs, "confidence": [None] * len(outputs)})
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

    def _continue(self, text: str, longest: int) -> str:
        import torch

        batch = self._tokenizer(text or self._tokenizer.eos_token, return_tensors="pt")
        with torch.inference_mode():
            ids = self._model.generate(batch["input_ids"], max_new_tokens=longest, do_sample=False)
        return str(self._tokenizer.decode(ids[0, batch["input_ids"].shape[1] :], skip_special_tokens=True))


mlflow.models.set_model(BanyanModel())
