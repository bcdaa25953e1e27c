"""Decodes image files to pixels of one size, or says what is wrong with a file.

Pixels are bit-equal to those of PIL's `convert("RGB")` and bilinear `resize`, ignoring aspect ratio and transparency
as in the reference implementation, with three exceptions: of 16-bit grey values, which PIL clips at 255, the high byte
is taken, as PIL does for 16-bit colours; a photograph with an EXIF orientation is turned upright; and a JPEG file of
more than MAX_PIXELS is decoded at a half, a quarter or an eighth of its size before it is resized.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import os
import pathlib
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image

from tireid_jax.data.prepared import truncation
from tireid_jax.errors import UserError

# EXIF tag of the orientation, and the transposition that turns each orientation upright; 1 is upright.
_ORIENTATION = 0x0112
_UPRIGHT = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}

# Increase it when the decoded pixels of a file change, so that old and new ones are never mixed.
DECODER = 1

# An image of this size (8192x4096) takes 128 MiB in PIL, and twice that during conversion; images of a person are
# smaller. Compressed, it may be a file of 100 KiB.
MAX_PIXELS = 2**25
# Images of more pixels are decoded one at a time, so that memory does not grow with the number of cores.
_LARGE_PIXELS = 2**22
_LARGE = threading.Lock()
# An uncompressed file of MAX_PIXELS at 16 bytes a pixel.
_MAX_FILE_BYTES = 2**29
# Formats of cameras and data sets. PIL also reads others, such as EPS, for which it starts Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "JPEG2000", "TIFF", "BMP", "DIB", "GIF", "PPM", "TGA")

# Images in flight per decoding thread: enough that the writer never waits, at little memory.
IN_FLIGHT = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Decoded:
  """The content of an image file.

  Attributes:
    pixels: u8[h, w, 3] at the requested size.
    size: (h, w) of the image in the file, after turning it upright.
    digest: hexadecimal, of the file's bytes and, if the image was turned or reduced, of how.
  """

  pixels: np.ndarray
  size: tuple[int, int]
  digest: str


class BadImageError(UserError):
  """An image file that cannot be decoded.

  Attributes:
    kind: a key of raw.problems.KINDS.
    detail: what is wrong, to be read after the file's name.
  """

  def __init__(self, image_file: str | os.PathLike, kind: str, detail: str):
    super().__init__(f"{image_file} {detail}")
    self.kind = kind
    self.detail = detail


def decode(
  image_file: str | os.PathLike,
  image_size: tuple[int, int],
  *,
  use_exif: bool = True,
  box: tuple[int, int, int, int] | None = None,
) -> Decoded:
  """Returns the Decoded content of a file.

  Args:
    image_file: path.
    image_size: (h, w) pixels to resize to.
    use_exif: whether to turn the image upright by its EXIF orientation. PIL itself turns TIFF files in any case.
    box: (x, y, w, h) in pixels of the upright image, to crop before resizing; clipped to the image. None for all of it.

  Raises:
    BadImageError: the file cannot be decoded, ends early or is too large, or the box is outside of it.
  """
  (result,) = decode_boxes(image_file, image_size, [box], use_exif=use_exif)
  if isinstance(result, BadImageError):
    raise result
  return result


def decode_boxes(
  image_file: str | os.PathLike,
  image_size: tuple[int, int],
  boxes: Sequence[tuple[int, int, int, int] | None],
  *,
  use_exif: bool = True,
) -> list[Decoded | BadImageError]:
  """Returns what `decode` does for each of several boxes, or its error, decoding the file once.

  Raises:
    BadImageError: the file cannot be decoded, ends early or is too large.
  """
  content = _read(image_file)
  digest = hashlib.blake2b(content, digest_size=16)
  try:
    with _opened(content) as image, _in_turn(image):
      own_size = image.height, image.width
      scale = _reduce(image)
      if scale > 1:
        digest.update(b"scale %d" % scale)
      rgb = _rgb(image)
      if truncation.ends_early(image, content, _opened_reduced):
        raise BadImageError(image_file, "truncated image", f"claims {_named(own_size)} pixels but holds fewer")
      orientation = _orientation(image) if use_exif else 1
      if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
        own_size = own_size[::-1] if orientation >= 5 else own_size
        digest.update(b"orientation %d" % orientation)
      return [_resized(rgb, image_size, box, own_size, scale, digest.copy(), image_file) for box in boxes]
  except BadImageError:
    raise
  except Exception as error:  # for damaged files, PIL's readers raise errors of any type
    if "truncated" in str(error).lower():
      raise BadImageError(image_file, "truncated image", f"ends early ({error})") from error
    raise _unreadable(image_file, error) from error


def read_size(image_file: str | os.PathLike, *, use_exif: bool = True) -> tuple[int, int]:
  """Returns (h, w) of the upright image in a file, from its header alone.

  Raises:
    BadImageError: the file is missing, or its header is no image's or claims too many pixels.
  """
  content = _read(image_file)
  try:
    with _opened(content) as image:
      size = image.height, image.width
      return size[::-1] if use_exif and _orientation(image) >= 5 else size
  except Exception as error:  # for damaged files, PIL's readers raise errors of any type
    raise _unreadable(image_file, error) from error


def _unreadable(image_file, error):
  """Returns the BadImageError for what PIL raised."""
  reason = "no format that is known" if isinstance(error, Image.UnidentifiedImageError) else str(error) or repr(error)
  return BadImageError(image_file, "unreadable image", f"does not decode as an image ({reason})")


def resize(pixels: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
  """Returns u8[h, w, 3] resized from an image of any size, as `decode` does."""
  height, width = image_size
  return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def _resized(image, image_size, box, own_size, scale, digest, image_file):
  """Returns the Decoded content of a box, or of all, of an upright image, or the BadImageError about the box."""
  height, width = image_size
  if box is not None:
    try:
      image = _cropped(image, box, own_size, scale, image_file)
    except BadImageError as error:
      return error
    digest.update(b"box %d %d %d %d" % box)
  pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
  return Decoded(pixels, own_size, digest.hexdigest())


def _cropped(image, box, own_size, scale, image_file):
  """Returns a box (x, y, w, h) of an upright image of `own_size`, (h, w), that was decoded at 1/scale of it."""
  x, y, w, h = box
  edges = max(0, x), max(0, y), min(x + w, own_size[1]), min(y + h, own_size[0])
  if edges[0] >= edges[2] or edges[1] >= edges[3]:
    raise BadImageError(image_file, "unreadable image", f"has {_named(own_size)} pixels, none in the box {box}")
  left, top, right, bottom = (edge // scale for edge in edges)
  return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def decode_all(
  image_files: Iterable[str | os.PathLike], image_size: tuple[int, int], *, use_exif: bool = True
) -> Iterator[Decoded | BadImageError]:
  """Yields, in order, the Decoded content of each file, or the BadImageError about it, decoding in parallel.

  At most IN_FLIGHT results per core are held. Arguments are those of `decode`.
  """
  frames = ((file, [None]) for file in image_files)
  return (result for (result,) in decode_all_boxes(frames, image_size, use_exif=use_exif))


def decode_all_boxes(
  frames: Iterable[tuple[str | os.PathLike, Sequence[tuple[int, int, int, int] | None]]],
  image_size: tuple[int, int],
  *,
  use_exif: bool = True,
) -> Iterator[list[Decoded | BadImageError]]:
  """Yields, in order, the results of `decode_boxes` of each (file, boxes), decoding in parallel as `decode_all`."""

  def attempt(frame):
    file, boxes = frame
    try:
      return decode_boxes(file, image_size, boxes, use_exif=use_exif)
    except BadImageError as error:
      return [error] * len(boxes)

  num_threads = os.cpu_count() or 1
  # Threads are enough, since PIL releases the interpreter's lock to decode and resize.
  pool = concurrent.futures.ThreadPoolExecutor(num_threads)
  with warnings.catch_warnings():
    # About transparent palettes, which are read as in the reference, and large images, which are errors here.
    warnings.filterwarnings("ignore", module="PIL")
    try:
      remaining = iter(frames)
      waiting = collections.deque(
        pool.submit(attempt, frame) for frame in itertools.islice(remaining, num_threads * IN_FLIGHT)
      )
      while waiting:
        results = waiting.popleft().result()
        waiting.extend(pool.submit(attempt, frame) for frame in itertools.islice(remaining, 1))
        yield results
    finally:
      pool.shutdown(cancel_futures=True)


def _opened(content):
  """Returns the image in a file's bytes, not yet decoded; raises ValueError if its header claims too many pixels."""
  image = Image.open(io.BytesIO(content), formats=_formats())
  _check_claims(image)
  return image


