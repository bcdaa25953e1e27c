"""Searches a gallery of person images by sentence, by image or by a mix of both; also as a library.

    from tireid_jax.search import Query, Searcher, Where

    searcher = Searcher.open(workdir="W", stage="2", gallery="PICTURES")
    report = searcher.update()                          # encodes new and changed files, drops removed ones
    for result in searcher.search("a woman in a red coat", top=10):
      print(result.rank, result.score, result.file)

`Searcher.open` takes a run (`workdir`, `stage`), or any CLIP weights or exported folder (`pretrained`); the index is a
folder or, as in `index="milvus:http://HOST:19530"`, in Milvus. Instead of `update`, which makes the index hold exactly
what is in the gallery, `add(paths)` encodes single files and folders, and `remove(paths)` drops them. `search` takes
one query, `search_all` a list of them in one pass. A query is

- a str, always taken as a sentence, so text from a stranger never opens a file;
- a pathlib.Path of an image file, or pixels u8[h, w, 3];
- a Query: a weighted mix of these, as `Query([(2, "red coat"), (1, pathlib.Path("pool.jpg"))])`.

`Where(cameras=..., start=..., end=..., folders=...)` filters by what is known of an image. Bad input raises UserError
(for example a sentence longer than the model reads; `num_tokens` and `text_length` tell beforehand).

A score is the cosine similarity of the query and the image. It orders the images of one query; it says nothing across
queries, and no threshold separates hits from misses.
"""

from tireid_jax.search.query import Query as Query
from tireid_jax.search.results import Report as Report
from tireid_jax.search.results import Result as Result
from tireid_jax.search.searcher import Searcher as Searcher
from tireid_jax.search.where import Where as Where
