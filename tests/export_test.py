"""An exported folder is read by a process without this package and by our own loader of published weights."""

import errno
import json
import os
import pathlib
import subprocess
import sys

import chex
import jax
import jax.export
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests import exports, small_disk
from tests.commands import run, succeed
from tests.models.trees import SMALL
from tireid_jax import export
from tireid_jax.data.prepared.splits import Split
from tireid_jax.data.transforms.augment import normalise
from tireid_jax.errors import UserError
from tireid_jax.evaluation import embedding
from tireid_jax.exporting import encoders
from tireid_jax.models import pretrained
from tireid_jax.models.prompts import PromptSpec
from tireid_jax.training import loading

SIZE = (32, 16)
FILES = {
  "README.md", "config.json", "preprocessor_config.json", "model.safetensors", "use.py", "image_encoder.stablehlo",
  "text_encoder.stablehlo",
}  # fmt: skip

# Runs use.py on both sets of images and captions, where this package cannot be imported.
WITHOUT_PACKAGE = """
import runpy, sys
class Blocker:
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in ("tireid_jax", "configs", "tests", "flax", "torch", "transformers"):
      raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
for number in (1, 3):
  sys.argv = ["use.py", f"tokens{number}.npy", f"out{number}.npz", *(f"{row}.png" for row in range(number))]
  runpy.run_path("to/use.py", run_name="__main__")
"""


def assert_equal_embeddings(ours, theirs, tolerance=1e-5):
  assert ours.shape == theirs.shape
  np.testing.assert_allclose(theirs, ours, rtol=0, atol=tolerance * np.abs(ours).max())


def encode_for_retrieval(workdir, images, tokens):
  """Returns the embeddings that retrieval computes for stage 2 of a workdir."""
  model, variables, _, mesh, _ = loading.load_stage(workdir, "2")
  indices = np.arange(len(images), dtype=np.int32)
  split = Split("", "test", images, indices, indices, len(indices), tokens, np.zeros(len(tokens), np.int32), [], [], "")
  return embedding.Encoders(model, mesh, 2).encode(variables, split, (tokens.shape[1],))


@pytest.fixture(scope="module", params=["prompts", "no prompts"])
def run_and_export(request, tmp_path_factory):
  """Returns (folder with the workdir `run` and its export `to`, whether the model has prompts)."""
  folder, has_prompts = tmp_path_factory.mktemp("export"), request.param == "prompts"
  model, variables = exports.random_clip(SIZE, exports.PROMPTS if has_prompts else PromptSpec())
  exports.write_run(folder / "run", model, variables)
  if has_prompts:
    succeed("export", f"--workdir={folder}/run", "--stage=2", f"--to={folder}/to")
  else:
    export.export_stage(folder / "run", "2", folder / "to")
  return folder, has_prompts


