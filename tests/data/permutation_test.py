from tireid_jax.data.permutation import permutation


def test_the_result_is_a_permutation_and_the_same_in_every_version():
  assert sorted(permutation(1000, 7, 3)) == list(range(1000))
  assert permutation(8, 0, 0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
  assert permutation(8, 0, 1).tolist() == [5, 3, 7, 2, 4, 1, 0, 6]
  assert permutation(8, 1, 0).tolist() == [3, 5, 2, 7, 0, 6, 1, 4]
