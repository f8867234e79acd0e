"""Small trainings, and an installation that has their data."""

import shutil

import pytest

from components.data import versioning
from components.settings import Settings
from tests.small_trainings import (  # noqa: F401  fixtures
    classify,
    one_thread,
    read_corpus,
    small_bert,
    small_data,
    small_llama,
    write_lines,
)


@pytest.fixture(scope="session")
def installation(tmp_path_factory, small_data) -> Settings:  # noqa: F811
    """A workspace whose newest data version is `small_data`, and an MLflow in a file."""
    root = tmp_path_factory.mktemp("installation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BANYAN_WORKSPACE", str(root / "workspace"))
        patch.setenv("BANYAN_MLFLOW_URL", f"sqlite:///{root}/mlflow.db")
        settings = Settings()
    staged = settings.workspace.data / "staging" / "data"
    shutil.copytree(small_data, staged)
    versioning.commit(staged, settings=settings)
    return settings
