"""The one exception that is shown to people as a line of text."""


class UserError(Exception):
    """Something the caller can mend; the message is one line that says what to write instead."""
