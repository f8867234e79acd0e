"""A worker as `components.training.launch` starts it, whose rank 1 kills itself after step 5 of the first attempt."""

import os
import signal

from components.training.launch import work


def die(progress):
    if progress.step == 5 and (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]) == ("1", "0"):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    work(on_step=die)
