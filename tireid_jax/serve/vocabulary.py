"""The words of the captions that a run trained on. A query's other words may mean nothing to its model."""

import os
import re

from ml_collections import ConfigDict

from tireid_jax.data.prepared import splits
from tireid_jax.data.text import cleaning
from tireid_jax.workdir import layout

# Words as CLIP's tokenizer separates them, without endings such as 's.
_WORD = re.compile(r"'(?:s|t|re|ve|m|ll|d)\b|([^\W\d_]+)")


class Vocabulary:
  """The words of some captions; without any captions, nothing is known and every word counts as seen."""

  def __init__(self, captions: list[str]) -> None:
    self._words = {word for caption in set(captions) for word in words_of(caption)}

  def __len__(self) -> int:
    return len(self._words)

  def unseen(self, text: str) -> list[str]:
    """Returns the words of a text that no caption has, in lower case, each once."""
    return [word for word in dict.fromkeys(words_of(text)) if word not in self._words] if self._words else []


def words_of(text: str) -> list[str]:
  """Returns the words of a text after the cleaning that captions go through. Numbers are not words."""
  return [word for word in _WORD.findall(cleaning.clean(text)) if word]


def of_run(workdir: str | os.PathLike, stage: str) -> Vocabulary:
  """Returns the Vocabulary of the captions that a stage, and the earlier ones in its workdir, trained on.

  Args:
    workdir: of the run.
    stage: "pretrained", "0", "1" or "2".

  Raises:
    UserError, MissingFileError: the prepared data are not there any more.
  """
  config = layout.read_config(workdir)
  captions: list[str] = []
  for name in dict.fromkeys(config[number].data or config.data.name for number in _stages(config, stage)):
    split = splits.open_split(
      config.data_dir, name, config.data.image_size, "train", tokenizer=config.data.tokenizer, in_memory_bytes=0
    )
    captions += split.captions
  return Vocabulary(captions)


def _stages(config: ConfigDict, stage: str) -> list[str]:
  """Returns the stages of a workdir that led to a stage, as ["stage2", "stage1", "stage0"]."""
  found: list[str] = []
  name = "pretrained" if stage == "pretrained" else f"stage{stage}"
  while True:
    if name == "pretrained":
      name = config.pretrained
    if name not in ("stage0", "stage1", "stage2") or name in found:
      return found
    found.append(name)
    name = config[name].init_from
