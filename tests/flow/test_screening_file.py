"""One file says which feedback may teach: the workspace's, else the package's; everybody reads the same."""

from pathlib import Path

import pytest

from components import backup
from components.errors import RecipeError
from components.ledger.store import Ledger
from components.settings import Settings
from flows import policies, stack

PORTS = {"prefect": 4200, "mlflow": 5000, "gateway": 8000, "dashboard": 8501}


def wishes(settings: Settings, text: str = "kind: screening\ndeclared_channels: [survey-bot]\n") -> Path:
    path = settings.workspace.root / "screening.yaml"
    path.write_text(text)
    return path


def handed_to(settings: Settings, service: str) -> Path:
    [found] = [one for one in stack.services(settings, ports=PORTS) if one.name == service]
    return Path(found.argv[found.argv.index("--screening") + 1])


def test_the_workspaces_file_comes_before_the_packages(settings):
    packages = Path(stack.__file__).parent / "recipes" / "screening.yaml"
    assert policies.screening().declared_channels == ("scripted-rater",)
    assert handed_to(settings, "relay") == handed_to(settings, "gateway") == packages
    own = wishes(settings)
    assert handed_to(settings, "relay") == own
    assert policies.screening().declared_channels == ("survey-bot",)


@pytest.mark.parametrize("text", ["kind: screening\nburst_row: 7\n", "kind: gate\n", "[", ""])
def test_the_stack_does_not_start_on_one_that_does_not_read(settings, text):
    path = wishes(settings, text)
    with pytest.raises(RecipeError, match=str(path)):
        stack.start(settings)
    assert not settings.workspace.stack_file.exists()


def test_it_is_in_the_backup(settings, tmp_path, monkeypatch):
    wishes(settings)
    with Ledger(settings):
        pass
    backup.backup(settings, to=tmp_path / "kept.tar")
    other = settings.model_copy(update={"workspace_dir": tmp_path / "other"})
    backup.restore(other, source=tmp_path / "kept.tar")
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "other"))
    assert policies.screening().declared_channels == ("survey-bot",)
