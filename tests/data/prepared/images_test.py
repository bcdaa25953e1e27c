"""Image files: pixels equal PIL's for every file format, and every fault is detected and reported."""

import itertools
import os
import struct
import tempfile
import threading
import tracemalloc
import zlib

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from tests.data import trees
from tireid_jax.data.prepared import images, truncation

SIZE = (24, 16)


def pil_resize(file, size=SIZE):
  return np.asarray(Image.open(file).convert("RGB").resize((size[1], size[0]), Image.Resampling.BILINEAR))


@pytest.fixture
def jpeg(tmp_path):
  trees.write_image(tmp_path / "image.jpg", np.random.default_rng(0))
  return tmp_path / "image.jpg"


@settings(deadline=None, max_examples=60)
@given(st.tuples(*[st.integers(1, 90)] * 4), st.booleans())
def test_pixels_equal_pil_s_for_any_size(sides, is_png):
  height, width, new_height, new_width = sides
  pixels = np.random.default_rng(sides).integers(0, 256, (height, width, 3), dtype=np.uint8)
  with tempfile.NamedTemporaryFile(suffix=".png" if is_png else ".jpg") as file:
    Image.fromarray(pixels).save(file.name)
    decoded = images.decode(file.name, (new_height, new_width))
    np.testing.assert_array_equal(decoded.pixels, pil_resize(file.name, (new_height, new_width)))
  assert decoded.size == (height, width)
  assert decoded.pixels.dtype == np.uint8


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "YCbCr"])
def test_images_that_are_not_rgb_are_converted_as_pil_does(jpeg, mode):
  file = jpeg.with_suffix(".tiff" if mode in ("CMYK", "YCbCr") else ".png")
  Image.open(jpeg).convert(mode).save(file)
  assert Image.open(file).mode == mode
  np.testing.assert_array_equal(images.decode(file, SIZE).pixels, pil_resize(file))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_files_that_are_not_rgb_are_converted_as_pil_does(jpeg, mode):
  Image.open(jpeg).convert(mode).save(jpeg)
  np.testing.assert_array_equal(images.decode(jpeg, SIZE).pixels, pil_resize(jpeg))


def test_the_transparency_of_a_palette_is_ignored_as_in_the_reference(jpeg):
  file = jpeg.with_suffix(".png")
  palette = Image.open(jpeg).convert("P")
  palette.save(file, transparency=bytes(range(256)))
  palette.save(jpeg.with_name("opaque.png"))
  (transparent, opaque) = images.decode_all([file, jpeg.with_name("opaque.png")], SIZE)
  np.testing.assert_array_equal(transparent.pixels, opaque.pixels)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_grey_keeps_the_high_byte_instead_of_being_clipped(tmp_path, suffix):
  grey = np.random.default_rng(0).integers(0, 2**16, (40, 20), dtype=np.uint16)
  Image.fromarray(grey).save(tmp_path / f"image{suffix}")
  Image.fromarray((grey >> 8).astype(np.uint8)).save(tmp_path / "high.png")
  decoded = images.decode(tmp_path / f"image{suffix}", SIZE).pixels
  np.testing.assert_array_equal(decoded, pil_resize(tmp_path / "high.png"))
  assert (decoded != pil_resize(tmp_path / f"image{suffix}")).any()


def test_16_bit_color_keeps_the_high_byte(tmp_path):
  colours = np.random.default_rng(0).integers(0, 2**16, (5, 4, 3), dtype=np.uint16)
  rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
  (tmp_path / "image.png").write_bytes(_png(4, 5, rows, bits=16, colour=2))
  np.testing.assert_array_equal(images.decode(tmp_path / "image.png", (5, 4)).pixels, colours >> 8)


def _png(width, height, rows, *, bits, colour):
  chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))]
  chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
  return b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
  )


def with_orientation(file, value):
  """Returns a copy of a JPEG file whose EXIF data has this orientation."""
  exif = Image.Exif()
  exif[0x0112] = value
  segment, content = exif.tobytes(), file.read_bytes()
  copy = file.with_name(f"orientation {value}.jpg")
  copy.write_bytes(content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:])
  return copy


@pytest.mark.parametrize("value", range(1, 9))
def test_an_image_is_rotated_and_flipped_by_its_exif_orientation(jpeg, value):
  file = with_orientation(jpeg, value)
  upright = ImageOps.exif_transpose(Image.open(file))
  decoded, height, width = images.decode(file, SIZE), *SIZE
  np.testing.assert_array_equal(decoded.pixels, np.asarray(upright.resize((width, height), Image.Resampling.BILINEAR)))
  assert decoded.size == (upright.height, upright.width)
  is_changed = value != 1
  assert (decoded.digest != images.decode(file, SIZE, use_exif=False).digest) == is_changed


