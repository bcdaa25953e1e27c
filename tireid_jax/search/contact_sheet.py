"""An HTML file with the pictures that each query found."""

import pathlib
from collections.abc import Sequence

from tireid_jax.data.prepared import images
from tireid_jax.reporting import page
from tireid_jax.search.results import Result

# (h, w) of a thumbnail, pixels.
_SIZE = (192, 96)


def write(path: pathlib.Path, found: Sequence[tuple[str, Sequence[Result]]], *, use_exif: bool) -> None:
  """Writes one HTML file, atomically.

  Args:
    path: of the file.
    found: (query, its results).
    use_exif: whether pictures are turned upright by their EXIF orientation, as in the index.
  """
  sections = [(query, [(result, _picture(result, use_exif)) for result in results]) for query, results in found]
  notes = ["A score orders the images of one query; it says nothing across queries."]
  page.write_page(
    path, pathlib.Path(__file__).with_suffix(".html"), title="Search results", notes=notes, found=sections
  )


def _picture(result, use_exif):
  """Returns u8[h, w, 3]; None if the file is gone or damaged since it was indexed."""
  try:
    return images.decode(result.file, _SIZE, use_exif=use_exif, box=result.box).pixels
  except images.BadImageError:
    return None
