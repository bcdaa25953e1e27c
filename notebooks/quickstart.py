# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Quickstart: load a run, search, plot
#
# Needs the package, `matplotlib` and a trained run with its data, such as the one that `make demo` leaves in `demo/`.
# Start Jupyter in the folder `notebooks/` of a checkout, or set the paths below.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from tireid_jax.evaluation import embedding, similarities
from tireid_jax.metrics import DIRECTIONS
from tireid_jax.search import Searcher
from tireid_jax.training import loading
from tireid_jax.workdir import layout, metric_log

WORKDIR = os.environ.get("QUICKSTART_WORKDIR", "../demo/seed0/two_stages")
GALLERY = os.environ.get("QUICKSTART_GALLERY", "../demo/raw/ToyPEDES/imgs")
STAGE = "2"

# %% [markdown]
# ## Search a folder of pictures
#
# The first update encodes all images below the gallery; later ones encode only new and changed files.

# %%
searcher = Searcher.open(workdir=WORKDIR, stage=STAGE, gallery=GALLERY)
searcher.update(show_progress=True)
query = "a woman in a red coat with a black bag"
results = searcher.search(query, top=8)
for result in results:
  print(result.rank, f"{result.score:.3f}", result.path)

# %%
figure, axes = plt.subplots(1, len(results), figsize=(1.5 * len(results), 3.2), squeeze=False)
for axis, result in zip(axes[0], results, strict=True):
  axis.imshow(Image.open(result.file))
  axis.set_title(f"{result.rank}: {result.score:.3f}", fontsize=9)
  axis.axis("off")
figure.suptitle(query)
plt.show()

# %% [markdown]
# ## Metrics on the test split
#
# These are the numbers that `python -m tireid_jax.evaluate` prints.

# %%
loaded = loading.load_stage(WORKDIR, STAGE)
split = loading.open_split(loaded, "test")
encoders = embedding.Encoders(loaded.model, loaded.mesh, loaded.config.evaluation.batch_size)
image, text, scores = encoders.score(loaded.variables, split, loaded.config.data.caption_lengths, show_progress=True)
summary = embedding.summarize(scores)
for direction, values in summary.items():
  print(DIRECTIONS[direction], {name: round(value, 2) for name, value in values.items()})

# %% [markdown]
# ## Similarities of captions to images of their person and of others

# %%
found = similarities.similarities(text, image, scores["t2i"].query_ids, split.person_id)
centers = (found.edges[:-1] + found.edges[1:]) / 2
figure, axis = plt.subplots(figsize=(7, 3))
for name, counts in (("same identity", found.positive), ("other identities", found.negative)):
  axis.plot(centers, 100 * counts / max(1, counts.sum()), label=name)
occupied = np.flatnonzero(found.positive + found.negative)
axis.set(xlim=found.edges[[occupied[0], occupied[-1] + 1]], xlabel="cosine similarity", ylabel="% of pairs")
axis.legend()
plt.show()

# %% [markdown]
# ## Training curve

# %%
records = metric_log.read_metrics(layout.stage_folder(WORKDIR, int(STAGE)))
losses = {record["step"]: record["loss/total"] for record in records if "loss/total" in record}
figure, axis = plt.subplots(figsize=(7, 3))
axis.plot(list(losses), list(losses.values()))
axis.set(xlabel="step", ylabel="loss")
plt.show()
