"""Fuzz targets: how each kind of user file is read, and its initial inputs."""

import contextlib
import dataclasses
import io
import json
import pathlib
import re
import zipfile

import jax
import numpy as np

from configs import custom as custom_config
from tests.data import trees as data_trees
from tests.fuzz import run_targets
from tests.fuzz.target import Target
from tests.models import forms
from tests.models import trees as model_trees
from tests.models.weights import archives
from tireid_jax import metrics
from tireid_jax.data import tokenizer
from tireid_jax.data.checks import doctor
from tireid_jax.data.datasets import custom, registry
from tireid_jax.data.prepared import images
from tireid_jax.data.raw import annotations, schema
from tireid_jax.errors import UserError
from tireid_jax.evaluation import score_file, significance
from tireid_jax.models import pretrained
from tireid_jax.models.clip import CLIP, init_variables
from tireid_jax.models.variants import Tower, Variant

_CASES = pathlib.Path(__file__).parents[1] / "testdata" / "annotations"
_SIZE = (24, 8)
# As small as possible, for many inputs per second; OpenAI's archives have heads of 64 channels.
_TINY, _TINY_OPENAI = (
  Variant(Tower(width, 1, 1, width), Tower(width, 1, 1, width), 4, 8, (16, 16), "quick_gelu", 1e-5, 50, 9, 49)
  for width in (8, 64)
)


def _read_report(layout, read, folder):
  """Reads annotations as `prepare` does, up to the report, and again so that the first problem raises."""
  problems: list = []
  records = read(problems=problems)
  json.dumps([dataclasses.astuple(problem) for problem in problems])
  captions = [caption for record in records for caption in record.captions]
  report = doctor.examine(layout, records, problems, caption_lengths=tokenizer.load_tokenizer("").num_tokens(captions))
  report.text().encode()
  assert not any("\n" in str(problem) for problem in problems)
  with contextlib.suppress(UserError):
    read()
  assert all(annotations.is_unicode(caption) for caption in captions), folder


def _custom(suffix):
  def make(folder):
    seeds = [file.read_bytes() for file in sorted(_CASES.glob(f"*{suffix}"))]
    seeds.append(_DISTRACTORS[suffix].encode())
    for path in {path for seed in seeds for path in re.findall(rb"[\w /.]+\.jpg", seed)} | {b"a.jpg"}:
      file = folder / "images" / path.decode().strip().strip("/")
      file.parent.mkdir(parents=True, exist_ok=True)
      file.touch()
    settings = custom_config.get_config().custom
    settings.annotations = f"annotations{suffix}"

    def run(data):
      (folder / settings.annotations).write_bytes(data)
      _read_report(registry.layout_of("custom"), lambda **options: custom.read(settings, folder, **options), folder)

    return run, seeds

  return Target(make, (b'"', b"'", b",", b";", b"\t", b"\r\n", b"[", b"]", b"{", b"}", b"image", b"id", b"captions",
                       b"caption_1", b"split", b"train", b"test", b"array(['a'])", b"['a', 'b']", b"12.0"))  # fmt: skip


_ROWS = [
  {"image": "a.jpg", "id": "1", "split": "train", "caption": "A man."},
  {"image": "b.jpg", "id": "2", "split": "test", "caption": "A woman."},
  {"image": "c.jpg", "id": "", "split": "test", "caption": ""},
]
_LINES = [",".join(_ROWS[0]), *(",".join(row.values()) for row in _ROWS)]
_DISTRACTORS = {
  ".csv": "\n".join(_LINES),
  ".tsv": "\n".join(_LINES).replace(",", "\t"),
  ".json": json.dumps(_ROWS),
  ".jsonl": "\n".join(map(json.dumps, _ROWS)),
}


