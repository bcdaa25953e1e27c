"""Words of the pool's captions: names of objects and colours, their synonyms, and phrases around them."""

# ruff: noqa: E501  one table row per line

# The first word is that of the drawing's name unless given here; all are equally likely.
SYNONYMS: dict[str, str] = {
  "circle": "circle|disc|disk|round shape", "square": "square|box shape", "rectangle": "rectangle|rectangular shape",
  "triangle": "triangle|triangular shape", "oval": "oval|ellipse", "cross": "cross|plus sign", "heart": "heart|valentine",
  "ring": "ring|hoop|circle with a hole", "arrow": "arrow|pointer", "cylinder": "cylinder|tube|can", "cone": "cone",
  "table": "table|desk", "bed": "bed|mattress", "sofa": "sofa|couch|settee", "lamp": "lamp|table lamp|light",
  "shelf": "shelf|bookshelf|bookcase", "bench": "bench|park bench|wooden seat", "clock": "clock|wall clock|timer",
  "door": "door|doorway|entrance", "window": "window|window frame", "television": "television|tv|monitor|screen",
  "laptop": "laptop|computer|notebook computer", "vase": "vase|jug|urn|pitcher", "basket": "basket|wicker basket",
  "box": "box|carton|cardboard box|package", "gift": "gift|present|wrapped present|parcel", "book": "book|novel|diary",
  "envelope": "envelope|letter|mail", "mug": "mug|cup|coffee mug|tea cup", "teapot": "teapot|kettle", "bowl": "bowl|dish",
  "plate": "plate|saucer", "knife": "knife|blade", "pan": "pan|frying pan|skillet", "jar": "jar|pot", "barrel": "barrel|keg|cask",
  "pencil": "pencil|crayon|pen", "bucket": "bucket|pail", "broom": "broom|brush|mop", "guitar": "guitar|ukulele", "drum": "drum|snare drum",
  "trumpet": "trumpet|horn|bugle", "camera": "camera|digital camera", "glasses": "glasses|eyeglasses|spectacles|sunglasses",
  "watch": "watch|wristwatch", "crown": "crown|tiara", "scarf": "scarf|shawl", "glove": "glove|mitten", "tie": "tie|necktie",
  "sock": "sock|stocking", "helmet": "helmet|motorcycle helmet", "teddy bear": "teddy bear|stuffed bear|plush toy", "robot": "robot|android|toy robot",
  "cherry": "cherry|pair of cherries", "grapes": "bunch of grapes", "mushroom": "mushroom|toadstool", "pumpkin": "pumpkin|squash",
  "watermelon": "watermelon|slice of melon", "ice cream": "ice cream|ice cream cone|scoop of gelato", "cake": "cake|birthday cake|dessert",
  "pizza": "pizza|slice of pizza", "bread": "loaf of bread|bread", "donut": "donut|doughnut|bagel", "cheese": "piece of cheese", "lollipop": "lollipop|candy|sweet",
  "bus": "bus|coach|school bus", "truck": "truck|lorry|delivery truck", "van": "van|minivan|minibus", "tractor": "tractor|farm tractor",
  "train": "train|locomotive|steam engine", "bicycle": "bicycle|bike|cycle", "motorcycle": "motorcycle|motorbike", "boat": "boat|motorboat|ferry",
  "sailboat": "sailboat|yacht|sailing boat", "ship": "ship|cruise ship|vessel", "airplane": "airplane|plane|aircraft|jet", "helicopter": "helicopter|chopper",
  "rocket": "rocket|spaceship|space shuttle|missile", "scooter": "scooter|kick scooter", "tower": "tower|stone tower|turret", "castle": "castle|palace|fortress|fort",
  "church": "church|chapel|cathedral", "tent": "tent|camping tent|teepee", "skyscraper": "skyscraper|tall building|office building|apartment building",
  "barn": "barn|shed|farmhouse", "fence": "fence|picket fence|railing", "street lamp": "street lamp|streetlight|lamp post", "mailbox": "mailbox|letter box|postbox",
  "stop sign": "stop sign|traffic sign", "fire hydrant": "fire hydrant|hydrant", "trash can": "trash can|garbage can|dustbin|bin", "tree": "tree|oak|leafy tree",
  "pine tree": "pine tree|fir|christmas tree|evergreen|spruce", "palm tree": "palm tree|palm|coconut tree", "bush": "bush|shrub|hedge", "plant": "plant|potted plant|houseplant",
  "sun": "sun|sunshine", "moon": "moon|crescent moon|half moon", "lightning bolt": "lightning bolt|bolt of lightning|thunderbolt", "mountain": "mountain|hill|peak",
  "rock": "rock|stone|boulder", "fire": "fire|campfire|bonfire|flame", "raindrop": "raindrop|drop of water|droplet", "soccer ball": "soccer ball|football",
  "tennis racket": "tennis racket|racquet", "trophy": "trophy|cup|award", "target": "target|bullseye|dartboard", "dice": "dice|die|gambling cube",
  "cat": "cat|kitten|kitty|feline", "dog": "dog|puppy|hound|pup", "pig": "pig|piglet|hog", "sheep": "sheep|lamb|ewe", "cow": "cow|bull|cattle|calf", "horse": "horse|pony|mare|stallion",
  "bear": "bear|grizzly|brown bear", "rabbit": "rabbit|bunny|hare", "mouse": "mouse|rat|rodent|hamster", "bird": "bird|sparrow|robin|finch", "duck": "duck|duckling|goose",
  "chicken": "chicken|hen|rooster", "fish": "fish|goldfish|tropical fish", "whale": "whale|blue whale", "octopus": "octopus|squid", "turtle": "turtle|tortoise", "snake": "snake|serpent|cobra",
  "frog": "frog|toad", "butterfly": "butterfly|moth", "bee": "bee|wasp|bumblebee|honeybee", "ladybug": "ladybug|ladybird|beetle", "dinosaur": "dinosaur|dragon|lizard",
}  # fmt: skip

