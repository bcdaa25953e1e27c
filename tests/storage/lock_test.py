"""One process at a time in a folder, on a disk and in a bucket, and what a killed one leaves behind."""

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
from tireid_jax.storage import files, locations, lock, lock_backend, lock_holder

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
def hasty(monkeypatch):
  """Locks of other hosts are stale after a second."""
  monkeypatch.setattr(lock, "STALE_S", 1.0)
  monkeypatch.setattr(lock, "_POLL_FAR_S", 0.05)


@pytest.fixture
def without_kernel_locks(monkeypatch):
  monkeypatch.setattr(lock_backend, "_flock", lambda _: None)


def holding(folder):
  return lock.holding(folder, "W", "go away")


def own_holder(**changes):
  return dataclasses.replace(lock_holder.this_process(), **changes)


def leave(folder, left, num_refreshed=0):
  """Stores the record of a Holder, as its process has it there."""
  files.write_bytes(folder / lock.FILE, left.record(num_refreshed))


def recorded(folder):
  return json.loads((folder / lock.FILE).read_text())


@contextlib.contextmanager
def held_elsewhere(folder):
  """Yields a process that holds the lock."""
  with subprocess.Popen(
    [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
  ) as process:
    try:
      assert process.stdout.readline() == "held\n"
      yield process
    finally:
      process.kill()


def test_a_second_one_is_told_who_holds_it_and_gets_it_once_it_is_free(folder, monkeypatch):
  monkeypatch.setattr(time, "sleep", None)  # it does not wait
  with holding(folder):
    found = recorded(folder)
    assert (found["pid"], found["host"]) == (os.getpid(), os.uname().nodename)
    message = f"^W is in use by process {os.getpid()} on {found['host']} since {found['since']}; wait for it to end, "
    with pytest.raises(ValueError, match=message + "stop it, or go away$"), holding(folder):
      pass
    assert recorded(folder) == found
  with holding(folder):
    assert recorded(folder)["token"] != found["token"]
  assert not (folder / lock.FILE).exists()


def test_folders_made_for_a_lock_go_with_it_unless_something_is_in_them(tmp_path):
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


def test_an_exception_and_an_exit_release_it(folder):
  for kind in (KeyError, KeyboardInterrupt, SystemExit):
    with pytest.raises(kind), holding(folder):
      raise kind
    assert not (folder / lock.FILE).exists()


def test_after_a_kill_it_is_free_at_once(folder, monkeypatch):
  with held_elsewhere(folder) as process:
    with pytest.raises(ValueError, match=f"^W is in use by process {process.pid} on "), holding(folder):
      pass
    process.kill()
    process.wait()
    assert recorded(folder)["pid"] == process.pid
    monkeypatch.setattr(time, "sleep", None)  # it does not wait
    with holding(folder):
      assert recorded(folder)["pid"] == os.getpid()


@pytest.mark.parametrize(
  ("changes", "is_held"),
  [({}, True), ({"started": 1}, False), ({"pid": 2**22 + 1}, False)],
  ids=["a running process", "another process of the same id", "no such process"],
)
def test_where_the_kernel_has_no_say_a_lock_of_this_host_lives_as_long_as_its_process(
  folder, without_kernel_locks, changes, is_held
):
  left = own_holder(**changes)
  leave(folder, left)
  expected = pytest.raises(ValueError, match="^W is in use by process") if is_held else contextlib.nullcontext()
  with expected, holding(folder):
    assert recorded(folder)["token"] != left.token
  if is_held:
    assert recorded(folder)["token"] == left.token


@pytest.mark.parametrize(
  ("state", "flags", "pending", "is_gone"),
  [
    ("R", 0, 0, False),
    ("S", 0x400000, 1 << 14, False),
    ("Z", 0, 0, True),
    ("R", 0x400004, 0, True),
    ("D", 0, 256, True),
  ],
  ids=["running", "asked to end", "a zombie", "giving back its memory", "killed while it waits for a disk"],
)
def test_a_process_that_is_being_killed_is_gone(monkeypatch, state, flags, pending, is_gone):
  own = own_holder()
  zeros = ["0"] * 49
  zeros[5], zeros[18], zeros[27] = str(flags), str(own.started), str(pending)
  monkeypatch.setattr(lock_holder.pathlib.Path, "read_text", lambda _: f"1 (a) b) {state} {' '.join(zeros)}")
  assert own.is_gone() == is_gone


def test_where_the_kernel_has_a_say_its_word_counts(on_disk):
  leave(on_disk, own_holder())
  with holding(on_disk):  # the kernel says that this running process holds none
    pass


def test_a_damaged_record_is_nobodys(folder, monkeypatch):
  monkeypatch.setattr(lock, "_DYING_S", 0.3)
  files.write_bytes(folder / lock.FILE, bytes(lock_holder.RECORD_BYTES))
  with holding(folder):
    assert recorded(folder)["pid"] == os.getpid()


def test_a_kernel_lock_counts_though_its_holder_wrote_nothing(on_disk, monkeypatch):
  monkeypatch.setattr(lock, "_DYING_S", 0.3)
  on_disk.mkdir()
  with (on_disk / lock.FILE).open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="^W is in use by another process; wait for it to end"), holding(on_disk):
      pass
    assert (on_disk / lock.FILE).read_bytes() == b""


