"""Values of --index that name a collection of Milvus; needs neither Milvus nor pymilvus."""

import importlib.util
import pathlib

import pytest

from tireid_jax.errors import UserError
from tireid_jax.search import milvus_address, opening


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("milvus:a/x.db", ("", pathlib.Path("a/x.db").absolute(), "", "tireid_jax")),
    ("milvus:~/x.db#other_1", ("", pathlib.Path.home() / "x.db", "", "other_1")),
    ("milvus:http://host:19530", ("http://host:19530", None, "", "tireid_jax")),
    ("milvus:https://[::1]/base/#c", ("https://[::1]", None, "base", "c")),
  ],
)
def test_an_address_is_a_folder_or_a_url_and_a_collection(text, expected):
  assert milvus_address.parse(text) == (text, *expected)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("milvus:", "must end in .db"),
    ("milvus:index", "must end in .db; give milvus:FOLDER.db for Milvus Lite, or milvus:http://HOST:19530"),
    ("milvus:a#b.db", "the collection 'b.db' must consist of letters, digits and _"),
    ("milvus:x.db#", "the collection '' must"),
    ("milvus:ftp://host", "is not supported"),
    ("milvus:http://host:99999", "Port out of range"),
    ("milvus:http://host/a/b", "is no address of Milvus"),
    ("milvus:http://:19530", "is no address of Milvus"),
    ("milvus:http://me:secret@host:1/a", "--index=milvus:http://host:1/a was given with a password"),
  ],
)
def test_what_is_no_address(text, message):
  with pytest.raises(UserError) as raised:
    milvus_address.parse(text)
  assert message in str(raised.value)
  assert "secret" not in str(raised.value)


def test_a_package_that_is_not_installed_is_named_with_the_extra_that_installs_it(monkeypatch):
  found = importlib.util.find_spec
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "milvus_lite" else found(name))
  if found("pymilvus"):
    opening.check("milvus:http://host:19530")  # which does not need Milvus Lite
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: found(name) if name == "pymilvus" else None)
  with pytest.raises(UserError, match=r'needs the package \w+; run pip install "tireid_jax\[milvus\]"'):
    opening.check("milvus:x.db")
