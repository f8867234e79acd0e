"""One file says when an installation retrains: the workspace's, else the package's; everybody reads the same."""

from pathlib import Path

import pytest

from components import backup
from components.errors import RecipeError
from components.ledger.store import Ledger
from components.settings import Settings
from dashboard.stores import Stores
from flows import policies, stack
from flows.deployments import by_itself

PORTS = {"prefect": 4200, "mlflow": 5000, "gateway": 8000, "dashboard": 8501}


def wishes(settings: Settings, text: str = "kind: trigger\nminimum_feedback: 7\n") -> Path:
    path = settings.workspace.root / "retrain-when.yaml"
    path.write_text(text)
    return path


def of_the_relay(settings: Settings) -> str:
    [relay] = [one for one in stack.services(settings, ports=PORTS) if one.name == "relay"]
    return relay.argv[relay.argv.index("--policy") + 1]


def test_the_workspaces_file_comes_before_the_packages(settings):
    packages = policies.trigger().minimum_feedback
    assert packages != 7 and Stores(settings).trigger_floor() == packages
    assert Path(of_the_relay(settings)).is_relative_to(Path(stack.__file__).parent)
    own = wishes(settings)
    assert of_the_relay(settings) == str(own)
    assert policies.trigger().minimum_feedback == Stores(settings).trigger_floor() == 7
    assert by_itself("library")["trigger"]["minimum_feedback"] == 7, "what bells and schedules hand on"


@pytest.mark.parametrize("text", ["kind: trigger\nminimum_feedbak: 7\n", "kind: gate\n", "[", ""])
def test_the_stack_does_not_start_on_one_that_does_not_read(settings, text):
    path = wishes(settings, text)
    with pytest.raises(RecipeError, match=str(path)):
        stack.start(settings)
    assert not settings.workspace.stack_file.exists()


def test_it_is_in_the_backup(settings, tmp_path):
    wishes(settings)
    with Ledger(settings):
        pass
    backup.backup(settings, to=tmp_path / "kept.tar")
    other = settings.model_copy(update={"workspace_dir": tmp_path / "other"})
    backup.restore(other, source=tmp_path / "kept.tar")
    assert Stores(other).trigger_floor() == 7