def test_a_lock_of_another_host_is_stale_once_it_is_not_refreshed_for_long(folder, hasty, capsys):
  left = own_holder(machine="another", host="elsewhere")
  leave(folder, left)
  began = time.monotonic()
  with holding(folder):
    assert time.monotonic() - began > 0.5
    assert recorded(folder)["token"] != left.token
  printed = capsys.readouterr().err
  assert printed.startswith(f"W was in use by process {os.getpid()} on elsewhere since ")
  assert "waiting at most 1 s to see whether it still runs" in printed
  assert len(printed.splitlines()) == 1


def test_a_lock_of_another_host_that_is_refreshed_is_held(folder, monkeypatch):
  monkeypatch.setattr(lock, "_POLL_FAR_S", 0.05)
  left = own_holder(machine="another", host="elsewhere")
  leave(folder, left)
  second = lock.Lock(folder, "W", "go away")
  assert second.acquire(seconds=0.1) is False  # nobody knows yet
  leave(folder, left, num_refreshed=1)
  with pytest.raises(ValueError, match="^W is in use by process .* on elsewhere since"):
    second.acquire()
  assert recorded(folder)["refreshed"] == 1


def test_an_old_lock_of_another_host_is_stale_at_once_by_the_file_systems_clock(on_disk, monkeypatch):
  leave(on_disk, own_holder(machine="another"))
  written = time.time() - lock.STALE_S - 1
  os.utime(on_disk / lock.FILE, (written, written))
  monkeypatch.setattr(time, "sleep", None)
  with holding(on_disk):
    assert recorded(on_disk)["machine"] != "another"


def test_a_lock_from_the_future_is_stale_once_it_is_not_refreshed_for_long(on_disk, hasty):
  leave(on_disk, own_holder(machine="another"))
  written = time.time() + 3600  # some file systems take times from their clients
  os.utime(on_disk / lock.FILE, (written, written))
  with holding(on_disk):
    assert recorded(on_disk)["machine"] != "another"


def test_a_file_server_that_keeps_a_dead_hosts_lock_for_ever_does_not_keep_others_out(on_disk, hasty):
  leave(on_disk, own_holder(machine="another"))
  with (on_disk / lock.FILE).open() as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    with holding(on_disk):
      assert recorded(on_disk)["machine"] != "another"
      with pytest.raises(ValueError, match="^W is in use by process"), holding(on_disk):
        pass
  assert not (on_disk / lock.FILE).exists()


def test_a_holder_refreshes_its_record_and_one_that_lost_it_is_stopped(folder, monkeypatch):
  monkeypatch.setattr(lock, "REFRESH_S", 0.05)
  with holding(folder) as first:
    deadline = time.monotonic() + 60
    while recorded(folder)["refreshed"] < 2:
      assert time.monotonic() < deadline
      time.sleep(0.02)
    first.check()
    taken = own_holder(machine="another")
    leave(folder, taken)
    while not first._is_lost:
      assert time.monotonic() < deadline
      time.sleep(0.02)
    with pytest.raises(ValueError, match="^W: another process has taken it over, while this one was suspended"):
      first.check()
  assert recorded(folder)["token"] == taken.token


def test_one_that_was_suspended_looks_at_once_whether_it_still_holds_the_lock(folder, monkeypatch):
  now = lock._clock()
  with holding(folder) as first:
    leave(folder, own_holder(machine="another"))
    first.check()  # refreshed a moment ago
    monkeypatch.setattr(lock, "_clock", lambda: now + lock.STALE_S)
    with pytest.raises(ValueError, match="^W: another process has taken it over"):
      first.check()


def test_a_storage_that_cannot_be_reached_is_not_tried_at_each_check(folder, monkeypatch):
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


def test_a_record_that_somebody_removed_is_written_again(folder, monkeypatch):
  monkeypatch.setattr(lock, "_clock", lambda: 0.0)
  with holding(folder) as first:
    (folder / lock.FILE).unlink()
    monkeypatch.setattr(lock, "_clock", lambda: lock.STALE_S)
    first.check()
    with pytest.raises(ValueError, match="^W is in use by process"), holding(folder):
      pass


def test_a_file_system_without_locks_is_reported_once_and_the_record_still_counts(
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
def test_where_nothing_can_be_written_there_is_no_lock_and_a_log_line(on_disk, monkeypatch, capsys, number):
  def fail(*_):
    raise OSError(number, os.strerror(number))

  with monkeypatch.context() as patch:
    patch.setattr(os, "pwrite" if number == errno.ENOSPC else "open", fail)
    with holding(on_disk) as first:
      first.check()
  printed = capsys.readouterr().err
  assert f"lock.json cannot be written ({os.strerror(number)}); another process that uses this folder" in printed
  assert len(printed.splitlines()) == 1
  with holding(on_disk):  # nothing is left that would keep others out
    pass


def test_a_lock_that_cannot_be_written_is_read(on_disk, monkeypatch):
  leave(on_disk, own_holder())

  def fail(*_):
    raise PermissionError(errno.EACCES, "denied")

  monkeypatch.setattr(os, "open", fail)
  with pytest.raises(ValueError, match="^W is in use by process"), holding(on_disk):
    pass


def test_a_thread_and_a_descriptor_last_no_longer_than_a_lock(on_disk):
  before = threading.active_count(), len(os.listdir("/proc/self/fd"))
  for _ in range(20):
    with holding(on_disk):
      pass
  assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
