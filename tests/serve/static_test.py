"""The files of the page: nothing inline, so that the Content-Security-Policy holds, and nothing that is not there."""

import html.parser
import re

import pytest

from tests.commands import ROOT

STATIC = ROOT / "tireid_jax/serve/static"
SCRIPTS = sorted(path.name for path in STATIC.glob("*.js"))


class Tags(html.parser.HTMLParser):
  """Collects (name, attributes) of all tags, and what is inside of style and script."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.inline = [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_data(self, data):
    if self.tags and self.tags[-1][0] in ("script", "style"):
      self.inline.append(data.strip())


@pytest.fixture(scope="module")
def page(client):
  response = client.get("/")
  assert response.status_code == 200
  return Tags(response.text)


def test_the_page_holds_no_inline_script_style_or_handler(page):
  assert not any(page.inline)
  for tag, attributes in page.tags:
    assert tag != "style"
    assert not [name for name in attributes if name == "style" or name.startswith("on")], tag


def test_every_file_that_the_page_names_is_served_with_its_type(page, client):
  names = [
    attributes.get("src") or attributes.get("href") for tag, attributes in page.tags if tag in ("script", "link")
  ]
  names += [f"/static/{name}" for script in SCRIPTS for name in imports(script)]
  assert "/static/main.js" in names
  types = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
  for name in names:
    response = client.get(name)
    assert response.status_code == 200, name
    assert response.headers["content-type"].startswith(types[name.rpartition(".")[2]])


def imports(script):
  return re.findall(r'from "\./([\w.]+)"', (STATIC / script).read_text())


def test_every_input_has_a_label_and_every_id_of_the_scripts_exists(page):
  ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
  for script in SCRIPTS:
    assert set(re.findall(r'\bat\("([\w-]+)"\)', (STATIC / script).read_text())) <= ids, script
  open_labels, text = 0, (STATIC / "index.html").read_text()
  for tag in re.findall(r"<(/?label|input|select)\b", text):
    open_labels += {"label": 1, "/label": -1}.get(tag, 0)
    assert tag not in ("input", "select") or open_labels == 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_write_text_and_no_markup(script):
  """Names of files and captions come from strangers."""
  assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\.style\b",
                       (STATIC / script).read_text())  # fmt: skip
