"""Where an endpoint finds its associations: by the connection id in a record, else by the address that it came from.

Several associations may share an address when they have ids: the address then leads to the newest that has shown itself
to be there, and the others are found by their ids alone (checklist 7.10).
"""

from itertools import chain, islice

from gateway.dtls.association import Association
from gateway.dtls.connection_id import IdentifiedAssociation
from gateway.dtls.cookie import Address
from gateway.dtls.limits import EVICTION_SAMPLE


class Associations:
    """Attributes:
    by_address: Those without an id, and of those with one the newest that has shown itself to be there.
    by_id: Those with an id, by it.
    """

    __slots__ = ("_anonymous", "by_address", "by_id")

    def __init__(self) -> None:
        self.by_address: dict[Address, Association] = {}
        self.by_id: dict[bytes, IdentifiedAssociation] = {}
        self._anonymous = 0

    def __len__(self) -> int:
        return self._anonymous + len(self.by_id)

    def all(self) -> list[Association]:
        """Every one; takes time and memory in proportion."""
        anonymous = [association for association in self.by_address.values() if not association.cid]
        return [*anonymous, *self.by_id.values()]

    def stalest(self) -> Association:
        """The one that was silent longest, of a few of the oldest: to search them all would take milliseconds."""
        oldest = chain(islice(self.by_address.values(), EVICTION_SAMPLE), islice(self.by_id.values(), EVICTION_SAMPLE))
        return min(oldest, key=lambda association: association.last_heard)

    def enter(self, association: Association) -> None:
        self.by_address[association.address] = association
        if isinstance(association, IdentifiedAssociation):
            self.by_id[association.cid] = association
        else:
            self._anonymous += 1

    def remove(self, association: Association) -> None:
        self.leave(association)
        if isinstance(association, IdentifiedAssociation):
            del self.by_id[association.cid]
        else:
            self._anonymous -= 1

    def settle_at(self, association: IdentifiedAssociation, address: Address) -> None:
        """Makes it the one that is found by this address, except where one lives that is found by nothing else."""
        other = self.by_address.get(address)
        if other is None or other.cid:
            self.by_address[address] = association

    def leave(self, association: Association) -> None:
        """It is no longer found by its address."""
        if self.by_address.get(association.address) is association:
            del self.by_address[association.address]
