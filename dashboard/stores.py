"""The only door to MLflow, Prefect, the ledger, the gateway and the data versions.

Every method answers with `records` or raises `StoreError`; nothing here draws, decides or remembers.
"""

import contextlib
import itertools
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from components import prefect_key
from components.errors import BanyanError
from components.feedback.appeals import appeal
from components.feedback.trigger_file import trigger_policy
from components.ledger.actions import Actor, perform, require
from components.ledger.schema import ActionRow, Answer, Fate, Feedback, LookRow
from components.settings import Settings
from components.supervisor import addresses, read_stack
from dashboard import builds
from dashboard.examples import example
from dashboard.measured_rows import MeasuredRow, OnFile, measured_rows, on_files
from dashboard.prefect_replies import orchestration_of, run_detail
from dashboard.records import (
    Answered,
    Bin,
    CostState,
    Curve,
    DataState,
    LedgerState,
    ModelVersion,
    Orchestration,
    Run,
    RunDetail,
    Seat,
    Service,
    StoreError,
    Turn,
)
from dashboard.replies import (
    activity,
    answered_of,
    bins_of,
    data_version,
    framed,
    json_of,
    model_version,
    plan_of,
    seat_of,
    translated,
)
from dashboard.stream_replies import pieces_of, told_of, turn_of

if TYPE_CHECKING:
    from components.evaluation.parity import Parity
    from components.feedback.closing import Measures
    from components.feedback.mine import Mine
    from components.ledger.store import Ledger
    from components.registry import Registry

log = logging.getLogger("banyan.dashboard")
T = TypeVar("T")
QUICK = httpx.Timeout(5.0, connect=1.0)
ANSWER = httpx.Timeout(90.0, connect=1.0)
EXPLANATION = httpx.Timeout(600.0, connect=1.0)
"""Of a long text on a busy machine minutes."""
"""A generated answer takes seconds, and longer behind others."""
CHANNEL = "dashboard"
TRIGGER = Path(__file__).parents[1] / "flows" / "recipes" / "retrain-when.yaml"  # data, not code: nothing is imported
PAGE_ROWS = 12
NUM_LOOKS = 60


# ---------------------------------------------------------------- the door


