"""Code generation: a Python function from its description, judged by running its tests in the sandbox."""

import ast
import builtins
import json
import math
import re
import secrets
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from components import sandbox
from components.tasks.base import Answer, Feedback, FileFormat, RawRow
from components.tasks.writing import Writing, body_and_head, positions

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NUM_AT_ONCE = 2
"""Programs that run side by side."""
LIMITS = sandbox.Limits()
"""Of one program with its tests."""
_GOES_ON = re.compile(r"(?:def|class|import|from|async def)\b|[@)\]}]")
"""How a line at the margin begins that belongs to a whole program rather than to what a model babbles after it."""

_DEF = re.compile(r"^\s*(?:async\s+)?def\s", re.MULTILINE)

_RUNNER = """
import io, json, sys
job = json.loads(sys.stdin.readline())
shown, sys.stdout = sys.stdout, io.StringIO()
space = {"__name__": "solution"}
exec(compile(job["program"], "solution", "exec"), space)
exec(compile(job["tests"], "tests", "exec"), space)
if job["examples"]:
    import doctest
    test = doctest.DocTestParser().get_doctest(job["examples"], space, "examples", None, 0)
    failed = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    if failed.failed or not failed.attempted:
        raise AssertionError(sys.stdout.getvalue()[-2000:])
print(job["token"], file=shown, flush=True)
"""
"""The token is printed last, so that a program that ends early, with whatever exit code, has not passed."""