@pytest.mark.parametrize("value", range(1, 9))
def test_the_size_in_the_header_is_that_of_the_upright_image(jpeg, value):
  file = with_orientation(jpeg, value)
  assert images.read_size(file) == images.decode(file, SIZE).size
  assert images.read_size(file, use_exif=False) == images.decode(file, SIZE, use_exif=False).size
  file.write_bytes(b"no image")
  with pytest.raises(images.BadImageError, match="does not decode as an image"):
    images.read_size(file)


def test_exif_orientation_can_be_ignored_as_in_the_reference(jpeg):
  ignored, plain = images.decode(with_orientation(jpeg, 6), SIZE, use_exif=False), images.decode(jpeg, SIZE)
  np.testing.assert_array_equal(ignored.pixels, plain.pixels)
  assert ignored.size == plain.size
  (found,) = images.decode_all([with_orientation(jpeg, 6)], SIZE, use_exif=False)
  np.testing.assert_array_equal(found.pixels, plain.pixels)


@pytest.mark.parametrize("segment", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x09"])
def test_damaged_exif_data_is_ignored(jpeg, segment):
  content, file = jpeg.read_bytes(), jpeg.with_name("damaged.jpg")
  file.write_bytes(content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:])
  np.testing.assert_array_equal(images.decode(file, SIZE).pixels, images.decode(jpeg, SIZE).pixels)


def test_an_image_of_one_pixel_is_resized_to_a_constant(tmp_path):
  Image.new("RGB", (1, 1), (10, 200, 30)).save(tmp_path / "dot.png")
  decoded = images.decode(tmp_path / "dot.png", SIZE)
  np.testing.assert_array_equal(decoded.pixels, np.broadcast_to(np.uint8([10, 200, 30]), (*SIZE, 3)))
  assert decoded.size == (1, 1)


@pytest.mark.parametrize("name", ["with space.jpg", "größe 人.jpg", "café/n° 1.jpg", "link.jpg"])
def test_paths_may_contain_spaces_and_any_letters_and_be_symlinks(jpeg, name):
  file = jpeg.with_name(name) if "/" not in name else jpeg.parent / name
  file.parent.mkdir(exist_ok=True)
  if name == "link.jpg":
    file.symlink_to(jpeg)
  else:
    file.write_bytes(jpeg.read_bytes())
  np.testing.assert_array_equal(images.decode(file, SIZE).pixels, pil_resize(jpeg))


def test_the_format_is_detected_from_the_content_and_not_from_the_name(jpeg):
  Image.open(jpeg).save(jpeg.with_name("other.jpg"), "PNG")
  np.testing.assert_array_equal(images.decode(jpeg.with_name("other.jpg"), SIZE).pixels, pil_resize(jpeg))


def test_digests_depend_only_on_the_content(jpeg):
  jpeg.with_name("copy.jpg").write_bytes(jpeg.read_bytes())
  jpeg.with_name("other.jpg").write_bytes(jpeg.read_bytes() + b"x")
  one, copy, other = (images.decode(jpeg.with_name(f"{n}.jpg"), SIZE).digest for n in ("image", "copy", "other"))
  assert one == copy != other


def _claim(content, *, height=0, width=0):
  """Returns JPEG content whose header claims `height` more rows and `width` more columns."""
  start = content.index(b"\xff\xc0") + 5
  old_height, old_width = struct.unpack(">HH", content[start : start + 4])
  return content[:start] + struct.pack(">HH", old_height + height, old_width + width) + content[start + 4 :]


