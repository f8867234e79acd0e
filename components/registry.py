"""The registry: model versions in MLflow, with what made them and what they are worth.

A version holds a Hugging Face folder, a model card, the test set's scores row by row, and the lock. The
flavour is `pyfunc` from code over that folder, not `transformers` (measured with 3.17.2): that one saves the
tokenizer apart from the model, so that what comes back is no folder `from_pretrained` can read; its pipelines know
nothing of our prompt templates, so that MLflow's answers would differ from the gateway's; it asks the Hub for a card
and a licence; and it has no pipeline for our own families.
"""

import json
import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components import tracking
from components.errors import RegistryError, VersionNotFound
from components.refs import DataRef, ModelRef
from components.settings import Settings
from components.tracking import RunInfo, RunLog, translated

if TYPE_CHECKING:
    import pandas as pd

    from components.models.adapters import Base

PREFIX = "banyan-"
PER_EXAMPLE = "per_example.parquet"
BASELINE = "baseline.parquet"
CARD = "README.md"
LOCK = "lock.json"
Alias = Literal["champion", "challenger"]


def model_name(table: str) -> str:
    """The registered model of a table's application."""
    return f"{PREFIX}{table}"


@dataclass(frozen=True)
class VersionInfo:
    """A registered version. `created_at` is in seconds since the epoch; `card` is Markdown."""

    ref: ModelRef
    created_at: float
    aliases: tuple[str, ...]
    task: str
    role: str
    data_version: str
    lock_key: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    card: str


