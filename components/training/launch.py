"""Where a training runs: in this process, in several that `torchrun` starts, or on a Ray cluster. Recipes do not know.

This process starts the workers, hears of every step from the first of them, and has the finished model from the run's
folder: MLflow, the ledger and the screen are its business alone. `python -m torch.distributed.run` restarts all
workers when one dies, and they go on at the last checkpoint (PyTorch's documentation, "torchrun (Elastic Launch)").
"""

import importlib.util
import json
import logging
import os
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components import errors
from components.errors import BanyanError, RecipeError, TrainingError
from components.recipes import Finetune, Preference, Pretrain, parse_recipe
from components.settings import Settings
from components.training.distributed import Strategy, World, check, joined, named
from components.training.result import Evaluation, Progress, Trained

log = logging.getLogger(__name__)

MAX_RESTARTS = 3
MARK = "\x1ebanyan "
"""Begins a line of a worker's output that is for the process that started it."""
ENTRY = ("-m", "components.training.launch")
ON_RAY = ("-m", "components.training.ray_launch")


@dataclass(frozen=True)
class Launch:
    """How many workers, and what they share."""

    workers: int
    strategy: Strategy
    threads: int
    """Of each."""
    device: str
    """`cpu` or `cuda`."""
    ray_address: str = ""
    """Of the cluster whose nodes they are on, as `ray.init` takes it; empty: on this machine."""

    @property
    def conditions(self) -> dict[str, Any]:
        """What of it belongs to the lock."""
        parallel = named(self.workers, self.strategy, "nccl" if self.device == "cuda" else "gloo")
        return {"parallel": parallel, "threads": self.threads}


def launch_of(recipe: Pretrain | Finetune, *, settings: Settings) -> Launch | None:
    """How the settings want the recipe trained; None: in this process.

    Raises:
        RecipeError: a setting without effect, more workers than GPUs, or a training that is for one process.
    """
    if settings.workers == 1:
        if settings.parallel != "ddp":
            raise RecipeError("BANYAN_PARALLEL=fsdp has no effect on one worker", "set BANYAN_WORKERS, or leave it out")
        return None
    if isinstance(recipe, Preference):
        raise RecipeError(f"{recipe.name}: training by preference is for one process", "leave BANYAN_WORKERS out")
    check(recipe, World(size=settings.workers, strategy=settings.parallel))
    import torch

    from components.training.device import resolve

    device = resolve(recipe.device).type
    if device == "cuda" and not settings.ray_address and settings.workers > torch.cuda.device_count():
        raise RecipeError(
            f"BANYAN_WORKERS={settings.workers}, and there are {torch.cuda.device_count()} GPUs here",
            "take one worker a GPU",
        )
    threads = max(1, torch.get_num_threads() // settings.workers)
    if settings.ray_address and importlib.util.find_spec("ray") is None:
        raise RecipeError(
            f"BANYAN_WORKERS={settings.workers} on the Ray cluster {settings.ray_address}: Ray is not installed",
            "pip install 'banyan-llm[ray]', or leave BANYAN_RAY_ADDRESS out",
        )
    return Launch(settings.workers, settings.parallel, threads, device, settings.ray_address or "")


def train(
    recipe: Pretrain | Finetune,
    launch: Launch,
    *,
    data_dir: Path,
    weights_dir: Path | None,
    run_dir: Path,
    on_step: Callable[[Progress], None] | None = None,
    on_evaluate: Callable[[Evaluation], None] | None = None,
    entry: Sequence[str] = ENTRY,
) -> Trained:
    """Train in workers of their own, and wait for them. They end with this process, however it ends.

    Args:
        entry: the worker's program, as the interpreter takes it.

    Raises:
        BanyanError: what a worker raised.
        TrainingError: the workers ended without a result, after so many restarts.
    """
    folders = {"data_dir": str(data_dir.absolute()), "run_dir": str(run_dir.absolute())}
    folders["weights_dir"] = str(weights_dir.absolute()) if weights_dir else ""
    asked = json.dumps({"recipe": recipe.model_dump(mode="json"), "launch": asdict(launch), **folders})
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "launch.json").write_text(asked, "utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={launch.workers}"]
    command += [f"--max-restarts={MAX_RESTARTS}", "--monitor-interval=0.2", *entry]
    if launch.ray_address:
        command = [sys.executable, *ON_RAY]
    command.append(str(run_dir.absolute() / "launch.json"))
    # the interpreter of a script has the script's folder on its path, and not this one's packages
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "OMP_NUM_THREADS": str(launch.threads), "PYTHONPATH": path}
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as started:
        try:
            return _follow(started, on_step=on_step, on_evaluate=on_evaluate)
        finally:
            started.terminate()  # torchrun hands it to its workers