FAULTS = [
  (lambda content: b"", "zero-size image", "has 0 bytes"),
  (lambda content: b"no image", "unreadable image", "does not decode as an image .no format that is known"),
  (lambda content: content[: len(content) // 2], "truncated image", "ends early"),
  (lambda content: content[:-30], "truncated image", "ends early"),
  (lambda content: _claim(content, height=40), "truncated image", "claims .* pixels but holds fewer"),
  (lambda content: _claim(content, width=40), "truncated image", "claims .* pixels but holds fewer"),
  (lambda content: _png(4, 9, bytes(13 * 5), bits=8, colour=2), "truncated image", "claims 9x4 pixels but holds"),
  (lambda content: _png(4, 9, bytes(7 * 9), bits=8, colour=2), "truncated image", "ends early"),
  (lambda content: _png(30_000, 4_000, b"", bits=8, colour=2), "unreadable image", ".*it claims 4000x30000 pixels, as"),
  (lambda content: _png(60_000, 60_000, b"", bits=8, colour=2), "unreadable image", ".*decompression bomb"),
]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("damage", "kind", "detail"), FAULTS)
def test_a_damaged_file_is_reported_with_its_fault(jpeg, damage, kind, detail):
  jpeg.write_bytes(damage(jpeg.read_bytes()))
  with pytest.raises(images.BadImageError, match=rf"image\.jpg {detail}") as error:
    images.decode(jpeg, SIZE)
  assert error.value.kind == kind
  assert "\n" not in error.value.detail


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_32_bits_are_an_error_because_their_range_is_unknown(jpeg, mode):
  Image.open(jpeg).convert("L").convert(mode).save(jpeg.with_suffix(".tiff"))
  with pytest.raises(images.BadImageError, match="its pixels have 32 bits"):
    images.decode(jpeg.with_suffix(".tiff"), SIZE)


@pytest.mark.parametrize("name", ["none.jpg", "image.jpg/none.jpg"])
def test_a_file_that_does_not_exist_is_reported_as_missing(jpeg, name):
  with pytest.raises(images.BadImageError, match=r"none\.jpg is not there") as error:
    images.decode(jpeg.parent / name, SIZE)
  assert error.value.kind == "missing image"


def test_a_folder_instead_of_an_image_is_an_error(tmp_path):
  with pytest.raises(images.BadImageError, match="cannot be read"):
    images.decode(tmp_path, SIZE)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_file_is_detected_unless_all_pixels_are_intact(jpeg, progressive):
  Image.open(jpeg).save(jpeg, progressive=progressive)
  content, whole = jpeg.read_bytes(), images.decode(jpeg, SIZE).pixels
  for end in [*range(0, len(content), 37), *range(len(content) - 8, len(content))]:
    jpeg.write_bytes(content[:end])
    try:
      decoded = images.decode(jpeg, SIZE).pixels
    except images.BadImageError:
      continue
    np.testing.assert_array_equal(decoded, whole)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "RGBA"])
def test_a_png_file_that_ends_in_black_does_not_count_as_truncated(jpeg, mode):
  file = jpeg.with_suffix(".png")
  Image.new(mode, (13, 20)).save(file)
  np.testing.assert_array_equal(images.decode(file, SIZE).pixels, pil_resize(file))


@pytest.mark.parametrize("grey", [128, 127])
def test_a_jpeg_file_that_ends_in_grey_does_not_count_as_truncated(jpeg, grey):
  image = np.array(Image.open(jpeg))
  image[-20:] = grey
  Image.fromarray(image).save(jpeg, quality=95)
  np.testing.assert_array_equal(images.decode(jpeg, SIZE).pixels, pil_resize(jpeg))


def test_boxes_of_one_file_are_those_of_single_calls_and_decode_it_once(jpeg, monkeypatch):
  boxes = [None, (3, 5, 10, 12), (1000, 0, 5, 5), (0, 0, 4, 4)]
  singles = [images.decode(jpeg, SIZE, box=box) if box != boxes[2] else None for box in boxes]
  decoded, convert = [], images._rgb
  monkeypatch.setattr(images, "_rgb", lambda image: decoded.append(1) or convert(image))
  found = images.decode_boxes(jpeg, SIZE, boxes)
  assert len(decoded) == 1
  for one, single in zip(found, singles, strict=True):
    if single is None:
      assert "none in the box" in one.detail
    else:
      np.testing.assert_array_equal(one.pixels, single.pixels)
      assert one.digest == single.digest


def test_decoding_reads_ahead_a_limited_number_of_files_and_keeps_their_order(tmp_path):
  for name in "ab":
    trees.write_image(tmp_path / f"{name}.jpg", np.random.default_rng(ord(name)))
  files, consumed = [tmp_path / "a.jpg", tmp_path / "gone.jpg", tmp_path / "b.jpg"], []
  endless = (consumed.append(file) or file for file in itertools.cycle(files))
  results = list(itertools.islice(images.decode_all(endless, SIZE), 40))
  for index, result in enumerate(results):
    if index % 3 == 1:
      assert isinstance(result, images.BadImageError)
    else:
      np.testing.assert_array_equal(result.pixels, pil_resize(files[index % 3]))
  assert len(consumed) <= 40 + images.IN_FLIGHT * os.cpu_count()


def test_a_png_file_with_too_many_pixels_is_rejected_by_its_header(jpeg):
  jpeg.write_bytes(_png(8193, 4096, b"", bits=8, colour=2))
  with pytest.raises(images.BadImageError, match=r"image\.jpg .*claims 4096x8193 pixels, .*; 33,554,432 are allowed"):
    images.decode(jpeg, SIZE)