class Code(Writing):
    """Answers are a function's body, indented, or a whole program; see `program_of`."""

    name = "code"
    title = "A Python function from its description"
    columns = ("text", "target", "tests")
    column_types = MappingProxyType({"target": "lines", "tests": "lines"})
    metric_name = "pass_at_1"
    metrics = ("parses", "timed_out")
    template = "{text}"
    lead = "\n"
    example = 'def mean(values):\n    """The arithmetic mean.\n\n    >>> mean([1, 2, 6])\n    3.0\n    """'
    baseline_name = "body of the most similar training function (TF-IDF)"

    def fit(self, text: str, target: str) -> str:
        """What is no Python teaches none; a function's body that was written at the margin is moved under its `def`."""
        wrong = _why_no_python(program_of(text, target))
        if not wrong:
            return target
        body = textwrap.indent(target, "    ")
        if _DEF.search(text) and not _why_no_python(program_of(text, body)):
            return body
        raise ValueError(f"with its text it is no Python: {wrong}")

    def training_row(self, text: str, feedback: Feedback) -> str | None:
        """As for every task, but that under a `def` the first line of a correction keeps its indentation."""
        target = super().training_row(text, feedback)
        if target is None or feedback.kind != "correct" or not _DEF.search(text):
            return target
        return (feedback.correction or "").strip("\n").rstrip()

    def is_over(self, ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> bool:
        """Once a line begins that is no part of the function."""
        text = str(tokenizer.decode(list(ids), skip_special_tokens=True))
        return "\n" in text and _end(text) < len(text)

    def said(self, ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> str:
        text = str(tokenizer.decode(list(ids), skip_special_tokens=True))
        return text[: _end(text)].rstrip().lstrip("\n")

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """1 where the program passes its tests in the sandbox: the row's own, or the examples in its docstring.

        A row with neither scores 1 where answer and target are the same syntax tree: nothing is run. `outcome` says
        what happened: passed, failed, timed out, killed, does not parse, same, different.
        """
        from concurrent.futures import ThreadPoolExecutor

        import pandas as pd

        tests = list(frame["tests"]) if "tests" in frame else [""] * len(frame)
        jobs = list(zip(answers, frame["text"], frame["target"], tests, strict=True))
        with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
            outcomes = list(pool.map(lambda job: _outcome(*job), jobs))
        rows = [
            {
                "id": row_id,
                "prediction": answer.output,
                "target": target,
                "score": float(outcome in {"passed", "same"}),
                "confidence": answer.confidence,
                "outcome": outcome,
            }
            for (answer, _, target, _), row_id, outcome in zip(jobs, frame["id"], outcomes, strict=True)
        ]
        return pd.DataFrame(rows, columns=["id", "prediction", "target", "score", "confidence", "outcome"])

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """Shares of answers that are Python at all, and that ran out of time."""
        outcome = per_example["outcome"]
        return {
            "parses": float((outcome != "does not parse").mean()),
            "timed_out": float((outcome == "timed out").mean()),
        }

    def drawn(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", frame: "pd.DataFrame", *, k: int
    ) -> dict[str, list[float]]:
        """pass@1 and pass@k, estimated from 2k drawn answers."""
        found = sampled_pass_at_k(model, tokenizer, frame, num_samples=2 * k, ks=(1, k))
        return {f"drawn_pass_at_{at}": each for at, each in found.items()}

    def baseline(
        self,
        train: "pd.DataFrame",
        test: "pd.DataFrame",
        labels: Sequence[str],  # noqa: ARG002  # free text has none
    ) -> "pd.DataFrame":
        """It writes nothing: it repeats the body under the most similar text, its parameters renamed in their order."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # 0.9 s to import

        words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"[A-Za-z]+")  # noqa: S106  # no password
        near = words.fit_transform(train["text"])  # rows of length 1: their product is the cosine
        similarity = (words.transform(test["text"]) @ near.T).toarray()
        texts, targets = train["text"].to_numpy(), train["target"].to_numpy()
        answers = []
        for i, (k, text) in enumerate(zip(similarity.argmax(1), test["text"], strict=True)):
            renamed = str(targets[k])
            for theirs, ours in zip(_parameters(str(texts[k])), _parameters(text), strict=False):
                renamed = re.sub(rf"\b{re.escape(theirs)}\b", ours, renamed)
            answers.append(Answer(renamed, float(similarity[i, k])))
        return self.score(answers, test)

    def gold(self, code: ast.Module) -> Iterator[tuple[str, str]]:
        """Functions that stand alone and whose docstring has examples to run: imports, head and docstring → body."""
        imports = _imports(code)
        for node in code.body:
            if not isinstance(node, ast.FunctionDef) or node.decorator_list or "\n" not in ast.unparse(node):
                continue
            docstring = ast.get_docstring(node)
            if not docstring or f">>> {node.name}(" not in docstring or len(node.body) < 2:
                continue
            names = _free_names(node)
            needed = sorted({imports[name] for name in names if name in imports})
            if any(name not in imports and not hasattr(builtins, name) for name in names):
                continue
            whole = ast.unparse(node).splitlines()
            body = "\n".join("    " + line for part in node.body[1:] for line in ast.unparse(part).splitlines())
            head = "\n".join(whole[: len(whole) - len(body.splitlines())])
            yield "\n".join([*needed, head]), body

    @staticmethod
    def read_mbpp(text: str) -> Iterator[RawRow]:
        """MBPP's JSONL (Austin et al. 2021): the tests stand in the prompt, as in the paper."""
        for number, line in enumerate(filter(str.strip, text.split("\n")), start=1):
            try:
                row = json.loads(line)
                tests = [str(test) for test in row["test_list"]]
                said = row.get("text") or row["prompt"]
                asked = "\n".join(f"# {part}" for part in [*said.strip().splitlines(), "It passes:", *tests])
                setup = row.get("test_setup_code") or "\n".join(row.get("test_imports", []))
                yield {
                    "text": asked,
                    "target": row["code"],
                    "tests": "\n".join(filter(None, [setup, *tests])),
                    "group": f"mbpp-{row['task_id']}",
                }
            except (ValueError, KeyError, TypeError, AttributeError) as err:
                yield f"line {number} is no problem of MBPP's: {err!r}"

    @staticmethod
    def read_humaneval(text: str) -> Iterator[RawRow]:
        """HumanEval's JSONL (Chen et al. 2021)."""
        for number, line in enumerate(filter(str.strip, text.split("\n")), start=1):
            try:
                row = json.loads(line)
                yield {
                    "text": row["prompt"],
                    "target": row["canonical_solution"],
                    "tests": f"{row['test']}\ncheck({row['entry_point']})",
                    "group": row["task_id"],
                }
            except (ValueError, KeyError, TypeError) as err:
                yield f"line {number} is no problem of HumanEval's: {err!r}"

    formats = (
        FileFormat("mbpp", ("mbpp.jsonl",), read_mbpp),
        FileFormat("humaneval", ("HumanEval.jsonl", "human-eval.jsonl"), read_humaneval),
    )


def program_of(text: str, answer: str) -> str:
    """The whole program: an answer that begins at the margin is one, an indented one goes under the text's `def`."""
    first = answer.lstrip("\n")
    if first[:1].isspace() and _DEF.search(text):
        return f"{text}\n{first}\n"
    return f"{answer}\n"


def _why_no_python(program: str) -> str:
    """What is wrong with a program; it is compiled, never run: only that knows a `return` outside of a function."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is odd but right, as `x is 1`
            compile(program, "solution", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        return str(err) or type(err).__name__
    return ""


def passes(program: str, *, tests: str = "", examples: str = "") -> str:
    """`passed`, `failed`, `timed out` or `killed`: a program followed by its tests, and by the examples (`>>> `) of a
    docstring, in the sandbox.

    Raises:
        SandboxUnavailable: nothing was run.
    """
    token = secrets.token_hex(16)
    job = {"program": program, "tests": tests, "examples": examples, "token": token}
    ran = sandbox.run(_RUNNER, stdin=json.dumps(job) + "\n", limits=LIMITS)
    if ran.outcome != "ended":
        return ran.outcome
    return "passed" if ran.exit_code == 0 and ran.stdout.endswith(f"{token}\n") else "failed"


def _outcome(answer: Answer, text: str, target: str, tests: str) -> str:
    program = program_of(text, answer.output)
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "does not parse"
    examples = "" if tests.strip() or ">>> " not in text else _docstring(text)
    if tests.strip() or examples:
        return passes(program, tests=tests, examples=examples)
    try:
        same = ast.dump(tree) == ast.dump(ast.parse(program_of(text, target)))
    except (SyntaxError, ValueError):
        same = program == program_of(text, target)
    return "same" if same else "different"


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """Chance that one of `k` samples passes, without bias: 1 − C(n − c, k) / C(n, k) (Chen et al. 2021, equation 1).

    Raises:
        ValueError: fewer samples than `k`, or more passed than there are.
    """
    if not 0 <= num_passed <= num_samples or not 1 <= k <= num_samples:
        raise ValueError(f"{num_passed} of {num_samples} passed, k = {k}: this cannot be")
    if num_samples - num_passed < k:
        return 1.0
    return 1.0 - math.prod(1 - k / n for n in range(num_samples - num_passed + 1, num_samples + 1))


def sampled_pass_at_k(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    frame: "pd.DataFrame",
    *,
    num_samples: int,
    ks: Sequence[int] = (1,),
    temperature: float = 0.6,
    seed: int = 0,
) -> dict[int, list[float]]:
    """k → per row, the unbiased estimate from so many sampled answers.

    Raises:
        SandboxUnavailable: nothing was run.
    """
    passed = [0] * len(frame)
    for number in range(num_samples):
        written = sample(model, tokenizer, list(frame["text"]), temperature=temperature, seed=seed + number)
        scores = TASK.score([Answer(said, 1.0) for said in written], frame)["score"]
        passed = [count + int(score) for count, score in zip(passed, scores, strict=True)]
    return {k: [pass_at_k(num_samples, count, k) for count in passed] for k in ks}


def sample(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    *,
    temperature: float,
    seed: int,
) -> list[str]:
    """One answer a text, drawn at a temperature; the same for the same seed."""
    import torch

    generation = model.generation_config
    limit = int(generation.max_new_tokens) if generation is not None and generation.max_new_tokens else 128
    body, head = body_and_head(model)
    end = int(tokenizer.eos_token_id)
    answers = []
    for number, prompt in enumerate(TASK.prompts(texts, tokenizer)):
        draw = torch.Generator().manual_seed(seed * 1_000_003 + number)
        ids, cache, said = torch.tensor([prompt], device=model.device), None, list[int]()
        with torch.inference_mode():
            for _ in range(limit):
                mask = torch.ones(1, len(prompt) + len(said), dtype=torch.long, device=model.device)
                fed = ids if cache is None else ids[:, -1:]
                places = positions(mask)[:, -fed.shape[1] :]
                out = body(
                    input_ids=fed, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
                )
                cache = out.past_key_values
                odds = (head(out.last_hidden_state[:, -1])[0].float().cpu() / temperature).softmax(-1)
                token = int(torch.multinomial(odds, 1, generator=draw))
                if token == end:
                    break
                said.append(token)
                ids = torch.tensor([[token]], device=model.device)
                if TASK.is_over(said, tokenizer):
                    break
        answers.append(TASK.said(said, tokenizer))
    return answers


# ---------------------------------------------------------------- Python text


def _end(text: str) -> int:
    """Where an answer ends: a body at the first line at the margin, a program at the first that is no part of one."""
    start = len(text) - len(text.lstrip("\n"))
    is_body = text[start : start + 1].isspace()
    for match in re.finditer(r"\n(?=\S)", text[start:]):
        if is_body or not _GOES_ON.match(text, start + match.end()):
            return start + match.start()
    return len(text)


def _docstring(text: str) -> str:
    """Of the last function that a text begins."""
    try:
        functions = [node for node in ast.walk(ast.parse(f"{text}\n    pass\n")) if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError):
        return text
    return (ast.get_docstring(functions[-1]) or "") if functions else text


def _parameters(text: str) -> list[str]:
    try:
        functions = [node for node in ast.walk(ast.parse(f"{text}\n    pass\n")) if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError):
        return []
    return [argument.arg for argument in functions[-1].args.args] if functions else []


def _imports(code: ast.Module) -> dict[str, str]:
    """Name → the line that brings it, of what a module takes from the interpreter's own library."""
    found = {}
    for node in code.body:
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] in _LIBRARY:
            for alias in node.names:
                line = ast.unparse(ast.ImportFrom(node.module, [alias], 0))
                found[alias.asname or alias.name] = line
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in _LIBRARY:
                    found[alias.asname or alias.name.split(".")[0]] = ast.unparse(ast.Import([alias]))
    return found


_LIBRARY = frozenset(sys.stdlib_module_names)


def _free_names(node: ast.FunctionDef) -> set[str]:
    """Names that a function reads and does not bind itself."""
    bound, read = {node.name}, set[str]()
    for inner in ast.walk(node):
        match inner:
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.alias():
                bound.add((inner.asname or inner.name).split(".")[0])
            case ast.Name(id=name):
                (read if isinstance(inner.ctx, ast.Load) else bound).add(name)
    return read - bound


TASK = Code()
