"""One process at a time may use a folder, on disk or in a bucket; a killed process does not block the next one."""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from tests.commands import ROOT, environment
from tireid_jax.storage import files, locations, lock, lock_file, lock_holder

HOLD = """
import sys, time
from tireid_jax.storage import locations, lock
with lock.holding(locations.to_path(sys.argv[1]), "W", "go away"):
  print("held", flush=True)
  time.sleep(600)
"""


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path):
  if request.param == "disk":
    return tmp_path / "a" / "w"
  bucket = request.getfixturevalue("bucket")
  return locations.to_path(f"{bucket.url}/lock/{request.node.name}".translate(str.maketrans("[]", "--")))


@pytest.fixture
def on_disk(tmp_path):
  return tmp_path / "w"


@pytest.fixture
def short_timeouts(monkeypatch):
  """Locks of other hosts become stale after one second."""
  monkeypatch.setattr(lock, "STALE_S", 1.0)
  monkeypatch.setattr(lock, "_POLL_FAR_S", 0.05)


@pytest.fixture
def without_kernel_locks(monkeypatch):
  monkeypatch.setattr(lock_file, "_flock", lambda _: None)


def holding(folder):
  return lock.holding(folder, "W", "go away")


def own_holder(**changes):
  return dataclasses.replace(lock_holder.this_process(), **changes)


def write_record(folder, holder, num_refreshed=0):
  """Writes the lock record that the process of this Holder would write."""
  files.write_bytes(folder / lock.FILE, holder.record(num_refreshed))


def read_record(folder):
  return json.loads((folder / lock.FILE).read_text())


@contextlib.contextmanager
def held_elsewhere(folder):
  """Yields another process, which holds the lock."""
  with subprocess.Popen(
    [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
  ) as process:
    try:
      assert process.stdout.readline() == "held\n"
      yield process
    finally:
      process.kill()


def test_a_second_process_gets_an_error_that_names_the_holder_and_the_lock_after_its_release(folder, monkeypatch):
  monkeypatch.setattr(time, "sleep", None)  # acquiring must not wait
  with holding(folder):
    found = read_record(folder)
    assert (found["pid"], found["host"]) == (os.getpid(), os.uname().nodename)
    message = f"^W is in use by process {os.getpid()} on {found['host']} since {found['since']}; wait for it to end, "
    with pytest.raises(ValueError, match=message + "stop it, or go away$"), holding(folder):
      pass
    assert read_record(folder) == found
  with holding(folder):
    assert read_record(folder)["token"] != found["token"]
  assert not (folder / lock.FILE).exists()


def test_folders_created_for_a_lock_are_removed_with_it_unless_they_have_content(tmp_path):
  (tmp_path / "a").mkdir()
  with holding(tmp_path / "a/b/c"):
    assert (tmp_path / "a/b/c" / lock.FILE).is_file()
  assert list(tmp_path.iterdir()) == [tmp_path / "a"]
  with holding(tmp_path / "a"):
    pass
  assert list((tmp_path / "a").iterdir()) == []
  with holding(tmp_path / "a/b/c"):
    (tmp_path / "a/b/file").touch()
  assert list((tmp_path / "a").rglob("*")) == [tmp_path / "a/b", tmp_path / "a/b/file"]


def test_exceptions_and_exits_release_the_lock(folder):
  for kind in (KeyError, KeyboardInterrupt, SystemExit):
    with pytest.raises(kind), holding(folder):
      raise kind
    assert not (folder / lock.FILE).exists()


def test_the_lock_of_a_killed_process_can_be_acquired_at_once(folder, monkeypatch):
  with held_elsewhere(folder) as process:
    with pytest.raises(ValueError, match=f"^W is in use by process {process.pid} on "), holding(folder):
      pass
    process.kill()
    process.wait()
    assert read_record(folder)["pid"] == process.pid
    monkeypatch.setattr(time, "sleep", None)  # acquiring must not wait
    with holding(folder):
      assert read_record(folder)["pid"] == os.getpid()


@pytest.mark.parametrize(
  ("changes", "is_held"),
  [({}, True), ({"started": 1}, False), ({"pid": 2**22 + 1}, False)],
  ids=["a running process", "another process with the same id", "no such process"],
)
def test_without_kernel_locks_a_lock_of_this_host_is_held_while_its_process_runs(
  folder, without_kernel_locks, changes, is_held
):
  holder = own_holder(**changes)
  write_record(folder, holder)
  expected = pytest.raises(ValueError, match="^W is in use by process") if is_held else contextlib.nullcontext()
  with expected, holding(folder):
    assert read_record(folder)["token"] != holder.token
  if is_held:
    assert read_record(folder)["token"] == holder.token


@pytest.mark.parametrize(
  ("state", "flags", "pending", "is_gone"),
  [
    ("R", 0, 0, False),
    ("S", 0x400000, 1 << 14, False),
    ("Z", 0, 0, True),
    ("R", 0x400004, 0, True),
    ("D", 0, 256, True),
  ],
  ids=["running", "SIGTERM is pending", "a zombie", "exiting", "SIGKILL is pending during disk I/O"],
)
def test_a_process_that_is_being_killed_counts_as_gone(monkeypatch, state, flags, pending, is_gone):
  own = own_holder()
  zeros = ["0"] * 49
  zeros[5], zeros[18], zeros[27] = str(flags), str(own.started), str(pending)
  monkeypatch.setattr(lock_holder.pathlib.Path, "read_text", lambda _: f"1 (a) b) {state} {' '.join(zeros)}")
  assert own.is_gone() == is_gone


def test_the_kernel_lock_takes_precedence_over_the_record(on_disk):
  write_record(on_disk, own_holder())
  with holding(on_disk):  # the recorded process runs, but holds no kernel lock
    pass


def test_a_lock_with_a_damaged_record_can_be_acquired(folder, monkeypatch):
  monkeypatch.setattr(lock, "_DYING_S", 0.3)
  files.write_bytes(folder / lock.FILE, bytes(lock_holder.RECORD_BYTES))
  with holding(folder):
    assert read_record(folder)["pid"] == os.getpid()


def test_a_kernel_lock_is_respected_even_if_its_holder_wrote_no_record(on_disk, monkeypatch):
  monkeypatch.setattr(lock, "_DYING_S", 0.3)
  on_disk.mkdir()
  with (on_disk / lock.FILE).open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="^W is in use by another process; wait for it to end"), holding(on_disk):
      pass
    assert (on_disk / lock.FILE).read_bytes() == b""