def test_the_bytes_of_a_png_file_are_counted_without_storing_them(tmp_path):
  Image.new("L", (4096, 4096)).save(tmp_path / "black.png")
  content = (tmp_path / "black.png").read_bytes()
  tracemalloc.start()
  assert not truncation.png_ends_early(content)
  assert tracemalloc.get_traced_memory()[1] < 2**23  # the image has 16 MiB
  tracemalloc.stop()


@pytest.mark.parametrize(("limit", "scale"), [(2**25, 1), (5000, 2), (1000, 4)])
def test_a_large_jpeg_file_is_decoded_at_the_smallest_sufficient_reduction(jpeg, monkeypatch, limit, scale):
  Image.open(jpeg).resize((80, 120)).save(jpeg, quality=95)
  monkeypatch.setattr(images, "MAX_PIXELS", limit)
  expected = Image.open(jpeg)
  expected.draft(None, (80 // scale, 120 // scale))
  assert expected.size == (80 // scale, 120 // scale)
  decoded = images.decode(jpeg, SIZE)
  np.testing.assert_array_equal(decoded.pixels, expected.resize((16, 24), Image.Resampling.BILINEAR))
  assert decoded.size == (120, 80)
  monkeypatch.undo()
  assert (decoded.digest == images.decode(jpeg, SIZE).digest) == (scale == 1)


def test_a_large_progressive_jpeg_file_is_rejected(jpeg, monkeypatch):
  Image.open(jpeg).save(jpeg, progressive=True)
  monkeypatch.setattr(images, "MAX_PIXELS", 100)
  with pytest.raises(images.BadImageError, match="; 100 are allowed"):
    images.decode(jpeg, SIZE)


def test_large_images_are_decoded_one_at_a_time(jpeg, monkeypatch):
  class CountingLock:
    def __init__(self):
      self.lock, self.waiting, self.most = threading.Lock(), 0, 0

    def __enter__(self):
      self.lock.acquire()
      self.waiting += 1
      self.most = max(self.most, self.waiting)

    def __exit__(self, *_):
      self.waiting -= 1
      self.lock.release()

  counting_lock = CountingLock()
  monkeypatch.setattr(images, "_LARGE", counting_lock)
  monkeypatch.setattr(images, "_LARGE_PIXELS", 10)
  assert len(list(images.decode_all([jpeg] * 20, SIZE))) == 20
  assert counting_lock.most == 1


def test_a_format_that_needs_another_program_is_not_opened(tmp_path):
  (tmp_path / "image.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
  assert Image.open(tmp_path / "image.jpg").format == "EPS"
  with pytest.raises(images.BadImageError, match="no format that is known"):
    images.decode(tmp_path / "image.jpg", SIZE)


def test_a_png_file_whose_text_decompresses_to_megabytes_is_rejected(jpeg):
  text = PngImagePlugin.PngInfo()
  text.add_text("comment", "a" * 60_000_000, zip=True)
  Image.open(jpeg).save(jpeg.with_suffix(".png"), pnginfo=text)
  with pytest.raises(
    images.BadImageError, match=r"image\.png does not decode as an image \(Decompressed data too large"
  ):
    images.decode(jpeg.with_suffix(".png"), SIZE)


def test_only_the_first_frame_of_a_file_is_decoded(jpeg):
  first = Image.open(jpeg).convert("RGB")
  frames = [Image.new("RGB", first.size, (number, 0, 0)) for number in range(50)]
  file = jpeg.with_suffix(".tiff")
  first.save(file, save_all=True, append_images=frames)
  np.testing.assert_array_equal(images.decode(file, SIZE).pixels, pil_resize(jpeg))


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".heic"])
def test_webp_avif_and_heic_are_decoded(tmp_path, suffix):
  pillow_heif.register_heif_opener()  # for writing
  file = tmp_path / f"image{suffix}"
  Image.new("RGB", (40, 60), (200, 30, 90)).save(file)
  decoded = images.decode(file, SIZE)
  assert decoded.size == (60, 40)
  np.testing.assert_allclose(decoded.pixels.mean(axis=(0, 1)), (200, 30, 90), atol=4)


def test_a_box_is_clipped_to_the_image_and_cropped_from_it(jpeg):
  whole = Image.open(jpeg)
  width, _height = whole.size
  expected = whole.crop((3, 5, width, 17)).resize((SIZE[1], SIZE[0]), Image.Resampling.BILINEAR)
  found = images.decode(jpeg, SIZE, box=(3, 5, width, 12))
  np.testing.assert_array_equal(found.pixels, np.asarray(expected))
  assert found.digest != images.decode(jpeg, SIZE).digest
  with pytest.raises(images.BadImageError, match="none in the box"):
    images.decode(jpeg, SIZE, box=(width, 0, 5, 5))
