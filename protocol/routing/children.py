"""The neighbours that reach a source through this node: what each has of the source's lines."""


class Child:
    """A neighbour that reaches a source through us: what of the source's lines it has."""

    __slots__ = ("hidden", "judged", "knows_label", "versions")

    def __init__(self, versions: "list[int]", knows_label: bool) -> None:
        self.versions = versions  # by realm; the first, PROCESS, stays 0
        self.knows_label = knows_label
        self.judged = False  # that it may have all of these lines has been asked
        self.hidden = 0  # the realms, as bits, of whose lines something is not told it
