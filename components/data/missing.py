"""What becomes of empty cells: the row is dropped, or the cell is filled and the row says so."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from components.data.asking import Asked, AskedModels, labels_for
from components.data.cleaning import NO_ANSWER, NO_TEXT, Row, kept
from components.errors import RecipeError

CONSTANT = "unknown"
FILLABLE = ("text", "answer", "source", "licence", "group")
NUMERIC = ("mean", "median", "interpolate")
MIN_EXAMPLES = 10
"""Of rows that have a value: from fewer, nothing is learned."""


def handle_missing(
    rows: Sequence[Row],
    policies: Mapping[str, str],
    *,
    closed: Collection[str] = (),
    models: AskedModels | None = None,
    answer_task: str = "classification",
    answer_column: str = "answer",
) -> None:
    """Fill or reject, in place; `imputed` names what was filled. Without a policy a row lacking text or answer goes.

    Policies are those of `filled`, and `drop`. `closed` are columns whose cells are names out of a few, as labels are:
    what is computed for them becomes the nearest that there is. `models` answer for `model=`: one
    of `answer_task` for answers, which the table calls `answer_column`, a classifier for other columns.

    Raises:
        RecipeError: a policy for a column that cannot be filled, one that its cells do not allow, or no such model.
    """
    more = {name for row in rows for name in row.more}
    for column, policy in policies.items():
        called = answer_column if column == "answer" else column
        if column not in {*FILLABLE, *more}:
            known = [answer_column if name == "answer" else name for name in (*FILLABLE, *more)]
            raise RecipeError(f"missing: {column!r} cannot be filled", f"columns are {', '.join(known)}")
        if policy == "drop":
            continue
        found = kept(rows)
        cells = [_cell(row, column) for row in found]
        how: dict[str, Any] = {"texts": [row.text for row in found], "closed": column in closed}
        try:
            if policy.startswith("model=") and not all(cells):
                how["asked"] = _asked(policy, column, models, answer_task, answer_column)
            full = filled(cells, policy, **how)
        except RecipeError as err:
            raise RecipeError(f"missing: {called}: {err.message}", err.remedy) from err
        for row, before, after in zip(found, cells, full, strict=True):
            if after != before:
                _set_cell(row, column, after)
                row.imputed = f"{row.imputed},{column}".strip(",")
    dropped = {"text": NO_TEXT, "answer": NO_ANSWER} | {
        column: f"no {column}" for column, policy in policies.items() if policy == "drop" and column not in FILLABLE[:2]
    }
    for row in kept(rows):
        row.reason = next((reason for column, reason in dropped.items() if not _cell(row, column)), "")


def _cell(row: Row, column: str) -> str:
    return row.more.get(column, "") if column not in FILLABLE else str(getattr(row, column))


def _set_cell(row: Row, column: str, value: str) -> None:
    if column in FILLABLE:
        setattr(row, column, value)
    else:
        row.more[column] = value


def _asked(policy: str, column: str, models: AskedModels | None, answer_task: str, answer_column: str) -> Asked:
    if column == "text":
        raise RecipeError("a model needs the text to say anything", "drop the rows")
    if models is None:
        raise RecipeError(f"{policy} needs the registry", "ingest it through the stack")
    is_answer = column == "answer"
    task, what = (answer_task, answer_column) if is_answer else ("classification", column)
    return models.get(policy.removeprefix("model="), task=task, what=f"missing {what}")


def filled(
    cells: Sequence[str],
    policy: str,
    *,
    texts: Sequence[str] = (),
    closed: bool = False,
    asked: Asked | None = None,
) -> list[str]:
    """The cells with none empty, unless all are, or a model says a label that a closed column does not have.

    `constant` (or `constant=value`); `most_frequent` (ties: the smallest); of numbers `mean`, `median`, and
    `interpolate` (linearly between the neighbours above and below, at the ends the nearest); `regression`: learned from
    `texts`, one a cell, by ridge regression for numbers and logistic regression for names. With `closed`, what is
    computed becomes the nearest that there is. `model=…`: what `asked` says to the text.

    Raises:
        RecipeError: a policy for numbers on cells that are none; or `regression` without enough to learn from.
    """
    known = [cell for cell in cells if cell]
    if len(known) == len(cells):
        return list(cells)
    name, _, value = policy.partition("=")
    if name == "constant":
        fill = [value or CONSTANT] * len(cells)
    elif name == "most_frequent":
        counts = Counter(known)
        fill = [min(counts, key=lambda cell: (-counts[cell], cell)) if counts else CONSTANT] * len(cells)
    elif name == "regression":
        fill = _regressed(cells, texts, closed=closed)
    elif name == "model" and asked is not None:
        empty = [place for place, cell in enumerate(cells) if not cell and texts[place]]
        labels = labels_for([texts[place] for place in empty], asked, known, closed=closed and bool(known))
        said = dict(zip(empty, labels, strict=True))
        fill = [said.get(place, "") for place in range(len(cells))]
    elif name in NUMERIC:
        if not known:
            raise RecipeError(f"{name}: there is no value at all", "drop the rows, or fill in a constant")
        fill = _as_cells(_computed(name, [_number(cell) if cell else None for cell in cells]), known, closed=closed)
    else:
        raise RecipeError(
            f"there is no policy {policy!r}",
            f"use constant, most_frequent, regression, model=NAME, {', '.join(NUMERIC)}",
        )
    return [cell or other for cell, other in zip(cells, fill, strict=True)]


def _number(cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RecipeError(f"{cell!r} is no number", "use most_frequent, constant, regression or drop")
    return number


def _computed(policy: str, numbers: Sequence[float | None]) -> list[float]:
    known = sorted(number for number in numbers if number is not None)
    if policy == "mean":
        return [math.fsum(known) / len(known)] * len(numbers)
    if policy == "median":
        half = len(known) // 2
        return [known[half] if len(known) % 2 else (known[half - 1] + known[half]) / 2] * len(numbers)
    places = [place for place, number in enumerate(numbers) if number is not None]
    found = [number or 0.0 for number in numbers]
    found[: places[0]] = [found[places[0]]] * places[0]
    found[places[-1] :] = [found[places[-1]]] * (len(found) - places[-1])
    for low, high in pairwise(places):
        for place in range(low + 1, high):
            share = (place - low) / (high - low)
            found[place] = (1 - share) * found[low] + share * found[high]
    return found


def _as_cells(numbers: Sequence[float], known: Sequence[str], *, closed: bool) -> list[str]:
    """As the column writes them: whole numbers stay whole, names become the nearest name."""
    if closed:
        names = sorted(set(known), key=lambda cell: (float(cell), cell))
        return [min(names, key=lambda cell: abs(float(cell) - number)) for number in numbers]
    if all(float(cell).is_integer() for cell in known):
        return [str(round(number)) for number in numbers]
    return [f"{number:.6g}" for number in numbers]


def _regressed(cells: Sequence[str], texts: Sequence[str], *, closed: bool) -> list[str]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline

    rows = [place for place, cell in enumerate(cells) if cell]
    known = [cells[place] for place in rows]
    if len(texts) != len(cells) or len(rows) < MIN_EXAMPLES or len(set(known)) < 2:
        raise RecipeError(
            f"regression has {len(rows)} rows and {len(set(known))} different values to learn from",
            f"give {MIN_EXAMPLES} rows and two values or more, or use most_frequent",
        )
    try:
        targets: list[float] | list[str] = [_number(cell) for cell in known]
    except RecipeError:
        targets = known
    are_numbers = targets is not known
    model = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=50_000),
        Ridge(alpha=1.0, solver="lsqr") if are_numbers else LogisticRegression(C=10.0, max_iter=1000),
    )
    model.fit([texts[place] for place in rows], targets)
    empty = [place for place, cell in enumerate(cells) if not cell]
    guesses = model.predict([texts[place] for place in empty])
    if are_numbers:
        low, high = min(map(float, known)), max(map(float, known))  # not beyond what was seen
        found = _as_cells([min(max(float(guess), low), high) for guess in guesses], known, closed=closed)
    else:
        found = [str(guess) for guess in guesses]
    full = list(cells)
    for place, cell in zip(empty, found, strict=True):
        full[place] = cell
    return full