def test_a_process_without_this_package_gets_the_embeddings_of_retrieval_at_any_batch_size(run_and_export):
  folder, _ = run_and_export
  images, tokens = exports.images(3, SIZE), exports.tokens(5)
  for index, image in enumerate(images):
    Image.fromarray(image).save(folder / f"{index}.png")
  np.save(folder / "tokens1.npy", tokens[:2, :5])
  np.save(folder / "tokens3.npy", tokens)
  done = subprocess.run(
    [sys.executable, "-c", WITHOUT_PACKAGE], cwd=folder, env={**os.environ, "JAX_PLATFORMS": "cpu"},
    capture_output=True, text=True, timeout=300,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  image, text = encode_for_retrieval(folder / "run", images, tokens)
  one, three = np.load(folder / "out1.npz"), np.load(folder / "out3.npz")
  assert_equal_embeddings(image, three["image"])
  assert_equal_embeddings(text, three["text"])
  assert_equal_embeddings(image[:1], one["image"])
  assert_equal_embeddings(text[:2], one["text"])
  cosine = (text / np.linalg.norm(text, axis=1)[:, None]) @ (image / np.linalg.norm(image, axis=1)[:, None]).T
  best = [f"caption {i}: {cosine[i].argmax()}.png (cosine {cosine[i].max():.4f})" for i in range(5)]
  assert done.stdout.splitlines()[2:] == best


def test_a_folder_has_only_the_encoders_and_their_prompts(run_and_export):
  folder, has_prompts = run_and_export
  assert {path.name for path in (folder / "to").iterdir()} == FILES | (
    {"prompts.safetensors"} if has_prompts else set()
  )
  assert not any("id_head" in name for name in load_file(folder / "to/model.safetensors"))
  assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["run", "to"]
  if has_prompts:
    _, variables, *_ = loading.load_stage(folder / "run", "2")
    prompts = load_file(folder / "to/prompts.safetensors")
    assert set(prompts) == {"image_encoder.tokens", "text_encoder.tokens"}
    for encoder in encoders.ENCODERS:
      np.testing.assert_array_equal(prompts[f"{encoder}.tokens"], variables["prompts"][encoder]["tokens"])
  assert ("without them" in (folder / "to/README.md").read_text()) == has_prompts


def test_a_stage_without_prompts_exports_none_even_if_its_config_has_them(tmp_path):
  model, variables = exports.random_clip(SIZE)
  exports.write_run(tmp_path / "run", model.clone(prompts=exports.PROMPTS), variables, use_prompts=False)
  export.export_stage(tmp_path / "run", "2", tmp_path / "to")
  assert {path.name for path in (tmp_path / "to").iterdir()} == FILES


@pytest.mark.parametrize(
  ("size", "grid_size"), [((16, 16), 4), ((32, 16), 24), ((12, 4), 3), ((16, 4), 4), ((4, 12), 3), ((12, 8), 12)]
)
def test_our_loader_restores_the_weights_exactly(tmp_path, size, grid_size):
  model, variables = exports.random_clip(size)
  assert encoders.stored_grid(model) == (grid_size, grid_size)
  weights, _ = encoders.to_tensors(model, variables)
  export.write_clip(tmp_path, model, weights)
  assert weights["logit_scale"].shape == ()  # our loader would reshape others, transformers would not
  loaded, restored = pretrained.load(tmp_path, image_size=size)
  assert loaded == model.clone(variant=loaded.variant)
  assert {**vars(loaded.variant), "native_image_size": None} == {**vars(SMALL), "native_image_size": None}
  chex.assert_trees_all_equal(restored["params"], variables["params"])


@pytest.mark.parametrize(
  ("size", "stride", "prompts"),
  [
    ((12, 4), 0, exports.PROMPTS),
    ((9, 9), 3, exports.PROMPTS),  # patches that overlap
    ((18, 10), 0, PromptSpec(image_length=2)),  # not multiples of the patch size
    ((8, 8), 0, PromptSpec(text_length=2)),
  ],
)
def test_programs_compute_the_same_embeddings_as_the_model(size, stride, prompts):
  model, variables = exports.random_clip(size, prompts, stride=stride)
  programs = Programs(model, variables)
  tokens = exports.tokens(3)
  image = jax.jit(lambda v, x: model.apply(v, normalise(x), method="encode_image"))(variables, exports.images(3, size))
  text = jax.jit(lambda v, x: model.apply(v, x, method="encode_text"))(variables, tokens)
  assert_equal_embeddings(image, programs("image_encoder", exports.images(3, size)))
  assert_equal_embeddings(text, programs("text_encoder", tokens))
  assert_equal_embeddings(text[:1], programs("text_encoder", tokens[:1, :3]))


class Programs:
  """The two StableHLO programs of a model, with its tensors."""

  def __init__(self, model, variables, precision="float32"):
    weights, prompts = encoders.to_tensors(model, variables)
    self._tensors = {**weights, **prompts}
    self.programs = {
      encoder: jax.export.deserialize(bytearray(encoders.serialize_encoder(model, variables, encoder, precision)))
      for encoder in encoders.ENCODERS
    }

  def __call__(self, encoder, batch):
    program = self.programs[encoder]
    (names, _), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    return np.asarray(program.call({name: self._tensors[name] for name in names}, batch))


def test_weights_in_16_bit_are_read_back_rounded_and_taken_by_the_programs(tmp_path):
  model, variables = exports.random_clip(SIZE, exports.PROMPTS)
  rounded = {**variables, "params": jax.tree.map(lambda x: np.float32(np.float16(x)), variables["params"])}
  export.write(tmp_path, model, variables, title="", dtype="float16")
  stored, prompts = load_file(tmp_path / "model.safetensors"), load_file(tmp_path / "prompts.safetensors")
  assert {array.dtype.name for array in stored.values()} == {"float16"}
  assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float16"
  _, restored = pretrained.load(tmp_path, image_size=SIZE)
  chex.assert_trees_all_equal(restored["params"], rounded["params"])
  program = jax.export.deserialize(bytearray((tmp_path / "image_encoder.stablehlo").read_bytes()))
  (names, _), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
  image = exports.images(2, SIZE)
  found = program.call({name: {**stored, **prompts}[name] for name in names}, image)
  np.testing.assert_array_equal(found, Programs(model, rounded)("image_encoder", image))


def test_a_weight_beyond_16_bit_raises_an_error_that_names_it():
  model, variables = exports.random_clip(SIZE)
  variables["params"]["logit_scale"] = np.float32(1e6)
  with pytest.raises(UserError, match="^logit_scale has values beyond the range of float16; export with --weights"):
    encoders.to_tensors(model, variables, "float16")


def test_programs_support_all_three_platforms_and_do_not_contain_the_weights():
  model, variables = exports.random_clip(SIZE)
  for encoder, program in Programs(model, variables).programs.items():
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert len(encoders.serialize_encoder(model, variables, encoder, "float32")) < 100_000


def test_precision_sets_the_arithmetic_of_the_programs():
  model, variables = exports.random_clip(SIZE)
  image = exports.images(2, SIZE)
  full, half = (Programs(model, variables, precision)("image_encoder", image) for precision in ("float32", "bfloat16"))
  assert full.dtype == half.dtype == np.float32
  error = np.abs(half - full).max() / np.abs(full).max()
  assert 1e-4 < error < 5e-2


@pytest.mark.parametrize(
  ("change", "reason"),
  [({"stride": 3}, "patches overlap"), ({"variant": SMALL.__class__(**{**vars(SMALL), "end_token": 2})}, "end token")],
)
def test_a_model_that_clip_model_cannot_represent_has_no_config_and_the_reason_is_given(
  tmp_path, capsys, change, reason
):
  model, variables = exports.random_clip((9, 9), **change)
  export.write(tmp_path, model, variables, title="")
  assert {path.name for path in tmp_path.iterdir()} == FILES - {"config.json"}
  assert [reason in line for line in capsys.readouterr().err.splitlines() if "config.json" in line] == [True]
  assert reason in (tmp_path / "README.md").read_text()


def test_the_preprocessor_computes_the_inputs_of_the_model(tmp_path):
  from transformers import CLIPImageProcessorPil

  model, variables = exports.random_clip(SIZE)
  export.write_clip(tmp_path, model, encoders.to_tensors(model, variables)[0])
  photograph = Image.fromarray(exports.images(1, (50, 21))[0])
  resized = np.asarray(photograph.resize(SIZE[::-1], Image.Resampling.BILINEAR))
  computed = CLIPImageProcessorPil.from_pretrained(tmp_path)(photograph, return_tensors="np")["pixel_values"]
  np.testing.assert_allclose(computed[0].transpose(1, 2, 0), normalise(resized), atol=1e-5)


def test_a_failed_export_leaves_no_files(tmp_path, monkeypatch):
  model, variables = exports.random_clip(SIZE)
  exports.write_run(tmp_path / "run", model, variables)
  monkeypatch.setattr(encoders, "serialize_encoder", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
  with pytest.raises(KeyboardInterrupt):
    export.export_stage(tmp_path / "run", "2", tmp_path / "to")
  assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_exporting_to_an_existing_empty_folder_works(tmp_path):
  model, variables = exports.random_clip(SIZE)
  exports.write_run(tmp_path / "run", model, variables)
  (tmp_path / "to").mkdir()
  export.export_stage(tmp_path / "run", "2", tmp_path / "to")
  assert json.loads((tmp_path / "to/config.json").read_text())["architectures"] == ["CLIPModel"]


def test_a_folder_that_is_not_empty_raises(tmp_path):
  (tmp_path / "to").mkdir()
  (tmp_path / "to/mine").touch()
  done = run("export", f"--workdir={tmp_path}", f"--to={tmp_path}/to")
  assert (done.returncode, done.stderr.count("\n")) == (2, 1)
  assert done.stderr.startswith(f"error: --to={tmp_path}/to already exists and is not empty")
  assert [path.name for path in pathlib.Path(tmp_path / "to").iterdir()] == ["mine"]


@pytest.mark.skipif(not small_disk.can_mount(), reason="this process may not mount")
def test_tensors_that_do_not_fit_on_the_disk_raise_the_error_of_the_file_system(tmp_path):
  """Safetensors raises an error type of its own, without the error number."""
  with small_disk.SmallDisk(tmp_path / "disk", mib=1) as disk, pytest.raises(OSError) as raised:
    export.save_tensors({"a": np.zeros(2**20)}, disk.folder / "file.safetensors")
  assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, f"{tmp_path}/disk/file.safetensors")