def test_a_lock_of_another_host_becomes_stale_if_it_is_not_refreshed(folder, short_timeouts, capsys):
  holder = own_holder(machine="another", host="elsewhere")
  write_record(folder, holder)
  began = time.monotonic()
  with holding(folder):
    assert time.monotonic() - began > 0.5
    assert read_record(folder)["token"] != holder.token
  printed = capsys.readouterr().err
  assert printed.startswith(f"W was in use by process {os.getpid()} on elsewhere since ")
  assert "waiting at most 1 s to see whether it still runs" in printed
  assert len(printed.splitlines()) == 1


def test_a_refreshed_lock_of_another_host_is_held(folder, monkeypatch):
  monkeypatch.setattr(lock, "_POLL_FAR_S", 0.05)
  holder = own_holder(machine="another", host="elsewhere")
  write_record(folder, holder)
  second = lock.Lock(folder, "W", "go away")
  assert second.acquire(seconds=0.1) is False  # undecided until it is refreshed or stale
  write_record(folder, holder, num_refreshed=1)
  with pytest.raises(ValueError, match="^W is in use by process .* on elsewhere since"):
    second.acquire()
  assert read_record(folder)["refreshed"] == 1


def test_a_lock_of_another_host_with_an_old_modification_time_is_stale_at_once(on_disk, monkeypatch):
  write_record(on_disk, own_holder(machine="another"))
  written = time.time() - lock.STALE_S - 1
  os.utime(on_disk / lock.FILE, (written, written))
  monkeypatch.setattr(time, "sleep", None)
  with holding(on_disk):
    assert read_record(on_disk)["machine"] != "another"


def test_a_lock_with_a_modification_time_in_the_future_becomes_stale_if_it_is_not_refreshed(on_disk, short_timeouts):
  write_record(on_disk, own_holder(machine="another"))
  written = time.time() + 3600  # some network file systems use the clock of the client
  os.utime(on_disk / lock.FILE, (written, written))
  with holding(on_disk):
    assert read_record(on_disk)["machine"] != "another"


