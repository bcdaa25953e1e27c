"""Custom data: every file format gives the same records, ids and splits are stable, and errors are reported."""

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from configs import custom as config
from tireid_jax.data.datasets import custom, registry
from tireid_jax.data.raw import schema
from tireid_jax.data.raw.problems import Problem

TABLE = """image,id,captions,camera,time
a/1.jpg,anna,A woman in a red coat.,c1,2024-05-01 10:00
a/2.jpg,anna,"She, too, has a bag.",c2,
b 1.jpg,björn,A man with a hat.,,
"""


def settings(**changes):
  """Returns config.custom with some fields changed; `columns_NAME` changes a column name."""
  settings_ = config.get_config().custom
  settings_.val_share = settings_.test_share = 0.0
  for name, value in changes.items():
    if name.startswith("columns_"):
      settings_.columns[name.removeprefix("columns_")] = value
    else:
      settings_[name] = value
  return settings_


def write(folder, text, *, name="annotations.csv", images=("a/1.jpg", "a/2.jpg", "b 1.jpg")):
  for image in images:
    file = folder / "images" / image
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
  (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def read(folder, *, problems=None, **changes):
  return custom.read(settings(**changes), folder, problems=problems)


def test_a_table_is_read_in_order_with_camera_time_and_annotated_identity(tmp_path):
  write(tmp_path, TABLE)
  images = tmp_path / "images"
  assert read(tmp_path) == [
    schema.ImageRecord(
      "train", 0, "a/1.jpg", ("A woman in a red coat.",), images / "a/1.jpg", "c1", "2024-05-01 10:00", "anna"
    ),
    schema.ImageRecord("train", 0, "a/2.jpg", ("She, too, has a bag.",), images / "a/2.jpg", "c2", "", "anna"),
    schema.ImageRecord("train", 1, "b 1.jpg", ("A man with a hat.",), images / "b 1.jpg", "", "", "björn"),
  ]


ROWS = [
  {"image": "a/1.jpg", "id": "anna", "captions": ["A woman.", "A coat; red."], "split": "train", "camera": "1"},
  {"image": "b 1.jpg", "id": "björn", "captions": ["A man."], "split": "test", "camera": ""},
]
FORMATS = {
  "a.json": json.dumps(ROWS, indent=2),
  "a.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
  "lines.json": "\r\n".join(json.dumps(row) for row in ROWS) + "\n\n",
  "repeated.jsonl": "\n".join(
    json.dumps({**row, "captions": caption, "camera": 1 if row["camera"] else None})
    for row in ROWS
    for caption in row["captions"]
  ),
  "numbered.csv": "image,id,caption_2,caption_1,split,camera\n"
  'a/1.jpg,anna,A coat; red.,A woman.,train,1\n"b 1.jpg",björn,,A man.,test,\n',
  "semicolons.csv": "image;id;split;camera;caption\na/1.jpg;anna;train;1;A woman.\n"
  'b 1.jpg;björn;test;;A man.\na/1.jpg;anna;train;1;"A coat; red."\n',
  "tabs.tsv": "image\tid\tsplit\tcamera\tcaption1\tcaption2\na/1.jpg\tanna\ttrain\t1\tA woman.\tA coat; red.\n"
  "b 1.jpg\tbjörn\ttest\t\tA man.\t\n",
  "spaces.csv": 'image, id, split, camera, captions\r\n\r\na/1.jpg, anna, train, 1, "A woman."\r\n'
  "a/1.jpg, anna, train, 1, A coat; red.\r\nb 1.jpg, björn, test, , A man.\r\n",
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("byte_order_mark", [b"", b"\xef\xbb\xbf"])
def test_every_file_format_gives_the_same_records(tmp_path, name, byte_order_mark):
  write(tmp_path, byte_order_mark + FORMATS[name].encode(), name=name)
  records = read(tmp_path, annotations=name)
  assert [(r.file_path, r.person, r.split, r.camera) for r in records] == [
    (row["image"], row["id"], row["split"], row["camera"]) for row in ROWS
  ]
  assert [list(r.captions) for r in records] == [row["captions"] for row in ROWS]


def test_a_list_written_as_text_is_parsed_in_every_file_format(tmp_path):
  for name, text in {
    "a.csv": "image,id,captions\na/1.jpg,1,\"['A man.', 'A coat; red.']\"\n",
    "a.jsonl": json.dumps({"image": "a/1.jpg", "id": 1, "captions": '["A man.", "A coat; red."]'}),
  }.items():
    write(tmp_path, text, name=name)
    assert read(tmp_path, annotations=name)[0].captions == ("A man.", "A coat; red.")


def test_a_caption_may_have_several_lines_and_quotation_marks(tmp_path):
  write(tmp_path, 'image,id,captions\na/1.jpg,1,"A man, tall,\nin red, with ""hat""."\na/2.jpg,1,A 5" heel.\n')
  assert [record.captions for record in read(tmp_path)] == [('A man, tall,\nin red, with "hat".',), ('A 5" heel.',)]


def test_identities_that_differ_only_in_a_decimal_point_are_equal(tmp_path):
  write(tmp_path, "image,id,captions\na/1.jpg,12,A man.\na/2.jpg,12.0,A man.\nb 1.jpg,13.0,A man.\n")
  assert [(record.person_id, record.person) for record in read(tmp_path)] == [(12, ""), (12, ""), (13, "")]


def test_a_json_object_instead_of_a_list_is_an_error_that_names_its_keys(tmp_path):
  write(tmp_path, json.dumps({"images": [], "annotations": []}, indent=2), name="a.json")
  with pytest.raises(ValueError, match=r"is one JSON object \(keys images, annotations\), not a list of images"):
    read(tmp_path, annotations="a.json")


def test_a_separator_splits_a_text_into_captions(tmp_path):
  write(tmp_path, "image,id,captions\na/1.jpg,1,A man. | In red. | \nb 1.jpg,2,A|B\n")
  assert [r.captions for r in read(tmp_path, separator=" | ")] == [("A man.", "In red."), ("A|B",)]
  assert read(tmp_path)[0].captions == ("A man. | In red. |",)


def test_a_line_of_json_ends_only_at_a_line_feed(tmp_path):
  caption = "A man.\u2028In red.\x85"
  line = json.dumps({"image": "a/1.jpg", "id": 1, "captions": [caption]}, ensure_ascii=False)
  write(tmp_path, f"{line}\n", name="a.jsonl")
  assert read(tmp_path, annotations="a.jsonl")[0].captions == (caption,)


def test_the_config_names_the_columns(tmp_path):
  write(tmp_path, "file,person,text,where\na/1.jpg,1,A man.,door\n", name="list.csv")
  (record,) = read(
    tmp_path, annotations="list.csv", columns_image="file", columns_id="person", columns_captions="text",
    columns_camera="where",
  )  # fmt: skip
  assert (record.file_path, record.person_id, record.captions, record.camera) == ("a/1.jpg", 1, ("A man.",), "door")


@pytest.mark.parametrize(
  ("ids", "numbers", "kept"),
  [
    (["7", "0", "12"], [7, 0, 12], ["", "", ""]),
    (["b", "a", "7"], [2, 1, 0], ["b", "a", "7"]),
    (["7", "007", "8"], [1, 0, 2], ["7", "007", "8"]),
    (["7", "2147483648", "8"], [1, 0, 2], ["7", "2147483648", "8"]),
  ],
)
def test_whole_numbers_are_kept_and_other_identities_are_numbered_in_order_of_name(tmp_path, ids, numbers, kept):
  images = ("a/1.jpg", "a/2.jpg", "b 1.jpg")
  write(tmp_path, "image,id,captions\n" + "".join(f"{i},{p},A man.\n" for i, p in zip(images, ids, strict=True)))
  records = read(tmp_path)
  assert [r.person_id for r in records] == numbers
  assert [r.person for r in records] == kept


def write_many(folder, order, split="", missing=()):
  images = [f"{n}.jpg" for n in range(40)]
  rows = [f"{images[n]},p{n // 2},A man.{',' + split if split else ''}\n" for n in order]
  write(folder, f"image,id,captions{',split' if split else ''}\n" + "".join(rows), images=set(images) - set(missing))
  for name in missing:
    (folder / "images" / name).unlink(missing_ok=True)


def test_without_splits_identities_are_assigned_at_random_independently_of_the_row_order(tmp_path):
  def splits(order, **changes):
    write_many(tmp_path, order)
    records = read(tmp_path, val_share=0.1, test_share=0.2, **changes)
    assert [r.file_path for r in records] == [f"{n}.jpg" for n in order]
    return {r.file_path: r.split for r in records}

  forward = splits(range(40))
  assert forward == splits(range(39, -1, -1))
  assert all(forward[f"{2 * n}.jpg"] == forward[f"{2 * n + 1}.jpg"] for n in range(20))
  sizes = [sum(split == name for split in forward.values()) for name in schema.SPLITS]
  assert sizes == [2 * 14, 2 * 2, 2 * 4]
  assert forward != splits(range(40), split_seed=1)


def test_a_missing_image_does_not_change_the_split_or_number_of_others(tmp_path):
  write_many(tmp_path, range(40))
  whole = read(tmp_path, val_share=0.1, test_share=0.2)
  write_many(tmp_path, range(40), missing=("0.jpg", "1.jpg"))
  problems = []
  assert read(tmp_path, val_share=0.1, test_share=0.2, problems=problems) == whole[2:]
  assert [problem.kind for problem in problems] == ["missing image"] * 2


def test_a_nonzero_fraction_is_at_least_one_identity_and_some_must_remain_for_training(tmp_path):
  write(tmp_path, TABLE)
  assert {r.split for r in read(tmp_path, val_share=0.01)} == {"train", "val"}
  for shares in ({"val_share": 0.01, "test_share": 0.01}, {"val_share": -0.1}, {"test_share": 1.0}):
    with pytest.raises(ValueError, match="leave none of the 2 identities to train on; set both from 0"):
      read(tmp_path, **shares)


def test_annotated_splits_are_used_and_missing_ones_are_reported(tmp_path):
  write_many(tmp_path, range(4), split="Test")
  assert {r.split for r in read(tmp_path, val_share=0.5)} == {"test"}
  write(tmp_path, "image,id,captions,split\n1.jpg,1,A man.,train\n2.jpg,2,A man.,\n3.jpg,3,A man.,valid\n")
  problems = []
  assert [r.file_path for r in read(tmp_path, problems=problems)] == ["1.jpg"]
  assert [str(problem) for problem in problems] == [
    "2.jpg has the split '', not one of train, val, test",
    "3.jpg has the split 'valid', not one of train, val, test",
  ]


@pytest.mark.parametrize(
  ("row", "kind", "place"),
  [
    ("a/2.jpg,1", "unusable entry", "line 3"),
    ("a/2.jpg,1,train,A man.,more", "unusable entry", "line 3"),
    (",1,train,A man.", "unusable entry", "line 3"),
    ("a/2.jpg, ,train,A man.", "unusable entry", "a/2.jpg"),
    ("a/2.jpg,NaN,train,A man.", "unusable entry", "a/2.jpg"),
    ('a/2.jpg,1,train,"[A man, a hat]"', "caption is a list", "a/2.jpg"),
    ("a/2.jpg,1,train,", "no caption", "a/2.jpg"),
    ("a/2.jpg,1,trian,A man.", "unknown split", "a/2.jpg"),
    ("../a.jpg,1,train,A man.", "path leaves the folder", "../a.jpg"),
    ("/etc/hosts,1,train,A man.", "path leaves the folder", "/etc/hosts"),
    ("gone.jpg,1,train,A man.", "missing image", "gone.jpg"),
    ("a/1.jpg,2,train,A man.", "conflicting entries", "a/1.jpg"),
    ("a/1.jpg,1,val,A man.", "conflicting entries", "a/1.jpg"),
  ],
)
def test_an_invalid_row_is_skipped_and_reported_and_the_others_are_read(tmp_path, row, kind, place):
  write(tmp_path, f"image,id,split,captions\na/1.jpg,1,train,A man.\n{row}\nb 1.jpg,2,train,A hat.\n")
  problems = []
  records = read(tmp_path, problems=problems)
  assert [(r.file_path, r.captions) for r in records] == [("a/1.jpg", ("A man.",)), ("b 1.jpg", ("A hat.",))]
  assert [(problem.kind, problem.place) for problem in problems] == [(kind, place)]
  with pytest.raises((ValueError, FileNotFoundError), match=r"annotations\.csv: 1 "):
    read(tmp_path)


@pytest.mark.parametrize(
  ("entry", "problem"),
  [
    ("3", Problem("unusable entry", "line 2", "is a number, not an object")),
    ("{'image': 1}", Problem("unusable entry", "line 2", "is no JSON object; each image takes one line")),
    (
      '{"image": "a/2.jpg", "id": [1]}',
      Problem("unusable entry", "a/2.jpg", "has no text or number under 'id', but [1]"),
    ),
    (
      '{"image": "a/2.jpg", "id": true}',
      Problem("unusable entry", "a/2.jpg", "has no text or number under 'id', but True"),
    ),
    (
      '{"image": "a/2.jpg", "id": NaN}',
      Problem("unusable entry", "a/2.jpg", "has no text or number under 'id', but nan"),
    ),
    ('{"image": "a/2.jpg"}', Problem("unusable entry", "a/2.jpg", "has no text or number under 'id'")),
    (
      '{"image": "a/2.jpg", "id": 1, "time": {}}',
      Problem("unusable entry", "a/2.jpg", "has no text or number under 'time', but {}"),
    ),
    (
      '{"image": "a/2.jpg", "id": 1, "captions": [5]}',
      Problem("caption is no text", "a/2.jpg", "has a caption that is no text: 5"),
    ),
  ],
)
def test_an_invalid_line_of_json_is_skipped_and_reported(tmp_path, entry, problem):
  good = json.dumps({"image": "a/1.jpg", "id": 1, "captions": "A man."})
  write(tmp_path, f"{good}\n{entry}\n", name="annotations.jsonl")
  problems = []
  records = read(tmp_path, annotations="annotations.jsonl", problems=problems)
  assert [(r.file_path, r.person_id, r.captions) for r in records] == [("a/1.jpg", 1, ("A man.",))]
  assert problems == [problem]


# The quotation mark in the second row is closed only by the one in the third.
UNCLOSED_QUOTE = 'image\tid\tcaptions\na/1.jpg\t1\tA man.\na/2.jpg\t1\t"Red coat man.\nb 1.jpg\t2\tHeels of 5"\n'


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("", "has no column 'image'"),
    ("image,id,captions\n", "lists no image"),
    ("[]", "lists no image"),
    ("[1,", "is no JSON file"),
    ("path,id,captions\n", "has no column 'image', only path, id, captions; set --config.custom.columns.image"),
    ("image,captions\n", "has no column 'id'"),
    ("image,id,text\n", "has no column 'captions'"),
    ("image,id,id,captions\n", "has two columns of one name"),
    ('image,id,captions\na/1.jpg,1,"A man.\n', "is no CSV file (line 2: "),
    (b"image,id,captions\na/1.jpg,1,\xff\n", "is no UTF-8 text (line 2: "),
    (
      UNCLOSED_QUOTE,
      "is no CSV file (line 3: a quotation mark opens a cell that takes in the rows after it, as 'b 1.jpg')",
    ),
    ('[{"image": "/data/a.jpg", "id": 1, "captions": ["A man."]}]', "has no usable entry: /data/a.jpg is absolute"),
    (
      '[{"image": "/data/a.jpg", "id": 1, "captions": ["A man."]}]',
      "relative to the folder that --config.custom.images",
    ),
    (
      '[{"image": "a/1.jpg", "person": 1, "text": "A man."}]',
      "has no usable entry: a/1.jpg has no text or number under 'id'",
    ),
    (
      '[{"image": "a/1.jpg", "person": 1, "text": "A man."}]',
      "the keys are image, person, text; name yours instead of --config.custom.columns.id=id, --config.custom.",
    ),
    ("[1, 2]", "has no usable entry: entry 0 is a number, not an object; correct the file"),
  ],
)
def test_an_unreadable_file_raises_one_line(tmp_path, content, message):
  write(tmp_path, content, name="annotations")
  with pytest.raises(ValueError) as error:
    read(tmp_path, annotations="annotations", problems=[])
  assert message in str(error.value)
  assert "\n" not in str(error.value)


