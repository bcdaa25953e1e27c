"""Pages as a browser parses them."""

import html.parser

VOID = {"meta", "img", "br", "link", "input"}


class Page(html.parser.HTMLParser):
  """Parses the elements in order, each as [tag, attributes, inner text]; raises if tags are not nested correctly."""

  def __init__(self, text):
    super().__init__()
    self.elements, self._open = [], []
    self.feed(text)
    assert not self._open

  def handle_starttag(self, tag, attrs):
    self.elements.append([tag, dict(attrs), ""])
    if tag not in VOID:
      self._open.append(self.elements[-1])

  def handle_startendtag(self, tag, attrs):
    self.elements.append([tag, dict(attrs), ""])

  def handle_endtag(self, tag):
    assert self._open.pop()[0] == tag

  def handle_data(self, data):
    for element in self._open:
      element[2] += data

  def all(self, tag, css=None):
    return [e for e in self.elements if e[0] == tag and (css is None or css in e[1].get("class", "").split())]