def test_a_kernel_lock_that_a_file_server_never_releases_does_not_block_others(on_disk, short_timeouts):
  write_record(on_disk, own_holder(machine="another"))
  with (on_disk / lock.FILE).open() as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    with holding(on_disk):
      assert read_record(on_disk)["machine"] != "another"
      with pytest.raises(ValueError, match="^W is in use by process"), holding(on_disk):
        pass
  assert not (on_disk / lock.FILE).exists()


def test_a_holder_refreshes_its_record_and_raises_once_it_has_lost_the_lock(folder, monkeypatch):
  monkeypatch.setattr(lock, "REFRESH_S", 0.05)
  with holding(folder) as first:
    deadline = time.monotonic() + 60
    while read_record(folder)["refreshed"] < 2:
      assert time.monotonic() < deadline
      time.sleep(0.02)
    first.check()
    taken = own_holder(machine="another")
    write_record(folder, taken)
    while not first._is_lost:
      assert time.monotonic() < deadline
      time.sleep(0.02)
    with pytest.raises(ValueError, match="^W: another process has taken it over, while this one was suspended"):
      first.check()
  assert read_record(folder)["token"] == taken.token


def test_after_a_suspension_a_process_checks_immediately_that_it_still_holds_the_lock(folder, monkeypatch):
  now = lock._clock()
  with holding(folder) as first:
    write_record(folder, own_holder(machine="another"))
    first.check()  # refreshed a moment ago
    monkeypatch.setattr(lock, "_clock", lambda: now + lock.STALE_S)
    with pytest.raises(ValueError, match="^W: another process has taken it over"):
      first.check()


def test_unreachable_storage_is_not_retried_at_every_check(folder, monkeypatch):
  attempts = []

  def fail(*_):
    attempts.append(None)
    raise ConnectionError

  now = lock._clock()
  with holding(folder) as first:
    monkeypatch.setattr(first._storage, "refresh", fail)
    for seconds in (lock.STALE_S, lock.STALE_S + 1, lock.STALE_S + 2, lock.STALE_S + lock.REFRESH_S + 1):
      monkeypatch.setattr(lock, "_clock", lambda seconds=seconds: now + seconds)
      first.check()
  assert len(attempts) == 2


def test_a_deleted_record_is_rewritten(folder, monkeypatch):
  monkeypatch.setattr(lock, "_clock", lambda: 0.0)
  with holding(folder) as first:
    (folder / lock.FILE).unlink()
    monkeypatch.setattr(lock, "_clock", lambda: lock.STALE_S)
    first.check()
    with pytest.raises(ValueError, match="^W is in use by process"), holding(folder):
      pass


def test_a_file_system_without_locks_is_reported_once_and_the_record_is_still_respected(
  on_disk, without_kernel_locks, capsys
):
  with holding(on_disk):
    assert (
      "has no locks; two processes that start at the same moment may not detect each other" in capsys.readouterr().err
    )
    with pytest.raises(ValueError, match="^W is in use by process"), holding(on_disk):
      pass
  assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_an_unwritable_folder_is_used_without_a_lock_after_a_warning(on_disk, monkeypatch, capsys, number):
  def fail(*_):
    raise OSError(number, os.strerror(number))

  with monkeypatch.context() as patch:
    patch.setattr(os, "pwrite" if number == errno.ENOSPC else "open", fail)
    with holding(on_disk) as first:
      first.check()
  printed = capsys.readouterr().err
  assert f"lock.json cannot be written ({os.strerror(number)}); another process that uses this folder" in printed
  assert len(printed.splitlines()) == 1
  with holding(on_disk):  # no leftover blocks later processes
    pass


def test_a_lock_in_an_unwritable_folder_is_still_respected(on_disk, monkeypatch):
  write_record(on_disk, own_holder())

  def fail(*_):
    raise PermissionError(errno.EACCES, "denied")

  monkeypatch.setattr(os, "open", fail)
  with pytest.raises(ValueError, match="^W is in use by process"), holding(on_disk):
    pass


def test_releasing_a_lock_ends_its_thread_and_closes_its_descriptor(on_disk):
  before = threading.active_count(), len(os.listdir("/proc/self/fd"))
  for _ in range(20):
    with holding(on_disk):
      pass
  assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
