"""A workspace that was put back from its back-up can still prove where its models came from."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components import backup
from components.data import versioning
from components.evaluation import candidate
from components.registry import Registry
from components.settings import Settings
from components.supervisor import Supervisor, claim
from components.training import run as training
from components.training.verify import verify
from flows import stack
from tests.small_trainings import one_thread, read_corpus, small_data  # noqa: F401  fixtures


@contextmanager
def mlflow_of(settings: Settings) -> Iterator[Settings]:
    """The stack's own MLflow on this workspace; the settings then name its address."""
    settings.workspace.root.mkdir(parents=True, exist_ok=True)
    lock = claim(settings.workspace)
    settings.workspace.mlflow.mkdir(exist_ok=True)
    ports = stack.choose_ports(settings, lambda _: None)
    table = [one for one in stack.services(settings, ports=ports) if one.name == "mlflow"]
    supervisor = Supervisor(table, workspace=settings.workspace, lock=lock)
    supervisor.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", supervisor.urls["mlflow"])
            yield settings.model_copy(update={"mlflow_url": supervisor.urls["mlflow"]})
    finally:
        supervisor.stop()


def in_(folder: Path) -> Settings:
    return Settings(BANYAN_WORKSPACE=folder, mlflow_port=15600)


@pytest.mark.slow
def test_a_restored_workspace_verifies(tmp_path, small_data, read_corpus):  # noqa: F811
    first, second = in_(tmp_path / "first"), in_(tmp_path / "elsewhere" / "second")
    staged = first.workspace.data / "staging" / "data"
    shutil.copytree(small_data, staged)
    data = versioning.commit(staged, settings=first)
    with mlflow_of(first) as settings:
        run = training.train(read_corpus, data=data, settings=settings)
        model = candidate.register(read_corpus, run=run, data=data, settings=settings)
    backup.backup(first, to=tmp_path / "kept.tar")
    first.workspace.root.rename(tmp_path / "gone")  # nothing may be read where it was

    backup.restore(second, source=tmp_path / "kept.tar")
    with mlflow_of(second) as settings:
        kept = Registry(str(settings.mlflow_url)).ref(model.name, model.version)
        found = verify(kept, settings=settings)
    assert (found.verdict, found.num_steps) == ("identical", read_corpus.num_steps)
    assert found.retrained_sha256 == run.weights_sha256
