"""Fuzzes one target in a process of its own: by coverage (atheris), or by changes to inputs that ended in new ways."""

import contextlib
import hashlib
import json
import pathlib
import random
import sys
import tempfile
import time

# Inputs kept because they ended in a new way, so that the next are made of them.
_MAX_POOL = 500


class Session:
  """Judges inputs, keeps those that fail, and counts.

  Attributes:
    num_inputs: judged so far.
    faults: {what is wrong: file of the first such input}.
  """

  def __init__(self, run, folder):
    self._run, self._folder, self._start = run, folder, time.monotonic()
    self._saved = self._start
    self._current = folder / "current"
    self.num_inputs, self.faults = 0, {}

  def judge(self, data):
    """Returns how an input ended."""
    self._current.write_bytes(data)  # so that it is known if the process dies of it
    fault, end = judging.judge(self._run, data)
    self.num_inputs += 1
    if fault and fault not in self.faults:
      file = self._folder / hashlib.sha256(data).hexdigest()[:12]
      file.write_bytes(data)
      self.faults[fault] = str(file)
    if (fault and len(self.faults) < 100) or time.monotonic() - self._saved >= 1:
      self.save()
    return end

  def save(self):
    """Writes the counts; a process that atheris ends gets no further chance."""
    self._saved = time.monotonic()
    seconds = self._saved - self._start
    found = {"inputs": self.num_inputs, "seconds": round(seconds, 1), "faults": self.faults}
    (self._folder / "found.json").write_text(json.dumps(found, indent=1))


def fuzz(name, seconds, seed, folder, *, max_inputs=None):
  """Returns the Session of one target after so many seconds or inputs, by changes alone."""
  target, draw, ends = TARGETS[name], random.Random(seed), set()
  with tempfile.TemporaryDirectory() as place, judging.timed():
    run, seeds = target.make(pathlib.Path(place))
    warm_up(run, seeds)
    session, pool = Session(run, folder), list(seeds)
    stop = time.monotonic() + seconds
    for data in seeds:
      ends.add(session.judge(data))
    while time.monotonic() < stop and (max_inputs is None or session.num_inputs < max_inputs):
      data = mutate(draw.choice(pool), draw, pool, target.tokens)
      end = session.judge(data)
      if end not in ends and len(pool) < _MAX_POOL:
        pool.append(data)
      ends.add(end)
  session.save()
  return session


def warm_up(run, seeds):
  """Reads a sound input, so that what is imported and compiled once is on nobody's bill."""
  with contextlib.suppress(UserError):
    run(seeds[0])


def fuzz_by_coverage(name, seconds, seed, folder):
  """Fuzzes one target with atheris, which ends the process."""
  target, corpus = TARGETS[name], folder / "corpus"
  place = tempfile.mkdtemp()
  run, seeds = target.make(pathlib.Path(place))
  corpus.mkdir(exist_ok=True)
  for number, data in enumerate(seeds):
    (corpus / f"seed{number}").write_bytes(data)
  words = folder / "words"
  words.write_text("\n".join('"' + "".join(f"\\x{byte:02x}" for byte in token) + '"' for token in target.tokens))
  warm_up(run, seeds)
  session = Session(run, folder)
  flags = [
    f"-max_total_time={seconds}", f"-seed={seed or 1}", f"-max_len={max(2**16, *map(len, seeds))}", f"-dict={words}",
    "-rss_limit_mb=0", "-timeout=600", "-verbosity=0", str(corpus),
  ]  # fmt: skip
  atheris.Setup([sys.argv[0], *flags], session.judge)
  atheris.Fuzz()


if __name__ == "__main__":
  name, seconds, seed, engine, folder = sys.argv[1:]
  if engine == "atheris":
    import atheris

    with atheris.instrument_imports(include=["tireid_jax"]):
      from tests.fuzz.targets import TARGETS
  else:
    from tests.fuzz.targets import TARGETS
  from tests.fuzz import judging
  from tests.fuzz.mutate import mutate
  from tireid_jax.errors import UserError

  judging.limit()
  go = fuzz_by_coverage if engine == "atheris" else fuzz
  with judging.timed():  # of both, though `fuzz` does so itself
    go(name, int(seconds), int(seed), pathlib.Path(folder))
else:
  from tests.fuzz import judging
  from tests.fuzz.mutate import mutate
  from tests.fuzz.targets import TARGETS
  from tireid_jax.errors import UserError
