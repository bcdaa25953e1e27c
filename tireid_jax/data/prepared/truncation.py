"""Detects truncated JPEG and PNG files, whose missing pixels PIL fills without an error."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

# Bytes decompressed at a time when counting them.
_PIECE_BYTES = 2**20

# The value of the pixels that PIL fills in for missing data, by format.
_FILL = {"JPEG": 128, "MPO": 128, "PNG": 0}

# Bytes that a JPEG decoder reads as pixels if some are missing.
_MORE = b"\x55" * 4096
_END_OF_JPEG = b"\xff\xd9"

# Width, height, bits and colour type in the header of a PNG file, channels by colour type, and the first chunk.
_PNG_HEADER = struct.Struct(">16xIIBB")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_CHUNKS = 8


def ends_early(image: Image.Image, content: bytes, reopen: Callable[[bytes], Image.Image]) -> bool:
  """Whether a JPEG or PNG file holds fewer pixels than its header claims; PIL fills those up silently.

  Args:
    image: PIL's, loaded.
    content: bytes of its file.
    reopen: returns the image in some bytes, opened as `image` was, not loaded.
  """
  fill = _FILL.get(image.format or "")
  if fill is None or np.any(np.array(image.getpixel((0, image.height - 1))) != fill):
    return False
  return png_ends_early(content) if image.format == "PNG" else _jpeg_ends_early(image, content, reopen)


def _jpeg_ends_early(image, content, reopen):
  """Whether bytes added at the end of the file change the image."""
  end = content.rfind(_END_OF_JPEG)
  with reopen(content[:end] + _MORE + content[end:]) as longer:
    return longer.tobytes() != image.tobytes()


def png_ends_early(content: bytes) -> bool:
  """Whether a PNG file decompresses to fewer bytes than its header's rows of pixels take."""
  width, height, bits, colour_type = _PNG_HEADER.unpack_from(content)
  num_bytes, start, inflate = 0, _PNG_CHUNKS, zlib.decompressobj()
  while start + 8 <= len(content):
    size, kind = struct.unpack_from(">I4s", content, start)
    if kind == b"IDAT":
      compressed = content[start + 8 : start + 8 + size]
      while compressed:  # in pieces, since only the number of bytes matters
        num_bytes += len(inflate.decompress(compressed, _PIECE_BYTES))
        compressed = inflate.unconsumed_tail
    start += size + 12
  return num_bytes < height * (width * bits * _PNG_CHANNELS[colour_type] // 8)
