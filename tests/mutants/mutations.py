"""The mutants of a source file: each has one small change, like a typing mistake."""

import ast
import copy
import dataclasses
import itertools

_SWAPPED = {
  ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE),
  ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
  ast.NotIn: (ast.In,), ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,),
  ast.FloorDiv: (ast.Mult,), ast.Mod: (ast.FloorDiv,), ast.Pow: (ast.Mult,), ast.BitAnd: (ast.BitOr,),
  ast.BitOr: (ast.BitAnd,), ast.BitXor: (ast.BitAnd,), ast.And: (ast.Or,), ast.Or: (ast.And,),
}  # fmt: skip
_NAMES = {
  "min": "max", "minimum": "maximum", "any": "all", "argmin": "argmax", "floor": "ceil", "zeros": "ones",
  "sum": "mean", "cumsum": "cumprod", "exp": "log", "cos": "sin", "startswith": "endswith",
}  # fmt: skip
# Maximum number of characters of a change in a mutant's name.
_SHOWN = 100
_NAMES |= {after: before for before, after in _NAMES.items()}


@dataclasses.dataclass(frozen=True)
class Mutant:
  """One change of one file.

  Attributes:
    module: path of the file, from the root of the repository.
    where: qualified name of the enclosing function or class, or "".
    line: of the change, from 1.
    before, after: the source before and after the change, on one line each.
    number: of this change among equal changes in the same function, from 0.
    source: the whole file with the change.
  """

  module: str
  where: str
  line: int
  before: str
  after: str
  number: int
  source: str = dataclasses.field(repr=False)

  @property
  def key(self):
    """Its name in results, which does not depend on line numbers."""
    again = f" #{self.number}" if self.number else ""
    return f"{self.module}:{self.where}: {self.before} -> {self.after}{again}"


def find_mutants(module, source):
  """Returns all Mutants of a file in the order of its lines; strings, messages and annotations are not changed."""
  lines = [line.encode() for line in source.splitlines(keepends=True)]
  starts = [0]
  for line in lines:
    starts.append(starts[-1] + len(line))
  whole, found, seen = b"".join(lines), [], {}
  for where, node, after in sorted(_changes(ast.parse(source)), key=lambda change: _position(change[1])):
    start = starts[node.lineno - 1] + node.col_offset
    end = starts[node.end_lineno - 1] + node.end_col_offset
    if isinstance(node, ast.keyword):  # an argument is removed with the comma after it
      rest = whole[end:].decode()
      end += len(rest) - len(rest.lstrip().removeprefix(",").lstrip(" ")) if rest.lstrip().startswith(",") else 0
    change = (where, *_differing(ast.unparse(node), after or "left out"))
    number = seen[change] = seen.get(change, -1) + 1
    mutated = (whole[:start] + after.encode() + whole[end:]).decode()
    found.append(Mutant(module, where, node.lineno, *change[1:], number, mutated))
  return found


def _position(node):
  return node.lineno, node.col_offset, -node.end_lineno, -node.end_col_offset


def _differing(before, after):
  """Returns both on one line; long ones are shortened to the text around the difference."""
  before, after = " ".join(before.split()), " ".join(after.split())
  if after.startswith("(") and not before.startswith("("):
    after = after[1:-1]
  start = _num_equal(before, after)
  end = _num_equal(before[start:][::-1], after[start:][::-1])
  return tuple(_around(text, start, len(text) - end) for text in (before, after))


def _num_equal(one, other):
  """Returns the length of the common prefix of two texts."""
  return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _around(text, start, end):
  if len(text) <= _SHOWN:
    return text
  start = max(start - _SHOWN // 4, 0)
  end = min(end + _SHOWN // 4, start + _SHOWN)
  return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"


def _changes(tree):
  """Yields (qualified name, node, replacement source)."""

  def visit(node, where, owner):
    if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom)):
      if isinstance(node, ast.Raise) and node.exc is not None:
        yield where, node, "pass"
      return
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("log_line", "print"):
      return
    for after in _of_node(node, owner):
      yield where, node, after
    inner = where
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
      inner = f"{where}.{node.name}".lstrip(".")
    for field, value in ast.iter_fields(node):
      if field in ("annotation", "returns", "decorator_list", "bases", "ctx", "op", "ops"):
        continue
      for child in value if isinstance(value, list) else [value]:
        if isinstance(child, ast.AST):
          yield from visit(child, inner, node)

  yield from visit(tree, "", None)


