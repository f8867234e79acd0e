"""One training a device at a time: GPUs by their UUID on the whole machine, the CPU within a workspace."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from components.errors import TrainingError
from components.settings import Workspace
from components.training import turns
from components.training.turns import alone_on

ONE, OTHER = "GPU-5b1a", "GPU-9c3f"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of its own, and two GPUs of one make."""
    monkeypatch.setattr(turns, "TEMPORARY", tmp_path)
    monkeypatch.setattr(turns, "boards", lambda num: [ONE, OTHER][:num])
    return tmp_path


def begins_beside(device: str, workspace: Workspace, *, expected: bool = False) -> bool:
    """Whether another training begins while the caller's goes on; where not, it waits for that one's end."""
    begun = threading.Event()

    def train() -> None:
        with alone_on(device, workspace=workspace):
            begun.set()

    training = threading.Thread(target=train, daemon=True)
    training.start()
    training.join(20 if expected else 0.3)
    return begun.is_set()


@pytest.mark.parametrize(("there", "begins"), [(ONE, False), (OTHER, True)])
def test_another_workspace_waits_for_the_same_gpu_and_trains_beside_on_its_twin(tmp_path, monkeypatch, there, begins):
    with alone_on("cuda", workspace=Workspace(tmp_path / "a")):
        monkeypatch.setattr(turns, "boards", lambda _: [there])
        assert begins_beside("cuda", Workspace(tmp_path / "b"), expected=begins) is begins


def test_two_gpus_of_one_make_train_side_by_side_in_one_workspace(tmp_path, monkeypatch):
    with alone_on("cuda", workspace=Workspace(tmp_path / "a")):
        monkeypatch.setattr(turns, "boards", lambda _: [OTHER])
        assert begins_beside("cuda", Workspace(tmp_path / "a"), expected=True)


def test_a_training_in_several_workers_holds_each_of_their_gpus(tmp_path, monkeypatch):
    with alone_on("cuda", workspace=Workspace(tmp_path / "a"), num_devices=2):
        monkeypatch.setattr(turns, "boards", lambda _: [OTHER])
        assert not begins_beside("cuda", Workspace(tmp_path / "b"))


@pytest.mark.parametrize(("there", "begins"), [("a", False), ("b", True)])
def test_the_cpu_is_held_within_a_workspace_and_shared_between_two(tmp_path, there, begins):
    with alone_on("cpu", workspace=Workspace(tmp_path / "a")):
        assert begins_beside("cpu", Workspace(tmp_path / there), expected=begins) is begins


def test_a_device_is_free_again_when_its_holder_was_killed(tmp_path):
    held = (
        "import sys, time; from pathlib import Path; from components.training import turns;"
        "from components.settings import Workspace; turns.TEMPORARY = Path(sys.argv[1]);"
        f"turns.boards = lambda _: [{ONE!r}];\n"
        "with turns.alone_on('cuda', workspace=Workspace(Path(sys.argv[1]))): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", held, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert not begins_beside("cuda", Workspace(tmp_path / "b"))
        holder.kill()
    with alone_on("cuda", workspace=Workspace(tmp_path / "b")):
        [file] = turns.of_this_user().iterdir()
        assert file.stat().st_mode & 0o7777 == turns.FILE_MODE, "or those who tidy temporary folders take it away"


@pytest.mark.parametrize("what", ["a link", "open to all", "a file"])
def test_a_folder_that_others_may_have_put_there_is_refused(machine, what):
    own = turns.of_this_user()
    assert own.stat().st_mode & 0o777 == 0o700
    if what == "open to all":
        own.chmod(0o777)
    else:
        own.rmdir()
        own.symlink_to(machine) if what == "a link" else own.touch()
    with pytest.raises(TrainingError, match="only you may write to"):
        turns.of_this_user()


@pytest.mark.gpu
def test_a_gpu_is_known_by_the_uuid_that_its_driver_gives():
    asked = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    assert turns.board(0) in subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
