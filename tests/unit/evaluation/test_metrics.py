import math

import pandas as pd
import pytest

from components.evaluation.metrics import summarise
from components.tasks import get_task


def frame(rows):
    return pd.DataFrame(rows, columns=["prediction", "target", "score", "top3", "confidence"])


def test_a_classifiers_numbers_are_the_textbooks():
    found = summarise(
        frame([("a", "a", 1, 1, 0.9), ("a", "b", 0, 1, 0.6), ("b", "b", 1, 1, 0.8), ("c", "a", 0, 0, 0.5)]),
        get_task("classification"),
    )
    assert found["accuracy"] == 0.5
    assert found["top3"] == 0.75
    assert found["chance"] == 0.5  # two labels occur
    assert found["macro_f1"] == pytest.approx((2 * 1 / (2 + 2) + 2 * 1 / (1 + 2)) / 2)
    assert found["standard_error"] == pytest.approx(math.sqrt(1 / 3 / 4))
    # each row in a bin of its own: mean of |1 − 0.9|, |0 − 0.6|, |1 − 0.8|, |0 − 0.5|
    assert found["calibration_error"] == pytest.approx(0.35)


def test_free_text_has_a_mean_score_and_no_label_numbers():
    found = summarise(pd.DataFrame({"score": [0.2, 0.4]}), get_task("summarisation"))
    assert found["rougeL"] == pytest.approx(0.3)
    assert set(found) == {"rougeL", "standard_error", "num_examples"}


def test_full_confidence_falls_into_the_last_bin():
    found = summarise(frame([("a", "a", 1, 1, 1.0), ("a", "a", 1, 1, 0.99)]), get_task("classification"))
    assert found["calibration_error"] == pytest.approx(0.005)


def test_the_error_of_one_rows_mean_is_left_out():
    assert "standard_error" not in summarise(pd.DataFrame({"score": [0.2]}), get_task("summarisation"))
