import errno

import pytest

from tests import small_disk

pytestmark = pytest.mark.skipif(not small_disk.can_mount(), reason="this process may not mount")


def test_a_small_disk_is_full_at_its_size_until_it_is_resized(tmp_path):
  with small_disk.SmallDisk(tmp_path / "disk", mib=1) as disk:
    with pytest.raises(OSError, match="No space left") as raised:
      (disk.folder / "file").write_bytes(bytes(2 * small_disk.MIB))
    assert raised.value.errno == errno.ENOSPC
    disk.resize(4)
    (disk.folder / "file").write_bytes(bytes(2 * small_disk.MIB))
    disk.fill(free_bytes=2**14)
    assert disk.free_bytes() == 2**14
  assert list((tmp_path / "disk").iterdir()) == []


def test_a_read_only_disk_cannot_be_written_until_it_is_writable_again(tmp_path):
  with small_disk.SmallDisk(tmp_path / "disk", mib=1) as disk:
    disk.set_read_only(True)
    with pytest.raises(OSError, match="Read-only"):
      (disk.folder / "file").write_bytes(b"x")
    disk.set_read_only(False)
    (disk.folder / "file").write_bytes(b"x")
