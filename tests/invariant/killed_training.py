"""A training that kills itself by SIGKILL after STEP: `python killed_training.py RECIPE_JSON DATA BASE RUN STEP`."""

import json
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    import torch

    from components.recipes import parse_recipe
    from components.training.finetuning import finetune

    recipe, data_dir, weights_dir, run_dir, last = sys.argv[1:]

    def die(progress):
        if progress.step == int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    finetune(
        parse_recipe(json.loads(recipe)),
        data_dir=Path(data_dir),
        weights_dir=Path(weights_dir),
        run_dir=Path(run_dir),
        on_step=die,
    )


if __name__ == "__main__":
    main()
