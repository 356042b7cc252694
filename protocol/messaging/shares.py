"""Shares of an endpoint's queue: what the origins that come over one link have of it. Data, no rules."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.face import LinkFace


class Share:
    """The part of an endpoint's queue that the origins which come over one link have together."""

    __slots__ = ("counted", "flows", "link")

    def __init__(self, link: "LinkFace | None") -> None:
        self.link = link  # None: this node
        self.flows = 0  # how many share it
        self.counted = 0  # messages promised to them, never more than the link's part