# Colour, caption words, RGB. Those of ToyPEDES come first; the rest are only in the pool.
COLOUR_TABLE: dict[str, tuple[str, tuple[int, int, int]]] = {
  "black": ("black|jet black", (34, 34, 40)), "white": ("white|snow white", (238, 238, 234)), "gray": ("gray|grey|ash", (138, 141, 146)),
  "dark gray": ("dark gray|charcoal|dark grey|slate", (88, 90, 96)), "light gray": ("light gray|light grey|silver", (182, 184, 188)),
  "red": ("red|bright red|scarlet", (214, 34, 42)), "dark red": ("dark red|maroon|burgundy|crimson|wine red", (132, 24, 38)),
  "blue": ("blue|royal blue|cobalt|sapphire", (40, 88, 196)), "navy": ("navy|dark blue|navy blue|indigo", (30, 44, 102)),
  "light blue": ("light blue|sky blue|baby blue|pale blue|azure", (124, 176, 232)), "green": ("green|emerald", (38, 138, 66)),
  "dark green": ("dark green|forest green", (28, 82, 48)), "light green": ("light green|lime|mint|pale green", (124, 194, 112)),
  "olive": ("olive|olive green|army green|moss green", (116, 118, 48)), "yellow": ("yellow|bright yellow|lemon yellow", (242, 208, 46)),
  "gold": ("gold|golden|mustard|amber", (214, 164, 40)), "orange": ("orange|tangerine", (240, 126, 30)),
  "coral": ("coral|salmon|peach", (244, 136, 112)), "pink": ("pink|light pink|rosy", (244, 146, 184)), "hot pink": ("hot pink|magenta|fuchsia", (226, 50, 140)),
  "purple": ("purple|violet|plum", (122, 58, 160)), "lavender": ("lavender|light purple|lilac", (172, 132, 208)), "brown": ("brown|chocolate|chestnut", (112, 70, 40)),
  "dark brown": ("dark brown|coffee", (74, 46, 30)), "light brown": ("light brown|caramel|bronze", (160, 112, 70)), "beige": ("beige|tan|cream|khaki|ivory|sand", (216, 194, 152)),
  "teal": ("teal|turquoise|cyan|aqua", (32, 164, 170)),
}  # fmt: skip