def _follow(
    started: "subprocess.Popen[str]",
    *,
    on_step: Callable[[Progress], None] | None,
    on_evaluate: Callable[[Evaluation], None] | None,
) -> Trained:
    assert started.stdout is not None
    last: deque[str] = deque(maxlen=30)
    crash = ""
    trained: Trained | None = None
    for line in started.stdout:
        before, mark, told = line.rstrip("\n").partition(MARK)
        if before:
            last.append(before)
            log.debug("%s", before)
        if not mark:
            continue
        kind, content = json.loads(told)
        if kind == "step" and on_step:
            on_step(Progress(**content))
        elif kind == "evaluation" and on_evaluate:
            on_evaluate(Evaluation(**content))
        elif kind == "error":
            raise _error(content)
        elif kind == "restart":
            log.warning("a worker died: all were started again (%d), from the last checkpoint", content)
        elif kind == "crash":
            crash = content
        elif kind == "trained":
            trained = _trained(content)
    code = started.wait()
    if trained is None or code:
        what = crash or "\n".join(last)  # torchrun's own lines follow a worker's traceback and push it out
        raise TrainingError(f"the workers ended with code {code} and without a result:\n{what}", "run it again")
    return trained


def _trained(content: Mapping[str, Any]) -> Trained:
    from components.training.lock import Lock

    fields = {"model_dir": Path(content["model_dir"]), "lock": Lock(**content["lock"])}
    return Trained(**{**content, **fields, "losses": tuple(content["losses"])})


def _error(content: Mapping[str, str]) -> BanyanError:
    kind = getattr(errors, content["kind"], TrainingError)
    found = kind(content["message"], content["remedy"])
    return found if isinstance(found, BanyanError) else TrainingError(content["message"], content["remedy"])


# ---------------------------------------------------------------- in a worker


def work(on_step: Callable[[Progress], None] | None = None) -> None:
    """One worker's whole life: the program that `torchrun` starts, with the file of what is asked as its argument.

    Args:
        on_step: called at every step, in every worker.
    """
    asked = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if restarts and os.environ["RANK"] == "0":
        tell("restart", restarts)
    if not take_part(asked, tell=tell, on_step=on_step):
        sys.exit(1)


def take_part(
    asked: Mapping[str, Any],
    *,
    tell: Callable[[str, object], None],
    on_step: Callable[[Progress], None] | None = None,
) -> bool:
    """Train as one of several, and let the first one tell. False where it cannot be, which was told, and would come
    again after a restart."""
    import torch

    launch, recipe = Launch(**asked["launch"]), parse_recipe(asked["recipe"])
    data_dir, run_dir = Path(asked["data_dir"]), Path(asked["run_dir"])
    torch.set_num_threads(launch.threads)
    try:
        with joined(launch.strategy, size=launch.workers, device=launch.device) as world:

            def told(progress: Progress) -> None:
                if world.is_first:
                    tell("step", asdict(progress))
                if on_step:
                    on_step(progress)

            def evaluated(evaluation: Evaluation) -> None:
                if world.is_first:
                    tell("evaluation", asdict(evaluation))

            calls: dict[str, Any] = {"on_step": told, "on_evaluate": evaluated, "world": world}
            if isinstance(recipe, Pretrain):
                from components.training.pretraining import pretrain

                done = pretrain(recipe, data_dir=data_dir, run_dir=run_dir, **calls)
            else:
                from components.training.finetuning import finetune

                weights_dir = Path(asked["weights_dir"])
                done = finetune(recipe, data_dir=data_dir, weights_dir=weights_dir, run_dir=run_dir, **calls)
            if world.is_first:
                tell("trained", asdict(done) | {"model_dir": str(done.model_dir)})
    except BanyanError as err:
        tell("error", {"kind": type(err).__name__, "message": err.message, "remedy": err.remedy})
        return False
    except Exception:  # who started the workers may start them again; if it is the last time, it says why
        tell("crash", traceback.format_exc(limit=-6))
        raise
    return True


def tell(kind: str, content: object) -> None:
    """One line for the process that started this one, in one write, so that lines of several do not mix."""
    sys.stdout.write(f"{MARK}{json.dumps([kind, content])}\n")
    sys.stdout.flush()


def end_with_the_parent() -> None:
    """Its end closes the pipe that is our standard input, even where it was killed."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    work()
