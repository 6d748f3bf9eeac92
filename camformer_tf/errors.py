"""The exception that the command line shows without a traceback."""


class UserError(Exception):
    """A user's mistake: the message says where, what was found and what to do."""