def _of_node(node, owner):
  """Yields replacement sources for a node."""
  if isinstance(node, ast.stmt):
    yield from _of_statement(node)
  elif isinstance(node, ast.keyword):
    if node.arg is not None:
      yield ""
  elif isinstance(node, ast.Constant):
    yield from _of_constant(node, owner)
  elif isinstance(node, ast.Compare):
    for number, operator in enumerate(node.ops):
      for other in _SWAPPED.get(type(operator), ()):
        ops = [other() if i == number else op for i, op in enumerate(node.ops)]
        yield _source(node, ops=ops)
  elif isinstance(node, (ast.BinOp, ast.BoolOp)):
    if not (isinstance(node, ast.BinOp) and _is_text(node.left, node.right)):
      for other in _SWAPPED.get(type(node.op), ()):
        yield _source(node, op=other())
  elif isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):
    yield f"({ast.unparse(node.operand)})"
  elif isinstance(node, ast.Call):
    for first in range(len(node.args) - 1):
      if not any(isinstance(arg, ast.Starred) for arg in node.args[first : first + 2]):
        swapped = [*node.args[:first], node.args[first + 1], node.args[first], *node.args[first + 2 :]]
        yield _source(node, args=swapped)
  elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in ("min", "max", "any", "all"):
    yield _NAMES[node.id]
  elif isinstance(node, ast.Attribute) and node.attr in _NAMES:
    yield f"{ast.unparse(node.value)}.{_NAMES[node.attr]}"
  elif isinstance(node, (ast.IfExp, ast.comprehension)):
    return  # only their conditions are changed, below
  elif isinstance(node, (ast.List, ast.Tuple, ast.Set)) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
    if len(node.elts) > 1 and not isinstance(owner, ast.Subscript):
      for number in range(len(node.elts)):
        yield _source(node, elts=node.elts[:number] + node.elts[number + 1 :])
  elif isinstance(node, ast.Dict) and len(node.keys) > 1:
    for number in range(len(node.keys)):
      yield _source(
        node, keys=node.keys[:number] + node.keys[number + 1 :], values=node.values[:number] + node.values[number + 1 :]
      )
  is_condition = isinstance(owner, (ast.If, ast.IfExp)) and node is owner.test
  if (is_condition or (isinstance(owner, ast.comprehension) and node in owner.ifs)) and not isinstance(
    node,
    (ast.Compare, ast.UnaryOp),  # negated above
  ):
    yield f"(not ({ast.unparse(node)}))"


def _of_statement(node):
  if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
    yield "pass"
  elif isinstance(node, ast.AugAssign):
    yield "pass"
    for other in _SWAPPED.get(type(node.op), ()):
      yield ast.unparse(_changed(node, op=other()))
  elif isinstance(node, ast.Assign):
    # Only if the name is also bound elsewhere; otherwise removing the statement would raise NameError.
    names = {part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    read = {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}
    if names & read or any(isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets):
      yield "pass"
  elif isinstance(node, ast.Return) and node.value is not None:
    if not (isinstance(node.value, ast.Constant) and node.value.value is None):
      yield "return None"
  elif isinstance(node, (ast.Continue, ast.Break)):
    yield "pass"


def _of_constant(node, owner):
  value = node.value
  if isinstance(value, bool):
    yield str(not value)
  elif isinstance(value, (int, float)):
    changed = [value + 1] if isinstance(value, int) else [value * 2 or 1.0]
    if isinstance(value, int) and value > 1:
      changed.append(value - 1)
    # The constant in -1 is 1.
    yield from (repr(other) for other in changed)


def _is_text(*nodes):
  return any(
    isinstance(n, ast.JoinedStr) or (isinstance(n, ast.Constant) and isinstance(n.value, (str, bytes))) for n in nodes
  )


def _changed(node, **fields):
  other = copy.copy(node)
  for name, value in fields.items():
    setattr(other, name, value)
  return other


def _source(node, **fields):
  text = ast.unparse(_changed(node, **fields))
  return f"({text})" if isinstance(node, (ast.BinOp, ast.BoolOp, ast.Compare)) else text
