"""Trainings one after another, each in so many processes: `python ranks.py JOBS_JSON` prints what came of them.

The processes are forked, so that torch and transformers are imported once.
"""

import json
import os
import shutil
import signal
import socket
import sys
from pathlib import Path


def in_a_worker(job, rank, port):
    import torch

    from components.errors import BanyanError
    from components.recipes import Pretrain, parse_recipe
    from components.training.distributed import ALONE, joined
    from components.training.finetuning import finetune
    from components.training.pretraining import pretrain

    torch.set_num_threads(1)
    recipe, run_dir, size = parse_recipe(job["recipe"]), Path(job["run_dir"]), job["workers"]

    def on_step(progress):
        if progress.step == job.get("stop"):
            os._exit(9)

    def train(world):
        calls = {"data_dir": Path(job["data"]), "run_dir": run_dir, "on_step": on_step, "world": world}
        if isinstance(recipe, Pretrain):
            return pretrain(recipe, **calls)
        return finetune(recipe, weights_dir=Path(job["weights"]), **calls)

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        if size == 1:
            done = train(ALONE)
        else:
            with joined(job.get("strategy", "ddp"), size=size, device="cpu") as world:
                done = train(world)
        found = {"losses": done.losses, "sha256": done.weights_sha256, "resumed_from": done.resumed_from}
        found |= {"parallel": done.lock.parallel, "metrics": done.metrics}
    except BanyanError as err:
        found = {"error": str(err)}
    Path(f"{run_dir}.{rank}.json").write_text(json.dumps(found))


def main():
    # what the children would each import, from torch.nn.parallel to the models' own modules
    import transformers.models.bert.modeling_bert
    import transformers.models.llama.modeling_llama  # noqa: F401

    import components.training.averaging
    import components.training.finetuning
    import components.training.pretraining  # noqa: F401

    results = []
    for job in json.loads(sys.argv[1]):
        if "goes_on" in job:
            shutil.copytree(job["goes_on"], job["run_dir"])
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        children = []
        for rank in range(job["workers"]):
            if (child := os.fork()) == 0:
                try:
                    in_a_worker(job, rank, port)
                    os._exit(0)
                except BaseException:
                    import traceback

                    traceback.print_exc()
                    os._exit(1)
            children.append(child)
        codes = {}
        while len(codes) < len(children):  # as torchrun does: where one ends badly, the others are ended
            child, status = os.wait()
            codes[child] = os.waitstatus_to_exitcode(status)
            if codes[child]:
                for other in set(children) - set(codes):
                    os.kill(other, signal.SIGKILL)
        files = [Path(f"{job['run_dir']}.{rank}.json") for rank in range(job["workers"])]
        said = [json.loads(path.read_text()) for path in files if path.exists()]
        results.append({"codes": sorted(codes.values()), "ranks": said})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