class Registry:
    """A client of the MLflow at `url`. Making one contacts nobody.

    Methods raise RegistryUnavailable when MLflow does not answer and VersionNotFound for what is not there.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._refs: dict[tuple[str, int], ModelRef] = {}  # a version's run and weights never change

    @cached_property
    def _client(self) -> Any:
        return tracking.connect(self.url)

    # ------------------------------------------------------------ runs

    def start_run(
        self,
        experiment: str,
        *,
        name: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        key: str = "",
    ) -> RunLog:
        """A run to log to; under the same `key`, the one that a killed attempt left running."""
        return tracking.start_run(self._client, experiment, name=name, params=params or {}, tags=tags or {}, key=key)

    def run(self, run_id: str) -> RunLog:
        """A run that was started elsewhere."""
        return RunLog(self._client, run_id)

    def runs(self, experiment: str | None = None, *, limit: int = 50) -> list[RunInfo]:
        """The newest runs, newest first."""
        return tracking.list_runs(self._client, experiment, limit)

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """(step, value) of a run's metric."""
        return tracking.metric_history(self._client, run_id, metric)

    # ------------------------------------------------------------ registering

    def register(
        self,
        name: str,
        *,
        model_dir: Path,
        task: str,
        lock: Mapping[str, Any],
        data: DataRef,
        metrics: Mapping[str, float],
        card: str,
        example: str,
        per_example: "pd.DataFrame | None" = None,
        baseline: "pd.DataFrame | None" = None,
        tags: Mapping[str, str] | None = None,
        run_id: str | None = None,
        weights_sha256: str | None = None,
        num_steps: int = 0,
    ) -> ModelRef:
        """Register a trained model; the same lock key under the same name gives the version that there is.

        Args:
            model_dir: a Hugging Face folder (configuration, safetensors, tokenizer), or adapters of one.
            task: a language task, or 'corpus' for a model that only continues text.
            lock: `training.lock.Lock.as_dict()`; its `key` is what `find` looks for.
            card: the model card, Markdown; kept as README.md and as the version's description.
            example: an input, for the signature and for whoever tries the model.
            per_example: the test split's scores, one row an example.
            baseline: the same, of the plain baseline.
            tags: further ones, such as role=control.
            run_id: the run that trained it; default: a new one that holds the metrics.
            weights_sha256: when it is known; it is computed else.
            num_steps: optimiser steps that it was trained for: where its metrics stand on the run's curves.

        Raises:
            MappingError: there is no such task.
        """
        from components.training.lock import weights_sha256 as hash_weights

        _parameters(task)
        key = str(lock.get("key", ""))
        if key and (known := self.find(key, name=name)):
            return known
        digest = weights_sha256 or hash_weights(model_dir)
        all_tags = _version_tags(task, lock, data, digest, metrics) | dict(tags or {})
        if run_id is None:
            with self.start_run(name, name=name, tags=all_tags) as run:
                run_id = run.run_id
        run = self.run(run_id)
        run.log(metrics, step=num_steps)
        run.flush()
        self._log_data(run_id, data)
        with tempfile.TemporaryDirectory(prefix="banyan-register-") as scratch:
            folder = Path(scratch) / "run"
            folder.mkdir()
            (folder / CARD).write_text(card, "utf-8")
            (folder / LOCK).write_text(json.dumps(lock, indent=1, sort_keys=True), "utf-8")
            for file, frame in ((PER_EXAMPLE, per_example), (BASELINE, baseline)):
                if frame is not None:
                    frame.to_parquet(folder / file, index=False)
            run.files(folder)
            saved = Path(scratch) / "model"
            _save(saved, model_dir=model_dir, task=task, example=example, card=card)
            model_id = self._upload(saved, name=name, run_id=run_id, tags=all_tags, task=task)
        version = self._create_version(name, run_id=run_id, model_id=model_id, tags=all_tags, card=card)
        ref = ModelRef(name=name, version=version, run_id=run_id, weights_sha256=digest)
        self._refs[name, version] = ref
        return ref

    def _log_data(self, run_id: str, data: DataRef) -> None:
        from mlflow.entities import Dataset, DatasetInput

        source = json.dumps({"tables": data.tables}, sort_keys=True)
        dataset = Dataset(name="banyan-data", digest=data.version[:36], source_type="dvc", source=source)
        with translated(f"the data of run {run_id} were not logged"):
            self._client.log_inputs(run_id, [DatasetInput(dataset=dataset)])

    def _upload(self, folder: Path, *, name: str, run_id: str, tags: Mapping[str, str], task: str) -> str:
        with translated(f"{name} was not uploaded"):
            experiment_id = self._client.get_run(run_id).info.experiment_id
            model = self._client.create_logged_model(
                experiment_id, name=name, source_run_id=run_id, tags=dict(tags), model_type=task
            )
            try:
                self._client.log_model_artifacts(model.model_id, str(folder))
                self._client.finalize_logged_model(model.model_id, "READY")
            except Exception:
                self._client.finalize_logged_model(model.model_id, "FAILED")
                raise
        return str(model.model_id)

    def _create_version(self, name: str, *, run_id: str, model_id: str, tags: Mapping[str, str], card: str) -> int:
        from mlflow.exceptions import MlflowException

        with translated(f"{name} was not registered"):
            try:
                self._client.create_registered_model(name, tags={"banyan.task": tags["banyan.task"]})
            except MlflowException as err:
                if err.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            made = self._client.create_model_version(
                name, source=f"models:/{model_id}", run_id=run_id, tags=dict(tags), description=card, model_id=model_id
            )
        return int(made.version)

    # ------------------------------------------------------------ reading

    def names(self) -> list[str]:
        """Every registered model, sorted."""
        with translated("the registered models could not be listed"):
            return sorted(str(model.name) for model in self._client.search_registered_models())

    def champions(self) -> dict[str, ModelRef]:
        """Registered model → its champion, for those that have one."""
        with translated("the champions could not be listed"):
            models = self._client.search_registered_models()
        found = {model.name: int(model.aliases["champion"]) for model in models if "champion" in model.aliases}
        return {name: self.ref(name, version) for name, version in sorted(found.items())}

    def champion(self, name: str) -> ModelRef | None:
        """The served version, or None: nothing has passed the gate."""
        return self.at_alias(name, "champion")

    def at_alias(self, name: str, alias: Alias) -> ModelRef | None:
        """The version at an alias, or None."""
        from mlflow.exceptions import MlflowException

        with translated(f"alias {alias} of {name} could not be read"):
            try:
                found = self._client.get_model_version_by_alias(name, alias)
            except MlflowException as err:
                if err.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                    return None
                raise
        return self._ref(found)

    def ref(self, name: str, version: int) -> ModelRef:
        """The full ref of a version."""
        if (name, version) not in self._refs:
            with translated(f"{name} v{version} could not be read"):
                self._ref(self._client.get_model_version(name, str(version)))
        return self._refs[name, version]

    def versions(self, name: str) -> list[VersionInfo]:
        """All versions of a registered model, newest first; none when there is no such model."""
        with translated(f"the versions of {name} could not be listed"):
            found = list(self._client.search_model_versions(f"name = '{name}'"))
            aliases = self._aliases(name)
        return [self._info(one, aliases) for one in sorted(found, key=lambda one: -int(one.version))]

    def get(self, ref: ModelRef) -> VersionInfo:
        """What is known of a version."""
        with translated(f"{ref} could not be read"):
            return self._info(self._client.get_model_version(ref.name, str(ref.version)), self._aliases(ref.name))

    def find(self, lock_key: str, *, name: str | None = None) -> ModelRef | None:
        """The newest version that was trained under this lock key, or None."""
        where = f"tags.`banyan.lock_key` = '{lock_key}'" + (f" and name = '{name}'" if name else "")
        with translated(f"lock {lock_key} could not be looked up"):
            found = list(self._client.search_model_versions(where))
        return self._ref(max(found, key=lambda one: int(one.version))) if found else None

    def per_example(self, ref: ModelRef) -> "pd.DataFrame":
        """The scores of a version on its test split, one row an example."""
        return self._frame(ref, PER_EXAMPLE)

    def baseline(self, ref: ModelRef) -> "pd.DataFrame":
        """The same, of the plain baseline it was compared with."""
        return self._frame(ref, BASELINE)

    def lock(self, ref: ModelRef) -> dict[str, Any]:
        """What the version was trained under."""
        with (
            tempfile.TemporaryDirectory(prefix="banyan-lock-") as scratch,
            translated(f"the lock of {ref} is not there"),
        ):
            path = self._client.download_artifacts(ref.run_id, LOCK, scratch)
            return json.loads(Path(path).read_text("utf-8"))

    def fetch(self, ref: ModelRef, settings: Settings) -> Path:
        """The version's Hugging Face folder on this disk: downloaded once, hash checked, complete or not there. Of
        adapters also what they lie on: an asset, or another version.

        Raises:
            RegistryError: the weights are not those of the ref.
            AssetError: the base cannot be had.
        """
        from components.models import adapters

        folder = self._fetched(ref, settings)
        if (base := adapters.reference(folder)) and adapters.placed(folder) is None:
            adapters.place(folder, self.base_of(base, settings))
        return folder

    def base_of(self, base: "Base", settings: Settings) -> Path:
        """The folder of what adapters lie on, fetched where it is not here yet.

        Raises: as `fetch`.
        """
        from components import assets

        name, number = base.version
        return self.fetch(self.ref(name, number), settings) if number else assets.weights(name, settings=settings)

    def _fetched(self, ref: ModelRef, settings: Settings) -> Path:
        from components.training.lock import weights_sha256

        folder = settings.workspace.models / ref.name / str(ref.version) / ref.weights_sha256[:16]
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent) as scratch:
            arrived = self._download(ref, Path(scratch))
            digest = weights_sha256(arrived)
            if digest != ref.weights_sha256:
                raise RegistryError(
                    f"the weights of {ref} have sha256 {digest[:16]}…, registered were {ref.weights_sha256[:16]}…",
                    f"the registry's files were changed: roll back, or retrain {ref.name}",
                )
            try:
                arrived.rename(folder)
            except OSError:
                if not folder.is_dir():  # somebody else was first: theirs is as good
                    raise
        return folder

    def _download(self, ref: ModelRef, scratch: Path) -> Path:
        from mlflow.artifacts import download_artifacts

        with translated(f"{ref} could not be fetched"):
            stored = self._client.get_model_version_download_uri(ref.name, str(ref.version))
            uri = f"{stored}/artifacts/model"
            return Path(download_artifacts(artifact_uri=uri, dst_path=str(scratch), tracking_uri=self.url))

    def _frame(self, ref: ModelRef, file: str) -> "pd.DataFrame":
        import io

        import pandas as pd

        return pd.read_parquet(io.BytesIO(self.artifact(ref, file)))

    def artifact(self, ref: ModelRef, file: str) -> bytes:
        """A file of the run that trained the version."""
        with tempfile.TemporaryDirectory(prefix="banyan-artifact-") as scratch:
            with translated(f"{file} of {ref} could not be read"):
                path = self._client.download_artifacts(ref.run_id, file, scratch)
            return Path(path).read_bytes()

    # ------------------------------------------------------------ aliases

    def set_alias(self, ref: ModelRef, alias: Alias = "champion") -> None:
        """Move an alias. Only `ledger.journal` calls this: MLflow keeps neither time nor actor of a move."""
        with translated(f"alias {alias} was not moved to {ref}"):
            self._client.set_registered_model_alias(ref.name, alias, str(ref.version))

    def _aliases(self, name: str) -> dict[int, tuple[str, ...]]:
        try:
            with translated(f"{name} could not be read"):
                aliases = self._client.get_registered_model(name).aliases
        except VersionNotFound:
            return {}
        return {int(v): tuple(sorted(a for a in aliases if aliases[a] == v)) for v in set(aliases.values())}

    def _ref(self, found: Any) -> ModelRef:
        tags, version = found.tags, int(found.version)
        digest = str(tags.get("banyan.weights_sha256", ""))
        ref = ModelRef(name=str(found.name), version=version, run_id=str(found.run_id), weights_sha256=digest)
        self._refs[ref.name, version] = ref
        return ref

    def _info(self, found: Any, aliases: Mapping[int, Sequence[str]]) -> VersionInfo:
        tags = dict(found.tags)
        return VersionInfo(
            ref=self._ref(found),
            created_at=found.creation_timestamp / 1000,
            aliases=tuple(aliases.get(int(found.version), ())),
            task=tags.get("banyan.task", ""),
            role=tags.get("banyan.role", "candidate"),
            data_version=tags.get("banyan.data_version", ""),
            lock_key=tags.get("banyan.lock_key", ""),
            metrics=json.loads(tags.get("banyan.metrics", "{}")),
            tags=tags,
            card=found.description or "",
        )