def _layout(name):
  def make(folder):
    root = data_trees.make_tree(folder, name, num_ids={"train": 2, "val": 1, "test": 1})
    layout = registry.layout_of(name)
    file = root / layout.annotation_files[0]
    seeds = [file.read_bytes(), b"[]", b'{"images": []}']

    def run(data):
      file.write_bytes(data)
      _read_report(layout, lambda **options: schema.read_annotations(layout, folder, **options), folder)

    return run, seeds

  return Target(make, (b'"', b"[", b"]", b"{", b"}", b'"split": "train"', b'"captions": "a"', b'"file_path"'))


def _read_weights(path, **options):
  weights = pretrained.open_weights(path, _SIZE, **options)
  for tensor in list(weights.tensors.values())[:: max(1, len(weights.tensors) // 4)]:
    assert np.shape(tensor.read()) == tuple(tensor.shape)


def _weights(*writers, variant=_TINY):
  """A whole file of weights in the formats of some functions of tests/models/forms.py."""

  def make(folder):
    tensors = model_trees.clip_tensors(variant)
    seeds = []
    for number, write in enumerate(writers):
      seed_folder = folder / f"seed{number}"
      seed_folder.mkdir()
      write(seed_folder, tensors, name="weights")
      seeds.append((seed_folder / "weights").read_bytes())
    read = folder / "read"
    read.mkdir()
    forms.write_json(read / "config.json", model_trees.hf_config(variant))

    def run(data):
      (read / "weights").write_bytes(data)
      _read_weights(read / "weights")

    return run, seeds

  return Target(make, (b"F32", b"BF16", b'"shape":[', b'"data_offsets":[', b"PK\x03\x04", b"PK\x01\x02", b"\x80\x02"))


def _pickle():
  """The pickle in an archive whose zip structure is valid."""

  def make(folder):
    seeds, storages = [], {}
    for file in sorted(archives.ARCHIVES.glob("*.pt")):
      with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
          if name.endswith("/data.pkl"):
            seeds.append(archive.read(name))
          elif re.search(r"/data/\d+$", name):
            storages[name.rpartition("/")[2]] = np.frombuffer(archive.read(name), np.uint8)

    def run(data):
      _read_weights(archives.write_archive(folder / "weights.pt", data, storages), num_heads=(1, 1), activation="gelu")

    return run, seeds

  return Target(make, (b"ctorch._utils\n_rebuild_tensor_v2\n", b"\x80\x02", b"}", b"(", b"t", b"R", b"Q", b"b", b".",
                       b"q\x01", b"h\x01", b"cbuiltins\ndict\n", b"K\x01", b"J\xff\xff\xff\x7f"))  # fmt: skip


def _config_file(name, make_config):
  """A config file next to valid weights."""

  def make(folder):
    forms.write_safetensors(folder, model_trees.clip_tensors(_TINY), name="model.safetensors")
    (folder / "config.json").unlink()
    config = make_config()

    def run(data):
      (folder / name).write_bytes(data)
      weights = pretrained.open_weights(folder, _SIZE)
      model = CLIP(weights.variant, _SIZE)
      jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))

    return run, [json.dumps(config).encode(), json.dumps(config, indent=2).encode()]

  return Target(make, (b'"hidden_size": 0', b'"num_hidden_layers": 1000000', b'"width": 7', b'"layers": [1]', b"null"))


def _shard_index():
  def make(folder):
    forms.write_shards(folder, model_trees.clip_tensors(_TINY))
    forms.write_json(folder / "config.json", model_trees.hf_config(_TINY))
    index = folder / "model.safetensors.index.json"
    seeds = [index.read_bytes()]

    def run(data):
      index.write_bytes(data)
      _read_weights(index)

    return run, seeds

  return Target(make, (b'"weight_map"', b'"../x"', b'"/etc/hosts"', b'"model.safetensors.index.json"', b'"."', b"null"))