@functools.cache
def _formats():
  """Returns FORMATS and, where Pillow's plugin for it is installed, HEIF, the format of HEIC files."""
  try:
    import pillow_heif
  except ImportError:
    return FORMATS
  pillow_heif.register_heif_opener()
  return (*FORMATS, "HEIF")


def _opened_reduced(content):
  image = _opened(content)
  _reduce(image)
  return image


def _in_turn(image):
  return _LARGE if image.width * image.height > _LARGE_PIXELS else contextlib.nullcontext()


def can_reduce(image: Image.Image) -> bool:
  """Whether an image can be decoded at reduced size: a JPEG file, unless progressive, which is decoded as a whole."""
  return image.format in ("JPEG", "MPO") and not image.info.get("progressive")


def _reduce(image):
  """Makes PIL decode a JPEG of more than MAX_PIXELS at reduced size; returns the divisor of its sides: 1, 2, 4 or 8."""
  scale = 1
  while image.width * image.height > MAX_PIXELS * scale**2:
    scale *= 2
  if scale > 1:
    image.draft(None, (image.width // scale, image.height // scale))
  return scale


def _read(image_file):
  try:
    size = os.stat(image_file).st_size
    if size > _MAX_FILE_BYTES:
      raise BadImageError(image_file, "unreadable image", f"has {size:,} bytes; {_MAX_FILE_BYTES:,} are allowed")
    content = pathlib.Path(image_file).read_bytes()
  except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: the path contains a null byte
    raise BadImageError(image_file, "missing image", "is not there") from error
  except OSError as error:
    raise BadImageError(image_file, "unreadable image", f"cannot be read ({error.strerror})") from error
  if not content:
    raise BadImageError(image_file, "zero-size image", "has 0 bytes")
  return content


def _check_claims(image):
  """Raises ValueError if the header of an image claims a size or mode that is not supported."""
  # PIL itself warns above MAX_IMAGE_PIXELS, 89 million, and raises above twice that.
  if image.width * image.height > (Image.MAX_IMAGE_PIXELS if can_reduce(image) else MAX_PIXELS):
    claimed = _named((image.height, image.width))
    raise UserError(f"it claims {claimed} pixels, as a decompression bomb does; {MAX_PIXELS:,} are allowed")
  if image.mode in ("I", "F"):
    raise UserError(f"its pixels have 32 bits, and nothing says which value is white (mode {image.mode})")


def _rgb(image):
  if image.mode.startswith("I;16"):
    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
  image.load()
  return image if image.mode == "RGB" else image.convert("RGB")


def _orientation(image):
  """Returns the EXIF orientation of an image, 1 (upright) if there is none or it is unreadable."""
  try:
    return image.getexif().get(_ORIENTATION, 1)
  except Exception:  # for damaged EXIF data, PIL raises errors of any type, while the pixels are intact
    return 1


def _named(size):
  return f"{size[0]}x{size[1]}"
