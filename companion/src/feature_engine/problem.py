"""What goes wrong and can be told in a sentence: no traceback is shown for it."""


class Problem(Exception):
    """An error of the user's world, in PostgreSQL's style: primary message, detail, hint.

    transient: it may pass by itself (a server that restarts, a network), so `--follow` tries again.
    """

    status = 1

    def __init__(self, message, detail=None, hint=None, transient=False):
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint
        self.transient = transient

    def text(self):
        lines = [self.message]
        if self.detail:
            lines.append(f"detail: {self.detail}")
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class Busy(Problem):
    """Somebody else is at it."""

    status = 3