def test_a_missing_file_or_folder_is_an_error_that_names_the_field_to_set(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no annotation file .*annotations\.csv; set --config\.custom\.annotat"):
    read(tmp_path)
  write(tmp_path, TABLE)
  with pytest.raises(FileNotFoundError, match=r"no folder of images .*/pictures; set --config\.custom\.images"):
    read(tmp_path, images="pictures")


FIELDS = st.text(max_size=6) | st.sampled_from(["a/1.jpg", "b 1.jpg", "anna", "train", '"', ",", "\n", "image"])


@hypothesis.settings(max_examples=100, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(rows=st.lists(st.lists(FIELDS, max_size=5), max_size=4), opening=st.sampled_from(["", "[", "{"]))
def test_any_content_is_read_or_rejected_in_one_line(tmp_path, rows, opening):
  text = opening + "image,id,captions,split\n" + "\n".join(",".join(row) for row in rows)
  write(tmp_path, text.encode("utf-8", "surrogatepass"), name="annotations")
  problems = []
  try:
    records = read(tmp_path, annotations="annotations", problems=problems)
  except ValueError as error:
    records, message = [], str(error)
    problems.append(message)
  assert {r.file_path for r in records} <= {"a/1.jpg", "a/2.jpg", "b 1.jpg"}
  assert not any("\n" in str(problem) for problem in problems)


@pytest.mark.parametrize("name", ["custom", "custom_shop", "custom_2024_b"])
def test_custom_data_may_have_its_own_names(name):
  layout = registry.layout_of(name)
  assert (layout.name, layout.published) == (name, {})
  assert layout.config == f"configs/custom.py --config.data.name={name}"


@pytest.mark.parametrize("name", ["customs", "custom_", "custom_Shop", "custom/../x", "my_custom"])
def test_other_names_are_not_custom_data(name):
  with pytest.raises(ValueError, match="or custom or custom_NAME"):
    registry.layout_of(name)
