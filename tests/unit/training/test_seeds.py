from components.training.seeds import RowOrder, derive


def test_an_epoch_takes_every_row_once_and_the_next_one_in_another_order():
    order = RowOrder(num_rows=10, rows_per_step=5, seed=1)
    first, second = order.rows(0) + order.rows(1), order.rows(2) + order.rows(3)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_a_steps_rows_do_not_depend_on_what_was_asked_before():
    walked, jumped = (RowOrder(num_rows=7, rows_per_step=3, seed=5) for _ in range(2))
    walk = [walked.rows(step) for step in range(9)]
    assert jumped.rows(8) == walk[8]
    assert jumped.rows(2) == walk[2]


def test_a_step_across_an_epochs_end_takes_from_both():
    order = RowOrder(num_rows=4, rows_per_step=3, seed=0)
    assert sorted(order.rows(0) + order.rows(1)[:1]) == [0, 1, 2, 3]


def test_more_rows_than_there_are_go_round():
    assert sorted(RowOrder(num_rows=2, rows_per_step=6, seed=0).rows(0)) == [0, 0, 0, 1, 1, 1]


def test_seeds_differ_by_purpose_and_by_seed():
    drawn = [derive(seed, *purpose) for seed in (0, 1) for purpose in (("step", 1), ("step", 2), ("order", 1))]
    assert len(set(drawn)) == len(drawn)
    assert all(0 <= number < 2**63 for number in drawn)
