import ast
import json

import pandas as pd
import pytest

from components import sandbox
from components.data.tables import columns
from components.errors import SandboxUnavailable
from components.models.tokenizer import train_bpe
from components.tasks import code
from components.tasks.base import Answer, Feedback
from components.tasks.code import TASK, pass_at_k, passes, program_of

WHY_NOT = sandbox.why_not()
isolated = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

MEAN = TASK.example
GOOD = "    return sum(values) / len(values)"


def frame(*rows):
    cells = [{"id": str(n), "text": t, "target": a, "tests": tests} for n, (t, a, tests) in enumerate(rows)]
    return pd.DataFrame(cells, columns=["id", "text", "target", "tests"])


def outcome(text, said, tests=""):
    return TASK.score([Answer(said, 1.0)], frame((text, "    return 1", tests)))["outcome"].item()


@isolated
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (GOOD, "passed"),
        ("    return 4", "failed"),
        ("    return (", "does not parse"),
        ("    while True: pass", "timed out"),
        ("    raise SystemExit(0)", "failed"),
        ("    import os; os._exit(0)", "failed"),
        ("    import os; os.kill(os.getpid(), 9)", "killed"),
        ("    import socket; socket.create_connection(('127.0.0.1', 80))", "failed"),
        ("    pass\nimport sys; sys.exit(0)", "failed"),
        ("def mean(values):\n" + GOOD, "passed"),
        ("", "failed"),
    ],
)
def test_a_body_is_judged_by_the_examples_of_its_docstring(said, expected, monkeypatch):
    monkeypatch.setattr(code, "LIMITS", sandbox.Limits(seconds=1))
    assert outcome(MEAN, said) == expected


@isolated
def test_a_rows_own_tests_come_before_the_examples():
    wrong_example = 'def one():\n    """One.\n\n    >>> one()\n    2\n    """'
    assert outcome(wrong_example, "    return 1") == "failed"
    assert outcome(wrong_example, "    return 1", "assert one() == 1") == "passed"


@isolated
def test_printing_the_word_passed_is_not_passing():
    assert passes("print('passed')\nraise SystemExit(0)", tests="assert False") == "failed"


@isolated
def test_a_docstring_of_the_answers_own_does_not_replace_the_examples():
    said = 'def mean(values):\n    """\n    >>> mean(1)\n    1\n    """\n    return values'
    assert outcome(MEAN, said) == "failed"


def test_where_nothing_can_be_isolated_nothing_is_scored(monkeypatch):
    def refused(*_, **__):
        raise SandboxUnavailable("no namespaces")

    monkeypatch.setattr(sandbox, "run", refused)
    with pytest.raises(SandboxUnavailable):
        outcome(MEAN, GOOD)


def test_a_row_without_tests_is_scored_by_its_syntax_tree_and_nothing_runs(monkeypatch):
    monkeypatch.setattr(sandbox, "run", None)
    rows = frame(("f", "def f(x):\n    return x+1", ""))
    assert TASK.score([Answer("def f(x): return (x + 1)", 1.0)], rows)["outcome"].item() == "same"
    assert TASK.score([Answer("def f(x): return x", 1.0)], rows)["outcome"].item() == "different"


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 1), (5, 2, 3), (10, 3, 5), (4, 4, 2), (6, 0, 6), (5, 3, 3)])
def test_pass_at_k_is_the_share_of_subsets_with_one_that_passes(n, c, k):
    from itertools import combinations

    subsets = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, 1, 4), (3, 1, 0), (3, -1, 1)])
def test_pass_at_k_of_what_cannot_be_is_refused(n, c, k):
    with pytest.raises(ValueError, match="cannot be"):
        pass_at_k(n, c, k)


def test_an_indented_answer_goes_under_its_head_and_a_whole_one_stands_alone():
    assert program_of("import math\ndef f():", "    return 1") == "import math\ndef f():\n    return 1\n"
    assert program_of("def f():", "def f():\n    return 1") == "def f():\n    return 1\n"
    assert program_of("# Write f.", "    return 1") == "    return 1\n"


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(["    return sum(values)\n\ndef other(): ...\nassert x"] * 3, 300)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("\n    return 1\n\ndef other():", "    return 1"),
        ("\n    if x:\n        return 1\n\n    return 2\nprint(3)", "    if x:\n        return 1\n\n    return 2"),
        ("\n    return 1", "    return 1"),
        ("\nimport os\ndef f():\n    return 1\n\nassert f()", "import os\ndef f():\n    return 1"),
        ("\ndef f():\n    return (\n1\n)\n", "def f():\n    return ("),
    ],
)
def test_an_answer_ends_where_the_function_does(tokenizer, written, kept):
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    assert TASK.said(ids, tokenizer) == kept
    more = [n for n in range(1, len(ids) + 1) if TASK.is_over(ids[:n], tokenizer)]
    assert bool(more) == (kept != written.strip("\n"))
    if more:  # what is written until then is the answer
        assert TASK.said(ids[: more[0]], tokenizer) == kept


