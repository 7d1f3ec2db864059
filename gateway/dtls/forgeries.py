"""How many records of an association may fail to authenticate, and which of them count.

Each forged record is a try, with a chance of 2**-64 where the tag has 8 bytes, and after enough tries the key must not
be used any more (RFC 9325 section 4.4, RFC 9147 section 4.5.3). On the other hand whoever sends junk must not be able
to end somebody else's session. So:

- What comes from the address of the association counts, and ends it in the end. It takes 2**20 records, tens of
  megabytes sent under a forged address of which the port is known too, to make a device begin anew; eight
  times as many where the tag has 16 bytes.
- What comes from elsewhere with its connection id counts apart. It never ends the association: at the same bound the
  association can no longer be reached from elsewhere until it has a new handshake, and goes on where it is.
- Replays, other epochs and what no record could be are no tries, and do not count.
"""

from typing import Final

from gateway.dtls.association import Association
from gateway.dtls.connection_id import IdentifiedAssociation
from gateway.dtls.cookie import Address
from gateway.dtls.limits import MAX_AUTHENTICATION_FAILURES_LONG_TAG

_SHORT_TAG: Final = 8


class Forgeries:
    """The bounds of one endpoint.

    Attributes:
        short_tag: Records with a tag of 8 bytes that may fail; may change.
    """

    __slots__ = ("short_tag",)

    def __init__(self, short_tag: int) -> None:
        """With the bound for tags of 8 bytes."""
        self.short_tag = short_tag

    def failed(self, association: Association, address: Address) -> None:
        """A record of an association has failed to authenticate, and was counted by it."""
        if address != association.address and isinstance(association, IdentifiedAssociation):
            association.authentication_failures -= 1
            association.failures_elsewhere += 1

    def unreachable(self, association: Association, address: Address) -> bool:
        """Whether nothing more is tried from this address."""
        return (
            isinstance(association, IdentifiedAssociation)
            and association.failures_elsewhere > 0
            and address != association.address
            and association.failures_elsewhere >= self._limit(association)
        )

    def exhausted(self, association: Association) -> bool:
        """Whether the association must be closed."""
        return association.authentication_failures >= self._limit(association)

    def _limit(self, association: Association) -> int:
        short = association.suite.tag_length <= _SHORT_TAG
        return self.short_tag if short else MAX_AUTHENTICATION_FAILURES_LONG_TAG
