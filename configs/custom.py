"""Your own data, ViT-B/16: a folder of images and an annotation file. Not run yet on real data.

  python -m tireid_jax.data.prepare --config=configs/custom.py --raw=FOLDER
  python -m tireid_jax.main --config=configs/custom.py --stage=all --workdir=W --config.pretrained=CLIP_FOLDER

FOLDER contains `annotations.csv` and `images/`, unless the fields below are changed. The file is CSV (separated by
commas, semicolons or tabs), JSON lines, or a JSON list of objects. Several entries of one image are merged, with all
their captions:

  image,id,caption_1,caption_2
  0001/a.jpg,anna,A woman in a red coat.,She carries a white bag.

  {"image": "0001/a.jpg", "id": "anna", "captions": ["A woman in a red coat.", "She carries a white bag."]}

Identities are any text or numbers. `split` is train, val or test; if no entry has one, identities are assigned to
splits at random. `camera` and `time` are optional: the report shows them next to pictures; metrics do not read them, so
images of a query's own camera stay in the gallery. `separator` divides a cell into several captions.

A gallery may contain distractors, images without captions, as galleries in practice do; results without them are too
optimistic. Distractors are entries of val or test without captions, in a file with splits, whose val or test split has
captions too. Their identity may be omitted, or be one that no caption describes:

  image,id,split,caption_1
  0001/a.jpg,anna,test,A woman in a red coat.
  0001/b.jpg,anna,test,
  9999/a.jpg,,test,

  {"image": "9999/a.jpg", "split": "test"}

All three images are ranked for every caption of test: b.jpg is a correct match for Anna's, 9999/a.jpg for none.
Distractors are never queries. An image of train without captions is an error.

A second data set of your own needs another name: --config.data.name=custom_shop.
"""

from tireid_jax.configs import common


def get_config(ablation=""):
  config = common.base_config()
  config.data.name = "custom"  # or custom_ and more
  config.custom = {
    "annotations": "annotations.csv",  # file, below --raw or absolute
    "images": "images",  # folder that image paths are relative to, below --raw or absolute
    # Names of columns, or of JSON keys. Only the first three are required.
    "columns": {
      "image": "image",
      "id": "id",
      "captions": "captions",  # or the singular, or either numbered: caption_1, caption_2, ...
      "split": "split",
      "camera": "camera",
      "time": "time",
    },
    "separator": "",  # between the captions of one text, as " | "; "" if each text is one caption
    # If no entry has a split: the fractions of identities in val and test, and the random seed.
    "val_share": 0.1,
    "test_share": 0.1,
    "split_seed": 0,
  }
  return common.with_ablation(config, ablation)
