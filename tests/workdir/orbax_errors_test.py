"""What Orbax leaves behind of a save that failed is not printed, and what others leave is."""

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


@pytest.mark.parametrize(("error", "is_shown"), [(FULL, False), (ValueError("another"), True)])
@pytest.mark.parametrize("is_gathered", [False, True])
def test_a_write_that_nobody_awaits_is_shown_unless_the_disk_ended_it(caplog, error, is_shown, is_gathered):
  async def leave():
    future = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    if is_gathered:
      asyncio.gather(future)
      await asyncio.sleep(0)

  asyncio.run(leave())
  gc.collect()
  assert ("exception was never retrieved" in caplog.text) == is_shown
