"""Fuzzes one target in a separate process: by coverage (atheris), or by mutating inputs that had new outcomes."""

import contextlib
import hashlib
import json
import pathlib
import random
import sys
import tempfile
import time

# Inputs kept because they had a new outcome; further inputs are mutations of them.
_MAX_POOL = 500


class Session:
  """Judges and counts inputs, and saves those that fail.

  Attributes:
    num_inputs: judged so far.
    faults: {fault: file of the first input that causes it}.
  """

  def __init__(self, run, folder):
    self._run, self._folder, self._start = run, folder, time.monotonic()
    self._saved = self._start
    self._current = folder / "current"
    self.num_inputs, self.faults = 0, {}

  def judge(self, data):
    """Returns the outcome of an input."""
    self._current.write_bytes(data)  # so that it is known if it kills the process
    fault, outcome = judging.judge(self._run, data)
    self.num_inputs += 1
    if fault and fault not in self.faults:
      file = self._folder / hashlib.sha256(data).hexdigest()[:12]
      file.write_bytes(data)
      self.faults[fault] = str(file)
    if (fault and len(self.faults) < 100) or time.monotonic() - self._saved >= 1:
      self.save()
    return outcome

  def save(self):
    """Writes the counts. Called often, because atheris ends the process without notice."""
    self._saved = time.monotonic()
    seconds = self._saved - self._start
    found = {"inputs": self.num_inputs, "seconds": round(seconds, 1), "faults": self.faults}
    (self._folder / "found.json").write_text(json.dumps(found, indent=1))


def fuzz(name, seconds, seed, folder, *, max_inputs=None):
  """Returns the Session of one target after a number of seconds or inputs, with mutations only."""
  target, rng, outcomes = TARGETS[name], random.Random(seed), set()
  with tempfile.TemporaryDirectory() as scratch, judging.timed():
    run, seeds = target.make(pathlib.Path(scratch))
    warm_up(run, seeds)
    session, pool = Session(run, folder), list(seeds)
    stop = time.monotonic() + seconds
    for data in seeds:
      outcomes.add(session.judge(data))
    while time.monotonic() < stop and (max_inputs is None or session.num_inputs < max_inputs):
      data = mutate(rng.choice(pool), rng, pool, target.tokens)
      outcome = session.judge(data)
      if outcome not in outcomes and len(pool) < _MAX_POOL:
        pool.append(data)
      outcomes.add(outcome)
  session.save()
  return session


def warm_up(run, seeds):
  """Reads a valid input first, so that one-time imports and compilation are not measured."""
  with contextlib.suppress(UserError):
    run(seeds[0])


def fuzz_by_coverage(name, seconds, seed, folder):
  """Fuzzes one target with atheris, which ends the process."""
  target, corpus = TARGETS[name], folder / "corpus"
  scratch = tempfile.mkdtemp()
  run, seeds = target.make(pathlib.Path(scratch))
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
  with judging.timed():  # for both, although `fuzz` also does so itself
    go(name, int(seconds), int(seed), pathlib.Path(folder))
else:
  from tests.fuzz import judging
  from tests.fuzz.mutate import mutate
  from tests.fuzz.targets import TARGETS
  from tireid_jax.errors import UserError
