"""Synthetic inputs for the benchmarks: captions and retrieval embeddings.

It needs only numpy, so that our own benchmarks can import it and use the same inputs. All random numbers come from
numpy's RandomState, which produces the same stream in every numpy release.
"""

import numpy as np

_WHO = [
  "man",
  "woman",
  "young man",
  "young woman",
  "lady",
  "boy",
  "girl",
  "person",
  "pedestrian",
  "middle-aged man",
  "middle-aged woman",
  "teenager",
  "student",
  "male",
  "female",
  "guy",
  "elderly man",
]
_COLOUR = [
  "black",
  "white",
  "gray",
  "grey",
  "dark blue",
  "light blue",
  "navy",
  "red",
  "bright red",
  "pink",
  "yellow",
  "green",
  "olive green",
  "khaki",
  "beige",
  "brown",
  "tan",
  "purple",
  "orange",
  "maroon",
  "turquoise",
  "cream colored",
  "multi-colored",
  "off-white",
  "silver",
  "lavender",
]
_TOP = [
  "t-shirt",
  "shirt",
  "jacket",
  "hooded sweatshirt",
  "hoodie",
  "down coat",
  "polo shirt",
  "blouse",
  "sweater",
  "cardigan",
  "vest",
  "long sleeved shirt",
  "short sleeved shirt",
  "dress",
  "tank top",
  "trench coat",
  "button-up shirt",
  "windbreaker",
  "blazer",
  "turtleneck",
  "denim jacket",
  "puffy coat",
]
_BOTTOM = [
  "jeans",
  "pants",
  "shorts",
  "a knee-length skirt",
  "leggings",
  "trousers",
  "capri pants",
  "sweatpants",
  "skinny jeans",
  "denim shorts",
  "cargo shorts",
  "slacks",
  "a pleated mini skirt",
  "tights",
]
_SHOE = [
  "sneakers",
  "sandals",
  "boots",
  "high heels",
  "flats",
  "running shoes",
  "flip flops",
  "loafers",
  "canvas shoes",
  "slippers",
  "tennis shoes",
  "ankle boots",
  "leather shoes",
]
_BAG = [
  "backpack",
  "shoulder bag",
  "handbag",
  "messenger bag",
  "plastic bag",
  "tote bag",
  "suitcase",
  "umbrella",
  "laptop bag",
  "purse",
  "school bag",
  "shopping bag",
  "water bottle",
  "cell phone",
  "folder",
  "jacket",
]
_SIDE = [
  "on her left shoulder",
  "over his right shoulder",
  "in the right hand",
  "in both hands",
  "across the body",
  "on the back",
  "under one arm",
  "by the strap",
  "in the crook of the elbow",
  "at the hip",
]
_HAIR = [
  "short black hair",
  "long dark hair",
  "shoulder length brown hair",
  "a ponytail",
  "hair tied in a bun",
  "a buzz cut",
  "curly hair",
  "straight blonde hair",
  "bangs",
  "a receding hairline",
  "a bald head",
]
_EXTRA = [
  "a pair of glasses",
  "a wide-brimmed hat",
  "a baseball cap",
  "a wrist watch",
  "a striped scarf",
  "white earphones",
  "a thin belt",
  "sunglasses",
  "a face mask",
  "a lanyard",
  "a thick bracelet",
]
_PATTERN = [
  "vertical stripes",
  "a floral print",
  "a large logo on the chest",
  "white lettering across the front",
  "polka dots",
  "a plaid pattern",
  "a cartoon graphic",
  "a fur trimmed hood",
  "a v-neck",
  "lace sleeves",
  "a zipper down the middle",
  "two front pockets",
  "contrasting cuffs",
  "horizontal bands",
]
_POSE = [
  "walking away from the camera",
  "facing forward",
  "looking down at a phone",
  "walking to the left",
  "standing with arms crossed",
  "turning toward the right",
  "riding a bicycle",
  "talking to somebody",
  "stepping off the curb",
  "looking back over one shoulder",
  "waiting near a doorway",
]

