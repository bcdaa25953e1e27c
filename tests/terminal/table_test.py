from tireid_jax.terminal.table import format_table, mean_and_std


def test_text_is_left_aligned_and_numbers_are_right_aligned_with_two_decimals():
  rows = [{"run": "zero-shot", "R@1": 9.876, "steps": 0}, {"run": "stage 2", "R@1": 12.5, "steps": 12345}]
  assert format_table(rows).splitlines() == [
    "run          R@1   steps",
    "zero-shot   9.88       0",
    "stage 2    12.50  12,345",
  ]


def test_a_column_that_contains_text_is_left_aligned():
  assert format_table([{"R@1": 1.0, "seeds": 1}, {"R@1": "41.2 ± 0.8", "seeds": 3}]).splitlines() == [
    "R@1         seeds",
    "1.00            1",
    "41.2 ± 0.8      3",
  ]


def test_several_values_give_mean_and_sample_standard_deviation_and_one_is_unchanged():
  assert mean_and_std([1.0, 3.0]) == "2.00 ± 1.41"
  assert mean_and_std([41.25]) == 41.25