@dataclass
class Stores:
    """All of them, by the settings of this process."""

    settings: Settings
    _ledger: "Ledger | None" = field(default=None, repr=False)
    _registry: "Registry | None" = field(default=None, repr=False)

    # ------------------------------------------------------------ the stack

    def services(self) -> tuple[Service, ...]:
        """What the local stack says of its processes; none when no stack has been started here."""
        stack = read_stack(self.settings) or {}
        return tuple(
            Service(str(row["name"]), str(row["state"]), str(row.get("url") or "")) for row in stack.get("services", ())
        )

    # ------------------------------------------------------------ data versions

    def data(self) -> DataState:
        """Every version, and the builds that were kept out, newest first."""
        with translated("data", "the data store"):
            from components.data import versioning  # with pandas and pyarrow, 0.4 s

            head = versioning.head(self.settings)
            found = versioning.versions(self.settings)
            versions = tuple(data_version(one, builds.licences(one, self.settings), head) for one in found)
            failed = sorted(builds.failed(self.settings), key=lambda build: -build.at)
            return DataState(versions, tuple(failed))

    def report_pages(self, docs: Path) -> tuple[Path, ...]:
        """The pages of a validation report, one a batch; none when it is no longer there."""
        return tuple(sorted((docs.parent / "validations").rglob("*.html")))

    def report(self, page: Path) -> str:
        """A page of a validation report, to be shown inside ours: without what it would fetch from the net."""
        try:
            html = page.read_text("utf-8")
        except OSError as err:
            raise StoreError("data", f"{page} is not readable: {err.strerror}", is_down=False) from err
        return framed(html)

    # ------------------------------------------------------------ MLflow

    def models(self) -> tuple[ModelVersion, ...]:
        """Every registered version, by name, newest first."""
        with self._mlflow() as registry:
            found = [(name, registry.versions(name)) for name in registry.names()]
            return tuple(model_version(info, registry.url) for _, infos in found for info in infos)

    def card(self, model: ModelVersion) -> str:
        """A version's model card, Markdown."""
        with self._mlflow() as registry:
            ref = registry.ref(model.name, model.version)
            return registry.get(ref).card

    def parity(self, model: ModelVersion) -> "dict[str, Parity]":
        """Engine → what the parity gate found: before the version was registered, and on this machine since."""
        from components.evaluation.parity import measured_here, verdicts

        with translated("registry", "the parity verdicts"):
            here = measured_here(self.settings.workspace.root, model.weights_sha256)
            return verdicts(model.tags) | here

    def sample(self, model: ModelVersion) -> str:
        """What a pretrained version wrote at its end, as its card has it; empty where it wrote nothing."""
        found = re.search(r"A sample:\n\n```\n(.*?)\n```", self.card(model), flags=re.DOTALL)
        return found[1] if found else ""

    def reliability(self, model: ModelVersion) -> tuple[Bin, ...]:
        """Confidence against score in ten bins, on the test rows; none where the version states no confidence."""
        with self._mlflow() as registry:
            return bins_of(registry.per_example(registry.ref(model.name, model.version)))

    def rows_measured(self, model: ModelVersion) -> tuple[MeasuredRow, ...]:
        """The test rows of a version with what it said to them, worst first."""
        with self._mlflow() as registry:
            scores = registry.per_example(registry.ref(model.name, model.version))
        with translated("data", "the data store"):
            return measured_rows(scores, model, settings=self.settings)

    def on_files(self, model: ModelVersion) -> tuple[OnFile, ...]:
        """What versions of a registered model were found worth on files, newest first."""
        with translated("registry", "the evaluations on files"):
            return on_files(model, settings=self.settings)

    def reliability_of_baseline(self, model: ModelVersion) -> tuple[Bin, ...]:
        """The same of the plain baseline that was measured beside a version."""
        with self._mlflow() as registry:
            return bins_of(registry.baseline(registry.ref(model.name, model.version)))

    def roll_back(self, name: str, *, to: int, reason: str, actor: Actor) -> int:
        """Point `champion` at an earlier one, through the journal; the version that answers now."""
        from components.ledger.journal import Journal

        def move() -> int:
            with self._mlflow() as registry:
                journal = Journal(self._writable(), self.settings.workspace)
                return journal.rollback(registry, name, actor=actor.name, reason=reason, to=to).version

        return self.act("rollback", subject=f"{name} v{to}", actor=actor, do=move)

    @contextlib.contextmanager
    def _mlflow(self) -> "Iterator[Registry]":
        with translated("registry", "MLflow"):
            if self._registry is None:
                # A page is drawn again in seconds: it does not wait for a server that is down.
                os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
                from components.registry import Registry  # with MLflow, 0.8 s

                self._registry = Registry(addresses(self.settings).mlflow)
            yield self._registry

    # ------------------------------------------------------------ ledger

    def trigger_floor(self) -> int:
        """How many unused feedback rows start a retraining, by the recipe that the stack rings by."""
        return trigger_policy(self.settings.workspace, default=TRIGGER).minimum_feedback

    def ledger(self) -> LedgerState:
        """Answers, feedback, fates, verdicts and alias moves, counted."""
        with self._reading() as ledger:
            if ledger is None:
                return LedgerState((), (), ())
            tables = tuple(activity(ledger, table) for table in ledger.tables())
            return LedgerState(tables, tuple(ledger.verdicts()), tuple(ledger.journal()))

    def feedback(self, table: str, *, fate: str | None = None, before: int | None = None) -> tuple[Feedback, ...]:
        """One page of `PAGE_ROWS`, newest first."""
        with self._reading() as ledger:
            if ledger is None:
                return ()
            return tuple(ledger.feedback(table, fate=fate, limit=PAGE_ROWS, before=before))  # type: ignore[arg-type]

    def fate_of(self, feedback_id: str) -> tuple[Fate, ...]:
        """A row's way so far; empty when there is no such row."""
        with self._reading() as ledger:
            return tuple(ledger.fate_of(feedback_id)) if ledger else ()

    def mine(self, an_id: str) -> "tuple[Mine, ...]":
        """All that the person said who was given `an_id`, with its way, newest first; as `GET /v1/mine/{id}`."""
        from components.feedback.mine import mine

        with self._reading() as ledger:
            return tuple(mine(ledger, an_id)) if ledger else ()

    def measures(self, table: str) -> "Measures | None":
        """The loop's own figures; None while there is no ledger."""
        from components.feedback.closing import measures

        with self._reading() as ledger:
            return measures(ledger, table) if ledger else None

    def looks(self, name: str) -> tuple[LookRow, ...]:
        """All that the gate found in a registered model's newest comparisons, oldest first."""
        with self._reading() as ledger:
            return tuple(ledger.looks(name, limit=NUM_LOOKS)) if ledger else ()

    def answered_by(self, model: ModelVersion) -> tuple[Answer, ...]:
        """The newest answers of one version."""
        with self._reading() as ledger:
            return tuple(ledger.answers(model.table, model_version=model.version, limit=5)) if ledger else ()

    def appeal(self, feedback_id: str, *, why: str, actor: Actor) -> int:
        """Overrule the refusal of a feedback row through the operators' door; the number from which on cuts hold it."""
        with translated("ledger", "the ledger"):
            return appeal(self._writable(), feedback_id, actor=actor, why=why)

    def costs(self) -> CostState:
        """What every stage of every run cost, and what was planned."""
        with self._reading() as ledger:
            costs = tuple(ledger.costs()) if ledger else ()
        plans = [plan_of(path) for path in sorted((self.settings.workspace.runs / "plans").glob("*.json"))]
        ours = self.settings
        return CostState(costs, tuple(filter(None, plans)), ours.price_a_kwh, ours.price_an_hour, ours.currency)

    def actions(self) -> tuple[ActionRow, ...]:
        """What was asked for through the operators' door, newest first."""
        with self._reading() as ledger:
            return tuple(ledger.actions(limit=30)) if ledger else ()

    # ------------------------------------------------------------ the door

    def act(self, action: str, *, subject: str, actor: Actor, do: Callable[[], T]) -> T:
        """`do()` for whoever may, written down in the ledger with what became of it: the only way to change anything.

        Raises:
            NotPermitted: the actor's role does not reach so far.
            StoreError: what was asked for was refused, or could not be written down.
        """
        with translated("ledger", "the ledger"):
            return perform(action, subject=subject, actor=actor, ledger=self._writable(), do=do)

    def _writable(self) -> "Ledger":
        from components.ledger.store import Ledger

        if self._ledger is None:
            self._ledger = Ledger(self.settings)
        return self._ledger

    @contextlib.contextmanager
    def _reading(self) -> "Iterator[Ledger | None]":
        """The ledger; None while the workspace has none, since looking must not make one."""
        from components.ledger.store import Ledger

        url = self.settings.ledger_url
        if self._ledger is None and url is None and not self.settings.workspace.ledger.exists():
            yield None
            return
        try:
            if self._ledger is None:
                self._ledger = Ledger(self.settings)
            yield self._ledger
        except BanyanError as err:
            raise StoreError("ledger", err.message, err.remedy) from err

    # ------------------------------------------------------------ Prefect

    def orchestration(self, *, limit: int = 40) -> Orchestration:
        """Recent runs, what they are at, and what can be started."""
        with self._prefect() as (http, url):
            return orchestration_of(http, url, limit=limit)

    def run(self, run_id: str) -> RunDetail:
        """Steps, progress and the last log lines of a run and of what it started."""
        with self._prefect() as (http, _):
            return run_detail(http, run_id)

    def curves(self, *, since: float) -> tuple[Curve, ...]:
        """The losses so far of trainings that MLflow knows to be at work, of those begun after `since`."""
        with self._mlflow() as registry:
            found = [run for run in registry.runs(limit=8) if run.status == "RUNNING" and run.started_at >= since]
            return tuple(Curve(run.name, tuple(registry.history(run.run_id, "loss"))) for run in found)

    def cancel(self, run: Run, *, actor: Actor) -> str:
        """Ask Prefect to end a run; what its state is then."""
        kind = "CANCELLING" if run.state == "RUNNING" else "CANCELLED"
        return self.act("cancel", subject=run.name, actor=actor, do=lambda: self._set_state(run.id, {"type": kind}))

    def retry(self, run: Run, *, actor: Actor) -> str:
        """Schedule a run anew that has failed or was cancelled: it goes on from its finished steps."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": f"asked for by {actor.name}"}
        return self.act("retry", subject=run.name, actor=actor, do=lambda: self._set_state(run.id, state))

    def _set_state(self, run_id: str, state: dict[str, str]) -> str:
        with self._prefect() as (http, _):
            told = json_of(http.post(f"/flow_runs/{run_id}/set_state", json={"state": state, "force": False}))
        if told["status"] != "ACCEPT":
            reason = (told.get("details") or {}).get("reason") or told["status"]
            raise StoreError("prefect", f"Prefect did not take it: {reason}", is_down=False)
        return str(told["state"]["name"])

    def start_retraining(self, table: str, *, actor: Actor) -> str:
        """A run of the deployment `retrain/cpu`, by name; its id. A second click within a minute is the same run."""
        return self.act("retrain", subject=table, actor=actor, do=lambda: self._start_retraining(table))

    def _start_retraining(self, table: str) -> str:
        with self._prefect() as (http, _):
            found = http.get("/deployments/name/retrain/cpu")
            if found.status_code == 404:
                raise StoreError(
                    "prefect", "there is no deployment retrain/cpu", "python -m flows.deployments", is_down=False
                )
            body = {
                "parameters": {"table": table},
                "state": {"type": "SCHEDULED"},
                "tags": ["banyan", f"by:{CHANNEL}"],
                "idempotency_key": f"dashboard-{table}-{int(datetime.now().timestamp() // 60)}",
            }
            run = json_of(http.post(f"/deployments/{json_of(found)['id']}/create_flow_run", json=body))
        return str(run["id"])

    @contextlib.contextmanager
    def _prefect(self) -> Iterator[tuple[httpx.Client, str]]:
        with translated("prefect", "Prefect"):
            url = addresses(self.settings).prefect
            with httpx.Client(base_url=f"{url}/api", timeout=QUICK, headers=prefect_key.headers()) as http:
                yield http, url

    # ------------------------------------------------------------ gateway

    def seats(self) -> tuple[Seat, ...]:
        """Who answers, by table."""
        with self._gateway(QUICK) as http:
            seats = tuple(seat_of(row) for row in json_of(http.get("/v1/models"))["models"])
        with translated("data", "the data store"):
            return tuple(replace(seat, example=example(seat, settings=self.settings)) for seat in seats)

    def ask(self, table: str, question: str, *, actor: Actor) -> Answered:
        """One answer of whoever answers the actor: the table's champion, or who stands beside it."""
        body = {"input": question} | _asked_by(actor, "subject")
        with self._gateway(ANSWER) as http:
            reply = json_of(http.post(f"/v1/tasks/{table}", json=body))
        return answered_of(reply, table, question)

    def stream(self, table: str, question: str, *, actor: Actor) -> Iterator[str | Answered]:
        """The text piece by piece as it is written, then the whole with its receipt."""
        body = {"model": table, "prompt": question} | _asked_by(actor, "user")
        return self._written("/v1/completions", body, lambda last, text: told_of(last, text, table, question))

    def converse(
        self, table: str, question: str, *, before: Sequence[Turn], passages: int, actor: Actor
    ) -> Iterator[str | Turn]:
        """The next turn of a conversation piece by piece, then whole; with `passages`, out of so many of the documents.

        Who points into documents writes nothing: all that is said comes as one piece.
        """
        said = [
            text for turn in before for text in (turn.question, turn.answered.output) if turn.answered.output.strip()
        ]
        roles = itertools.cycle(("user", "assistant"))
        messages = [{"role": role, "content": text} for role, text in zip(roles, [*said, question], strict=False)]
        body: dict[str, Any] = {"model": table, "messages": messages} | _asked_by(actor, "user")
        body |= {"retrieve": passages} if passages else {}
        return self._written("/v1/chat/completions", body, lambda last, text: turn_of(last, text, table, question))

    def _written(
        self, path: str, body: dict[str, Any], whole: Callable[[Mapping[str, Any], str], T]
    ) -> Iterator[str | T]:
        said = ""
        with self._gateway(ANSWER) as http, http.stream("POST", path, json=body | {"stream": True}) as reply:
            if reply.is_error:
                reply.read()
                json_of(reply)
            for piece in pieces_of(reply.iter_bytes()):
                if isinstance(piece, str):
                    said += piece
                    yield piece
                else:
                    yield whole(piece, said)

    def finding(self, name: str) -> dict[str, Any]:
        """What a benchmark has found and kept here; empty where none has."""
        from components.evaluation.curves import read

        return read(name, settings=self.settings) or {}

    def explain(self, request_id: str, *, actor: Actor) -> dict[str, Any]:
        """Why an answer was given, as the gateway says it; takes seconds."""
        with translated("ledger", "the ledger"):
            require("explain", subject=request_id, actor=actor, ledger=self._writable())
        with self._gateway(EXPLANATION) as http:
            found: dict[str, Any] = json_of(http.get(f"/v1/explain/{request_id}"))
        return found

    def run_examples(self, program: str, examples: str) -> str:
        """A program's doctest examples, run in the sandbox: `passed`, or what happened.

        Raises:
            SandboxUnavailable: code that nobody has read cannot be isolated here.
        """
        from components.tasks.code import passes

        return passes(program, examples=examples)

    def compare(self, table: str, question: str, *, actor: Actor) -> tuple[Answered, ...]:
        """Champion and challenger on the same text, in an order that was drawn."""
        with translated("ledger", "the ledger"):
            require("preference", subject=table, actor=actor, ledger=self._writable())
        with self._gateway(ANSWER) as http:
            body = {"input": question} | _asked_by(actor, "subject")
            found = json_of(http.post(f"/v1/tasks/{table}/compare", json=body))
        return tuple(answered_of(reply, table, question) for reply in found["answers"])

    def prefer(self, better: Answered, other: Answered, *, actor: Actor) -> str:
        """Keep which of two answers somebody likes better; the feedback's id."""
        return self.give_feedback(better.request_id, actor=actor, kind="prefer", other_request_id=other.request_id)

    def give_feedback(
        self,
        request_id: str,
        *,
        actor: Actor,
        kind: str,
        correction: str = "",
        comment: str = "",
        rating: int | None = None,
        other_request_id: str = "",
    ) -> str:
        """The feedback's id, once the gateway has it for good.

        The id follows from the answer's, so that a click too many stays one row, and a change of mind is refused.
        """
        with translated("ledger", "the ledger"):
            require("feedback", subject=request_id, actor=actor, ledger=self._writable())
        feedback_id = uuid.uuid5(uuid.NAMESPACE_OID, f"{CHANNEL}/{request_id}").hex
        body: dict[str, Any] = {"feedback_id": feedback_id, "request_id": request_id, "kind": kind, "channel": CHANNEL}
        told = {"correction": correction, "comment": comment, "subject": actor.subject}
        told |= {"other_request_id": other_request_id}
        body |= {name: text for name, text in told.items() if text}
        body |= {} if rating is None else {"rating": rating}
        with self._gateway(QUICK) as http:
            return str(json_of(http.post("/v1/feedback", json=body))["feedback_id"])

    @contextlib.contextmanager
    def _gateway(self, timeout: httpx.Timeout) -> Iterator[httpx.Client]:
        key = self.settings.api_key
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        with translated("gateway", "the gateway"):
            url = addresses(self.settings).gateway
            with httpx.Client(base_url=url, timeout=timeout, headers=headers) as http:
                yield http


def _asked_by(actor: Actor, name: str) -> dict[str, str]:
    """Under the same name as their feedback: who speaks of an answer must be who was given it."""
    return {name: actor.subject} if actor.subject else {}
