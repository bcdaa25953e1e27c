"""Writes the graph of the package's rooms into docs/architecture.md: python -m docs.rooms

The rooms, and which imports count as between rooms, are those of tests/imports_test.py; the commands are those of
tests/public_test.py.
"""

import pathlib

from tests import imports_test, public_test

DOCUMENT = pathlib.Path(__file__).parent / "architecture.md"
BEGIN, END = "<!-- rooms: python -m docs.rooms -->\n", "<!-- end of rooms -->\n"

# Every room above these may import them; in the picture, their edges would hide the others.
_EVERYWHERE = {"cli", "errors"}
_COMMANDS = sorted(public_test.COMMANDS)


def imports_between_rooms():
  """Returns {room: set of the rooms that its files import}."""
  edges: dict[str, set[str]] = {room: set() for room in imports_test.DEPTHS}
  for name, path in imports_test.FILES.items():
    room = imports_test.room_of(name)
    if room in edges:
      edges[room] |= {imports_test.room_of(module) for module in imports_test.imported(path)} - {room}
  return edges


def without_implied(edges):
  """Returns the edges of an acyclic graph, without those that a longer path implies."""

  def below(room):
    return edges[room].union(*(below(other) for other in edges[room]))

  return {room: {b for b in others if not any(b in below(c) for c in others)} for room, others in edges.items()}


def diagram():
  """Returns the graph as a Mermaid block of Markdown."""
  shown = {room: others - _EVERYWHERE for room, others in imports_between_rooms().items() if room not in _EVERYWHERE}
  rooms = [room for room in imports_test.DEPTHS if room not in _COMMANDS]
  lines = ["```mermaid", "flowchart TD", "  subgraph commands"]
  lines += [f"    {_node(room)}" for room in _COMMANDS]
  lines += ["  end", *(f"  {_node(room)}" for room in sorted(rooms))]
  for room, others in sorted(without_implied(shown).items()):
    lines += [f"  {_identifier(room)} --> {_identifier(other)}" for other in sorted(others)]
  return "\n".join([*lines, "```", ""])


def _node(room):
  return f'{_identifier(room)}["{room.replace(".", "/")}"]'


def _identifier(room):
  # "export" and the like could be keywords of Mermaid.
  return f"room_{room.replace('.', '_')}"


def written(text, block):
  """Returns a document's text with the block between the two marks."""
  before, _, rest = text.partition(BEGIN)
  _, _, after = rest.partition(END)
  return f"{before}{BEGIN}\n{block}\n{END}{after}"


if __name__ == "__main__":
  DOCUMENT.write_text(written(DOCUMENT.read_text(), diagram()))