_FORMS = [
  "The {who} is wearing a {c1} {top} over a {c2} {top2} with {c3} {bottom}",
  "He has on a {c1} {top} with {pattern}, {c2} {bottom} and {c3} {shoe}",
  "She wears a {c1} {top}, {c2} {bottom}, and a pair of {c3} {shoe}",
  "This {who} has {hair} and {extra}",
  "A {who} with {hair} is {pose}, dressed in {c1} {bottom}",
  "The {who}'s {top} is {c1} and has {pattern}",
  "They are carrying a {c1} {bag} {side}",
  "There is also a {c2} {bag} {side} and {extra}",
  "On the feet are {c1} {shoe} with {c2} soles",
  "It's tucked into {c3} {bottom} that stop above the ankle",
  "The person is {pose} and holding a {bag}",
  "His {c2} {top2} doesn't quite cover the {c1} {bottom}",
]


def _words(state, count):
  """Returns `count` uniform random integers."""
  return state.randint(0, 2**31 - 1, size=count)


def captions(count, seed=0, min_words=20, max_words=60, typo_rate=0.01):
  """`count` English descriptions of people, each of min_words to max_words words."""
  state = np.random.RandomState(seed)
  out = []
  for _ in range(count):
    draws = iter(_words(state, 256).tolist())

    def pick(options, draws=draws):
      return options[next(draws) % len(options)]

    target = min_words + next(draws) % (max_words - min_words + 1)
    words = []
    while len(words) < target:
      form = pick(_FORMS)
      text = (
        form.format(
          who=pick(_WHO),
          c1=pick(_COLOUR),
          c2=pick(_COLOUR),
          c3=pick(_COLOUR),
          top=pick(_TOP),
          top2=pick(_TOP),
          bottom=pick(_BOTTOM),
          shoe=pick(_SHOE),
          bag=pick(_BAG),
          side=pick(_SIDE),
          hair=pick(_HAIR),
          extra=pick(_EXTRA),
          pattern=pick(_PATTERN),
          pose=pick(_POSE),
        )
        + "."
      )
      words += text.split(" ")
    words = words[:target]
    typo = state.random_sample(target)
    for i in np.nonzero(typo < typo_rate)[0]:
      word = words[i]
      if len(word) > 3:
        at = 1 + int(typo[i] / typo_rate * (len(word) - 2))
        words[i] = [
          word[:at] + word[at + 1 :],
          word[:at] + word[at] + word[at:],
          word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :],
        ][int(typo[i] * 1e6) % 3]
    out.append(" ".join(words).rstrip(",.") + ".")
  return out


#: name: (queries, gallery images, identities), the sizes of the public test splits
SPLITS = {"cuhk": (6156, 3074, 1000), "icfg": (19848, 19848, 1000), "rstp": (2000, 1000, 200)}


def retrieval(queries, gallery, identities, dim=512, seed=0, noise=9.0):
  """Query and gallery embeddings (not normalised) with their ids.

  Every identity has at least one gallery image, and the others are distributed unevenly. Each image has about
  queries/gallery captions, as in the real test splits. The default noise gives a rank-1 similar to those published.
  """
  state = np.random.RandomState(seed)
  weights = state.gamma(2.0, size=identities)
  gallery_ids = np.concatenate(
    [np.arange(identities), state.choice(identities, gallery - identities, p=weights / weights.sum())]
  )
  gallery_ids.sort()
  per_image = np.full(gallery, queries // gallery)
  per_image[state.permutation(gallery)[: queries - per_image.sum()]] += 1
  source = np.repeat(np.arange(gallery), per_image)
  query_ids = gallery_ids[source]
  centres = state.standard_normal((identities, dim)).astype(np.float32)
  images = centres[gallery_ids] + 1.2 * state.standard_normal((gallery, dim)).astype(np.float32)
  texts = images[source] + noise * state.standard_normal((queries, dim)).astype(np.float32)
  return texts, images, query_ids.astype(np.int64), gallery_ids.astype(np.int64)
