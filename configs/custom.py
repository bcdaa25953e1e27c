"""Your own data, ViT-B/16: a folder of images and an annotation file. Not run yet on anybody's own.

  python -m tireid_jax.data.prepare --config=configs/custom.py --raw=FOLDER
  python -m tireid_jax.main --config=configs/custom.py --stage=all --workdir=W --config.pretrained=CLIP_FOLDER

FOLDER holds, unless the fields below say otherwise, `annotations.csv` and `images/`. The file is CSV (comma, semicolon
or tab), JSON lines, or a JSON list of objects; in each, rows of the same image are one image with all their captions:

  image,id,caption_1,caption_2
  0001/a.jpg,anna,A woman in a red coat.,She carries a white bag.

  {"image": "0001/a.jpg", "id": "anna", "captions": ["A woman in a red coat.", "She carries a white bag."]}

Identities are any text or numbers. `split` is train, val or test; where no row has one, identities are divided by lot.

A gallery may hold images that no caption describes (distractors), as the one that is searched in practice does; results
without them are better than they should be. They are rows of val or test without captions, in a file with splits whose
val or test split has captions too. Their identity may be left out, or be one that nobody is searched for:

  image,id,split,caption_1
  0001/a.jpg,anna,test,A woman in a red coat.
  0001/b.jpg,anna,test,
  9999/a.jpg,,test,

  {"image": "9999/a.jpg", "split": "test"}

Every caption of test is ranked against all three images: b.jpg is right for Anna's, 9999/a.jpg for nobody's. They are
never queries themselves. An image of train without captions is an error.

For a second data set of your own beside the first, give it another name: --config.data.name=custom_shop.
"""

from tireid_jax.configs import common


def get_config(ablation=""):
  config = common.base_config()
  config.data.name = "custom"  # or custom_ and more
  config.custom = {
    "annotations": "annotations.csv",  # file, below --raw or absolute
    "images": "images",  # folder that image paths are relative to, below --raw or absolute
    # What columns, or keys of JSON, are called. Only the first three must be there.
    "columns": {
      "image": "image",
      "id": "id",
      "captions": "captions",  # or the singular, or either numbered: caption_1, caption_2, ...
      "split": "split",
      "camera": "camera",
      "time": "time",
    },
    "separator": "",  # between the captions of one text, as " | "; "" where a text is one caption
    # Where no row has a split: the share of identities, and the lot.
    "val_share": 0.1,
    "test_share": 0.1,
    "split_seed": 0,
  }
  return common.with_ablation(config, ablation)
