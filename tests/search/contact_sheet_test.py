"""Pictures on a contact sheet."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from tireid_jax.search import contact_sheet
from tireid_jax.search.results import Result


@pytest.mark.parametrize("use_exif", [True, False])
def test_pictures_are_turned_by_their_exif_orientation_only_if_those_of_the_index_are(tmp_path, use_exif):
  pixels = np.zeros((40, 20, 3), np.uint8)
  pixels[:20] = 255  # upper half white
  exif = Image.Exif()
  exif[0x0112] = 3
  Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
  result = Result(1, 0.5, "turned.png", tmp_path / "turned.png", "", "", None)
  contact_sheet.write(tmp_path / "sheet.html", [("a coat", [result])], use_exif=use_exif)
  (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', (tmp_path / "sheet.html").read_text())
  picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
  half = len(picture) // 2
  assert (picture[:half].mean() < picture[half:].mean()) == use_exif
