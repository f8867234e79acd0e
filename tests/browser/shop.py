"""A small shop's desk: messages that belong to one of three departments, and a classifier that has seen too few.

The stack that serves and retrains it is a whole one, in processes of its own, started as `banyan up` starts it. With
the rows of `NUM_ROWS` the first model is right in six of ten cases; with the feedback it is in more than nine: a
difference that the platform's own gate is sure of.
"""

import csv
import os
import random
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from components.recipes import FileSource, Ingest
from components.supervisor import addresses, leftovers
from tests.fault.small_loop import EAGER, PATIENCE_SECONDS, Installation
from tests.fault.small_loop import RECIPE as SMALL

TABLE = "messages"
NUM_ROWS = 230
FLOOR = 96
"""Rows of feedback that are enough here; the people other than the one at the browser say as many."""
NUM_PEOPLE = 24
AS_LONG = {"max_length_tokens": 48, "checkpoint_every_steps": 40}
"""A message is longer than the sentences of the small loop."""
RECIPE = SMALL.model_copy(update={"name": TABLE, "table": TABLE} | AS_LONG)
TRIGGER = f"kind: trigger\nminimum_feedback: {FLOOR}\nquiet_seconds: 3\nlongest_wait_seconds: 600\n"

THINGS: Mapping[str, tuple[str, ...]] = {
    "garden": (
        *("rake", "spade", "hose", "wheelbarrow", "trowel", "shears", "watering can", "greenhouse", "mower", "fence"),
        *("fertiliser", "seedlings", "hedge", "compost", "trellis", "gloves", "pruner", "sprinkler", "bulbs", "mulch"),
    ),
    "kitchen": (
        *("ladle", "whisk", "colander", "kettle", "saucepan", "spatula", "grater", "teapot", "skillet", "peeler"),
        *("corkscrew", "oven", "fridge", "toaster", "blender", "rolling pin", "sieve", "mortar", "tongs", "freezer"),
    ),
    "office": (
        *("stapler", "printer", "folder", "whiteboard", "notebook", "scanner", "envelopes", "calculator", "router"),
        *("keyboard", "projector", "binder", "highlighter", "monitor", "headset", "shredder", "desk", "lamp", "labels"),
    ),
}
OPENINGS = ("Hello", "Good morning", "A question", "Please help", "Dear team", "Hi there", "Sorry to ask")
ASKS = (
    *("I am looking for", "we ordered", "do you still sell", "I would like to return", "my parcel lacked"),
    *("when will you have", "somebody broke", "I do not like the colour of"),
)
ENDS = ("before Friday", "for my sister", "in a larger size", "at the old price", "with a receipt", "for the new house")


def messages(seed: int) -> Iterator[tuple[str, str]]:
    """A text and its department, without end."""
    draws = random.Random(seed)
    while True:
        label = draws.choice(sorted(THINGS))
        one, two, three = draws.sample(THINGS[label], 3)
        asked = f"{draws.choice(ASKS)} the {one}, the {two} and the {three} {draws.choice(ENDS)}"
        yield f"{draws.choice(OPENINGS)}: {asked}.", label


class Shop:
    """The installation, and everybody but the person at the browser."""

    def __init__(self, folder: Path) -> None:
        path, rows = folder / f"{TABLE}.csv", messages(seed=5)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "label"))
            writer.writerows(next(rows) for _ in range(NUM_ROWS))
        # A range a process of tests: a port that is let go for a moment is not another's meanwhile.
        first = 15_300 + 50 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        wanted = {"PREFECT": first, "MLFLOW": first + 10, "GATEWAY": first + 20, "DASHBOARD": first + 30}
        ports = {f"BANYAN_{name}_PORT": str(port) for name, port in wanted.items()}
        self.stack = Installation(folder / "workspace", seed=5, env=ports)
        source = FileSource(path=path, table=TABLE, task="classification", licence="CC0-1.0")
        self.ingest = Ingest(name=TABLE, sources=(source,), test_share=0.6)
        self.settings = self.stack.settings
        self.settings.workspace.root.mkdir()
        (self.settings.workspace.root / "retrain-when.yaml").write_text(TRIGGER, "utf-8")

    def open(self) -> None:
        """The stack, the data, a first champion."""
        self.stack.start()
        self.stack.completed(self.stack.run("ingest/cpu", recipe=self.ingest.model_dump(mode="json")))
        given = {"recipe": RECIPE.model_dump(mode="json"), "policy": EAGER.model_dump(mode="json")}
        self.stack.completed(self.stack.run("finetune/cpu", **given))

    def close(self) -> list[str]:
        """Ctrl-C; the command lines of what it has left."""
        if self.stack.process is not None:
            self.stack.process.terminate()
            self.stack.process.wait(PATIENCE_SECONDS)
        left = [" ".join(process.cmdline()) for process in leftovers(self.settings.workspace)]
        self.stack.stop()
        return left

    @property
    def dashboard(self) -> str:
        """Its URL."""
        return addresses(self.settings).dashboard

    def ask(self, text: str, *, subject: str | None = None) -> tuple[str, int, str]:
        """At the gateway, as an application does: the answer, the version that gave it, the request's id."""
        body = {"input": text} | ({"subject": subject} if subject else {})
        answer = self._post(f"/v1/tasks/{TABLE}", body)
        return answer["output"], answer["receipt"]["version"], answer["request_id"]

    def others_speak(self) -> None:
        """Other people ask and say what is right, until it is enough."""
        said = messages(seed=6)
        for place in range(FLOOR):
            (text, label), subject = next(said), f"person {place % NUM_PEOPLE}"
            output, _, request_id = self.ask(text, subject=subject)
            opinion = {"kind": "approve"} if output == label else {"kind": "correct", "correction": label}
            ids = {"feedback_id": uuid.uuid4().hex, "request_id": request_id, "subject": subject}
            self._post("/v1/feedback", opinion | ids)

    def _post(self, path: str, body: dict[str, object]) -> dict[str, object]:
        url = addresses(self.settings).gateway
        with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
            return client.post(path, json=body).raise_for_status().json()