def _ranks(is_member):
  """A score file as read by `compare`, or one of its arrays in an otherwise valid file."""

  def make(folder):
    file = folder / "ranks.npz"
    scores = metrics.rank_scores(np.eye(3), [1, 2, 3], [1, 2, 3])
    arrays = {"fingerprint": np.asarray("f"), "dataset": np.asarray("custom"), "split": np.asarray("test")}
    for direction in metrics.DIRECTIONS:
      arrays |= scores.to_arrays(direction)
    np.savez_compressed(file, **arrays)
    valid = score_file.read(file)
    with zipfile.ZipFile(file) as archive:
      members = {name: archive.read(name) for name in archive.namelist()}
    seeds = [members["t2i_query_ids.npy"], members["i2t_average_precision.npy"], members["dataset.npy"]]
    if not is_member:
      seeds = [file.read_bytes()]

    def run(data):
      if is_member:
        with zipfile.ZipFile(file, "w") as archive:
          for name, content in members.items():
            archive.writestr(name, data if name in ("t2i_query_ids.npy", "t2i_average_precision.npy") else content)
      else:
        file.write_bytes(data)
      significance.compare(valid, score_file.read(file), num_resamples=2)

    return run, seeds

  return Target(make, (b"'descr': '|O'", b"'descr': '<f8'", b"'shape': (3,)", b"(99999999999,)", b"PK\x01\x02"))


def _captions():
  def make(folder):
    seeds = [line.encode() for line in ("A woman in a red coat.", "un café — “très” grand", "&amp;lt;br&gt; 5&quot;")]
    golden = json.loads((_CASES.parent / "tokenizer.json").read_text())["captions"]
    seeds += [caption["text"].encode() for caption in golden[::20]]
    tokenize = tokenizer.load_tokenizer("")

    def run(data):
      caption = data.decode("utf-8", "replace")
      tokens = tokenize([caption])
      assert tokens.shape == (1, 77)
      assert tokens[0, 0] == tokenize.start_token
      assert ((tokens >= 0) & (tokens < tokenize.vocabulary_size)).all()
      length = int(tokenizer.token_lengths(tokens)[0])
      assert tokens[0, length - 1] == tokenize.end_token
      assert min(77, int(tokenize.num_tokens([caption])[0])) == length

    return run, seeds

  return Target(make, (b"&amp;", b"&#x", b"&lt;", b"<|endoftext|>", b"\xc3\xa9", b"\xe2\x80\x9c", b"\xcc\x81",
                       b"\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd", b"\xe2\x80\x8d", b"  ", b"\x1b[0m"))  # fmt: skip


def _images():
  def make(folder):
    file, seeds = folder / "image", []
    data_trees.write_image(folder / "a.jpg", np.random.default_rng(0))
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"):
      stream = io.BytesIO()
      images.Image.open(folder / "a.jpg").resize((16, 24)).save(stream, kind)
      seeds.append(stream.getvalue())

    def run(data):
      file.write_bytes(data)
      try:
        images.decode(file, _SIZE)
      except images.BadImageError as error:
        raise UserError(str(error)) from error

    return run, seeds

  return Target(make, (b"IDAT", b"IEND", b"acTL", b"fcTL", b"zTXt", b"iTXt", b"iCCP", b"\xff\xd8", b"\xff\xc0"))


TARGETS = {
  **{f"custom{suffix}": _custom(suffix) for suffix in _DISTRACTORS},
  **{name: _layout(name) for name in ("cuhk_pedes", "icfg_pedes", "rstp_reid")},
  "safetensors": _weights(forms.write_safetensors),
  "torch_archive": _weights(forms.write_openai, forms.write_trainer, forms.write_bare, variant=_TINY_OPENAI),
  "torch_pickle": _pickle(),
  "msgpack": _weights(forms.write_flax),
  "shard_index": _shard_index(),
  "hub_config": _config_file("config.json", lambda: model_trees.hf_config(_TINY)),
  "open_clip_config": _config_file("open_clip_config.json", lambda: model_trees.open_clip_config(_TINY)),
  "ranks": _ranks(is_member=False),
  "ranks_array": _ranks(is_member=True),
  "captions": _captions(),
  "images": _images(),
  **run_targets.TARGETS,
}
