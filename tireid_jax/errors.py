"""Errors that a user can cause and mend; a command answers them in one line, and everything else with its traceback."""


class UserError(ValueError):
  """Bad input: the message says what is wrong, what came and what to do."""


class MissingFileError(UserError, FileNotFoundError):
  """A file or folder that the user named is not there."""
