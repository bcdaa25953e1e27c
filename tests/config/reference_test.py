from tests.commands import ROOT
from tireid_jax.config import reference


def test_the_reference_in_docs_matches_the_declared_fields():
  is_current = (ROOT / "docs/config.md").read_text() == reference.render()
  assert is_current, "run python -m tireid_jax.config.reference > docs/config.md"


def test_the_reference_has_rows_for_fields_of_every_section():
  text = reference.render()
  for line in ("| `seed` | `0` |", "| `prompts.dropout` | `0.0` |", "| `stageN.augment.flip` | `0.5` |"):
    assert line in text