MODULE = '''
import math
from collections import Counter
from .mine import own

def area(r):
    """Of a circle.

    >>> round(area(1))
    3
    >>> area(0)
    0.0
    """
    # a comment
    return math.pi * r ** 2

def needs_mine(x):
    """
    >>> needs_mine(1)
    1
    """
    return own(x)

def no_example(x):
    """Nothing."""
    return x

def most(words):
    """
    >>> most("aab")
    'a'
    """
    counted = Counter(words)
    return max(counted, key=lambda word: counted[word])
'''


def test_gold_functions_stand_alone_and_have_examples():
    pairs = list(TASK.gold(ast.parse(MODULE)))
    assert [text.split("(")[0].split()[-1] for text, _ in pairs] == ["area", "most"]
    text, target = pairs[0]
    assert text.startswith("import math\ndef area(r):")
    assert target == "    return math.pi * r ** 2"
    assert pairs[1][0].startswith("from collections import Counter\n")


@isolated
def test_gold_functions_pass_their_own_examples():
    rows = frame(*[(text, target, "") for text, target in TASK.gold(ast.parse(MODULE))])
    assert TASK.score([Answer(t, 1.0) for t in rows["target"]], rows)["score"].tolist() == [1, 1]


MBPP = {
    "task_id": 11,
    "text": "Write a function to add.",
    "code": "def add(a, b):\r\n    return a + b",
    "test_list": ["assert add(1, 2) == 3"],
    "test_setup_code": "",
    "challenge_test_list": [],
}


def test_mbpp_is_read_as_it_comes():
    lines = "\n".join([json.dumps(MBPP), "", "{broken", json.dumps({"task_id": 1})])
    good, *bad = list(TASK.read_mbpp(lines))
    assert good["group"] == "mbpp-11"
    assert good["tests"] == "assert add(1, 2) == 3"
    assert good["text"] == "# Write a function to add.\n# It passes:\n# assert add(1, 2) == 3"
    assert [reason.split(" is")[0] for reason in bad] == ["line 2", "line 3"]


@isolated
def test_a_problem_of_mbpp_and_one_of_humaneval_are_run():
    [one] = TASK.read_mbpp(json.dumps(MBPP))
    problem = {
        "task_id": "HumanEval/0",
        "prompt": "def add(a, b):\n    '''Add.'''\n",
        "entry_point": "add",
        "canonical_solution": "    return a + b\n",
        "test": "def check(candidate):\n    assert candidate(1, 2) == 3",
    }
    [two] = TASK.read_humaneval(json.dumps(problem))
    rows = frame(*[(row["text"], row["target"], row["tests"]) for row in (one, two)])
    right = [Answer(target.replace("\r", ""), 1.0) for target in rows["target"]]
    assert TASK.score(right, rows)["outcome"].tolist() == ["passed", "passed"]
    wrong = [Answer(a.output.replace("+", "-"), 1.0) for a in right]
    assert TASK.score(wrong, rows)["outcome"].tolist() == ["failed", "failed"]


@isolated
def test_the_baseline_repeats_the_nearest_body_with_the_names_that_were_asked_for():
    train = frame(("def total(numbers):\n    '''Sum of a list.'''", "    return sum(numbers)", ""))
    test = frame(("def add(xs):\n    '''The sum of a list.'''", "    return sum(xs)", "assert add([1, 2]) == 3"))
    assert TASK.baseline(train, test, [])["score"].tolist() == [1]


def test_a_correction_that_is_no_python_is_refused_with_the_reason():
    assert TASK.training_row(MEAN, Feedback("correct", "x", "   ")) is None
    with pytest.raises(ValueError, match="it is no Python"):
        TASK.fit(MEAN, "    return (")
    assert TASK.fit(MEAN, GOOD) == GOOD


@pytest.mark.parametrize("said", [GOOD, f"\n{GOOD}\n\n", GOOD.lstrip()])
def test_a_body_is_learned_under_its_def_however_it_was_written(said):
    assert TASK.fit(MEAN, TASK.training_row(MEAN, Feedback("correct", "    pass", said))) == GOOD


def test_a_correction_of_several_lines_keeps_the_first_ones_indentation():
    body = "    total = sum(values)\n    return total / len(values)"
    assert TASK.fit(MEAN, TASK.training_row(MEAN, Feedback("correct", "    pass", body))) == body


def test_odd_line_ends_within_strings_tear_no_row():
    row = MBPP | {"code": "def add(a, b):\n    return a + b  # \u2028 \x85"}
    [one] = TASK.read_mbpp(json.dumps(row, ensure_ascii=False) + "\r\n")
    assert one["target"] == row["code"]
    problem = {"task_id": "HumanEval/0", "prompt": "\u2028", "entry_point": "f", "canonical_solution": "", "test": ""}
    [two] = TASK.read_humaneval(json.dumps(problem, ensure_ascii=False))
    assert two["text"] == "\u2028"


def test_its_table_has_a_column_of_tests():
    assert columns("code")[:4] == ("id", "text", "target", "tests")