PATTERN_PHRASES = {
  "stripes": "{a} and {b} striped {noun}|{a} {noun} with {b} stripes|{noun} with horizontal {a} and {b} bands|banded {a} and {b} {noun}",
  "vertical": "{a} {noun} with vertical {b} stripes|{a} {noun} with {b} lines running down|vertically striped {a} and {b} {noun}|pinstriped {a} and {b} {noun}",
  "checks": "{a} and {b} checkered {noun}|{a} and {b} plaid {noun}|checked {noun} in {a} and {b}|{a} and {b} tartan {noun}|gingham {noun} in {a} and {b}",
  "dots": "{a} {noun} with {b} dots|{a} {noun} with {b} polka dots|{b} dotted {a} {noun}|spotted {a} and {b} {noun}|{a} {noun} with {b} spots",
}
RELATIONS = {
  "left": "to the left of|left of|on the left side of|on the left hand side of",
  "right": "to the right of|right of|on the right side of",
  "above": "above|over|higher than|on top of|placed above|hovering above",
  "below": "below|under|beneath|underneath|lower than|at the bottom, below",
}
REVERSED = {"left": "right", "right": "left", "above": "below", "below": "above"}
SIDE_BY_SIDE = "next to|beside|alongside|near|close to|by|together with|and"
NUMBERS = {
  2: "two|a pair of|2|a couple of",
  3: "three|3|a trio of",
  4: "four|4",
  5: "five|5",
  6: "six|6|half a dozen",
  8: "eight|8",
}
POSITIONS = {
  "top": "at the top|near the top edge|in the upper half|high up", "bottom": "at the bottom|near the lower edge|in the lower part|down below",
  "middle": "in the middle|in the center|centered|in the centre", "top left": "in the top left corner|in the upper left", "top right": "in the top right corner|in the upper right",
  "bottom left": "in the bottom left corner|in the lower left", "bottom right": "in the bottom right corner|in the lower right",
}  # fmt: skip
BIG, SMALL = "big|large|huge|giant|enormous", "small|tiny|little|miniature"
GROUND = "on a {} background|in front of a {} wall|against a plain {} backdrop|with {} behind|on {} paper"
FRAMES = "{style} of {text}|{style} of {text}|{style} of {text}|{text}|{text}|{text}|here is {text}|there is {text}|this is {text}|{style} showing {text}|{style} that depicts {text}|{text}, {style}|we see {text}|you can see {text}|{text} is shown|look at {text}|{style} featuring {text}"
PHOTO = "a photo|a picture|an image|a photograph|a snapshot|a close up|a view"
LETTER_PHRASES = "the letter {}|a capital {}|the character {}|the uppercase letter {}"
DIGIT_PHRASES = "the number {}|the digit {}|the figure {}|the numeral {}"

# Country: bands, "h" horizontal or "v" vertical, then colours.
FLAGS = {
  "france": ("french", "v", "blue white red"), "italy": ("italian", "v", "green white red"), "germany": ("german", "h", "black red gold"),
  "belgium": ("belgian", "v", "black yellow red"), "ireland": ("irish", "v", "green white orange"), "russia": ("russian", "h", "white blue red"),
  "netherlands": ("dutch", "h", "red white blue"), "austria": ("austrian", "h", "red white red"), "hungary": ("hungarian", "h", "red white green"),
  "poland": ("polish", "h", "white red"), "ukraine": ("ukrainian", "h", "blue yellow"), "romania": ("romanian", "v", "blue yellow red"), "nigeria": ("nigerian", "v", "green white green"),
  "bulgaria": ("bulgarian", "h", "white green red"), "estonia": ("estonian", "h", "blue black white"), "peru": ("peruvian", "v", "red white red"), "lithuania": ("lithuanian", "h", "yellow green red"),
}  # fmt: skip
UNCOLOURED_PLURALS = {"glasses": "pairs of glasses", "grapes": "bunches of grapes", "sheep": "sheep", "fish": "fish", "dice": "dice", "mouse": "mice",
  "knife": "knives", "shelf": "shelves", "leaf": "leaves", "scissors": "pairs of scissors", "bread": "loaves of bread", "goose": "geese", "cheese": "pieces of cheese"}  # fmt: skip


def split(text: str) -> tuple[str, ...]:
  """Returns the alternatives in "a|b|c"."""
  return tuple(text.split("|"))


def plural(noun: str) -> str:
  """Returns the plural of an English noun, whose last word is inflected unless "of" follows the head."""
  if noun in UNCOLOURED_PLURALS:
    return UNCOLOURED_PLURALS[noun]
  if " of " in noun:
    head, rest = noun.split(" of ", 1)
    return f"{plural(head)} of {rest}"
  if noun.endswith(("s", "x", "sh", "ch")):
    return noun + "es"
  if noun.endswith("y") and noun[-2] not in "aeou":
    return noun[:-1] + "ies"
  return noun + "s"