def _version_tags(
    task: str, lock: Mapping[str, Any], data: DataRef, digest: str, metrics: Mapping[str, float]
) -> dict[str, str]:
    return {
        "banyan.task": task,
        "banyan.role": "candidate",
        "banyan.data_version": data.version,
        "banyan.weights_sha256": digest,
        "banyan.lock_key": str(lock.get("key", "")),
        "banyan.exact_key": str(lock.get("exact_key", "")),
        "banyan.recipe_sha256": str(lock.get("recipe", "")),
        "banyan.code_sha256": str(lock.get("code", "")),
        "banyan.revision": str(lock.get("revision", "")),
        # A version's page then needs one call; the run has them too, with their history.
        "banyan.metrics": json.dumps({name: float(value) for name, value in metrics.items()}, sort_keys=True),
    }


def _save(folder: Path, *, model_dir: Path, task: str, example: str, card: str) -> None:
    """An MLflow model around a Hugging Face folder, which lies in it unchanged at `artifacts/model`."""
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature

    given = pd.DataFrame({"text": [example]})
    answered = pd.DataFrame({"output": [""]} if task == "corpus" else {"output": [""], "confidence": [0.5]})
    script = Path(__file__).with_name("mlflow_model.py")
    source = folder.parent / f"source-{uuid.uuid4().hex}" / "model"  # artifacts keep their folder's name
    source.parent.mkdir()
    shutil.copytree(model_dir, source, copy_function=_link, ignore=shutil.ignore_patterns("checkpoint*", ".*"))
    try:
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(script),
            artifacts={"model": str(source)},
            # Without a schema of parameters MLflow ignores them silently.
            signature=infer_signature(given, answered, _parameters(task)),
            input_example=given,
            model_config={"task": task},
            pip_requirements=["torch", "transformers", "banyan-llm"],
        )
    finally:
        shutil.rmtree(source.parent)
    (folder / CARD).write_text(card, "utf-8")


def _parameters(task: str) -> dict[str, int] | None:
    """What a caller may set, with the values that change nothing."""
    if task == "corpus":
        return {"max_new_tokens": 0, "seed": 0}
    from components.tasks import get_task

    return {"max_new_tokens": 0} if get_task(task).head == "generator" else None


def _link(source: str, target: str) -> None:
    """A hard link where the disk allows one: the weights are copied once less."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)
