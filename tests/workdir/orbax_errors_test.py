"""Unretrieved exceptions of a save that Orbax failed to write are not logged; those of other code are."""

import asyncio
import gc

import pytest

from tireid_jax.errors import DiskError
from tireid_jax.workdir import orbax_errors

FULL = ValueError(
  "RESOURCE_EXHAUSTED: Failed to write 6189 bytes to file 5: No space left on device [os_error_code='28']"
)


@pytest.fixture(autouse=True)
def installed():
  with pytest.raises(DiskError, match="^/w: no space left on device; make room"), orbax_errors.saving("/w"):
    raise FULL


@pytest.mark.parametrize(("error", "is_logged"), [(FULL, False), (ValueError("another"), True)])
@pytest.mark.parametrize("is_gathered", [False, True])
def test_an_exception_that_is_never_retrieved_is_logged_unless_it_is_a_disk_error(
  caplog, error, is_logged, is_gathered
):
  async def abandon_a_future():
    future = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    if is_gathered:
      asyncio.gather(future)
      await asyncio.sleep(0)

  asyncio.run(abandon_a_future())
  gc.collect()
  assert ("exception was never retrieved" in caplog.text) == is_logged
