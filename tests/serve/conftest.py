"""One Searcher for all tests of the page, whose programs are compiled once."""

import pytest

from tests.serve import serving


@pytest.fixture(scope="session")
def searcher(tmp_path_factory):
  return serving.make_searcher(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def client(searcher):
  with serving.make_client(searcher) as opened:
    yield opened
