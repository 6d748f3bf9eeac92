"""The one exception that the command line shows without a traceback."""


class UserError(Exception):
    """A mistake of the user's: the message says where, what was found and what to do."""
