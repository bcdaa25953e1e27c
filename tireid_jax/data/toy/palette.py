"""The basic colours: RGB values, shades, and the colours each is mistaken for."""

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
  "black": (34, 34, 40),
  "white": (238, 238, 234),
  "grey": (138, 141, 146),
  "red": (204, 34, 42),
  "blue": (40, 88, 196),
  "green": (38, 138, 66),
  "yellow": (242, 208, 46),
  "orange": (240, 126, 30),
  "pink": (244, 146, 184),
  "purple": (122, 58, 160),
  "brown": (112, 70, 40),
  "beige": (216, 194, 152),
}

# A shade has the attribute value of its basic colour; only captions may distinguish it ("navy").
SHADES: dict[str, dict[str, RGB]] = {
  "grey": {"dark": (88, 90, 96), "light": (182, 184, 188)},
  "red": {"dark": (132, 24, 38)},
  "blue": {"dark": (30, 44, 102), "light": (124, 176, 232)},
  "green": {"dark": (28, 82, 48), "light": (124, 194, 112)},
  "brown": {"dark": (74, 46, 30), "light": (160, 112, 70)},
  "purple": {"light": (172, 132, 208)},
}

HAIR_COLOURS: dict[str, RGB] = {
  "black": (30, 26, 26),
  "brown": (92, 56, 32),
  "blond": (222, 184, 104),
  "grey": (168, 168, 166),
  "red": (172, 72, 28),
}

SKINS: tuple[RGB, ...] = (
  (250, 214, 184),
  (240, 196, 158),
  (222, 172, 130),
  (186, 132, 92),
  (136, 90, 60),
  (104, 68, 46),
)

# What a careless annotator writes instead.
CONFUSED_COLOURS: dict[str, tuple[str, ...]] = {
  "black": ("blue", "grey", "brown"),
  "white": ("grey", "beige"),
  "grey": ("black", "white", "blue"),
  "red": ("orange", "pink", "brown"),
  "blue": ("purple", "grey", "green"),
  "green": ("blue", "grey", "yellow"),
  "yellow": ("orange", "beige"),
  "orange": ("red", "yellow", "brown"),
  "pink": ("red", "purple", "white"),
  "purple": ("blue", "pink"),
  "brown": ("beige", "black", "orange"),
  "beige": ("white", "brown", "grey"),
  "blond": ("brown",),
}


def luma(rgb: RGB) -> float:
  """Returns perceived brightness, 0 to 255 (ITU-R BT.601)."""
  return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


def mix(rgb: RGB, other: RGB, fraction: float) -> RGB:
  """Interpolates from `rgb` to `other` by `fraction`, 0 to 1."""
  return tuple(int(a + (b - a) * fraction) for a, b in zip(rgb, other, strict=True))  # type: ignore[return-value]


def edge(rgb: RGB) -> RGB:
  """Returns the outline colour of a part painted `rgb`: darker, or lighter if `rgb` is nearly black."""
  return mix(rgb, (128, 128, 134), 0.28) if luma(rgb) < 58 else mix(rgb, (0, 0, 0), 0.34)


def contrast_with(rgb: RGB) -> RGB:
  """Returns near-black or near-white, whichever contrasts more with `rgb`."""
  return (246, 246, 244) if luma(rgb) < 150 else (40, 40, 44)
