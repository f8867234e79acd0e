"""A process that writes feedback as fast as it can and says each row's id once the ledger has acknowledged it.

Run as `python ledger_writer.py <first number> [<most bytes a file may have>]`; it never ends by itself but at an error.
"""

import itertools
import resource
import signal
import sys

from components.errors import LedgerError
from components.ledger.store import Ledger
from components.refs import ModelRef
from components.settings import load_settings

MODEL = ModelRef(name="banyan-library", version=1, run_id="r", weights_sha256="0" * 64)


def main() -> None:
    if len(sys.argv) > 2:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    ledger = Ledger(load_settings())
    for number in itertools.count(int(sys.argv[1])):
        try:
            ledger.record_answer(
                f"request-{number}",
                table="library",
                model=MODEL,
                template_sha256="",
                generation={},
                text=f"text {number}",
                output="sympy",
            )
            ledger.record_feedback(f"feedback-{number}", request_id=f"request-{number}", kind="approve")
        except LedgerError as err:
            print(f"refused {err}", flush=True)
            return
        print(f"feedback-{number}", flush=True)


if __name__ == "__main__":
    main()
