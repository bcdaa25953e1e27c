"""The domains of synthetic persons: where their images are taken, and how."""

import dataclasses
from collections.abc import Callable

import numpy as np

from tireid_jax.data.datasets import toy
from tireid_jax.data.toy import attributes
from tireid_jax.data.toy.attributes import Person
from tireid_jax.data.toy.camera import CAMERAS, photograph
from tireid_jax.data.toy.illustrated import STYLES, illustrate


@dataclasses.dataclass(frozen=True)
class Domain:
  """A domain of persons.

  Attributes:
    number: of its random streams.
    folder: of its data set.
    cameras: their names; the images of a person are taken by each in turn.
    take: (random generator, person, camera) -> (JPEG file, view, names of the visible attributes).
  """

  number: int
  folder: str
  cameras: tuple[str, ...]
  take: Callable[[np.random.Generator, Person, str], tuple[bytes, str, frozenset[str]]]


def _photograph(rng, person, camera):
  return photograph(rng, person, CAMERAS[camera])


# By the name of the data set.
DOMAINS: dict[str, Domain] = {
  toy.PEDES.name: Domain(attributes.PEDES, toy.PEDES.folder, tuple(CAMERAS), _photograph),
  toy.ILLUSTRATED.name: Domain(attributes.ILLUSTRATED, toy.ILLUSTRATED.folder, STYLES, illustrate),
}
