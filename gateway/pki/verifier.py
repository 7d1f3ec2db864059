"""The one place that calls `cryptography.x509.verification`, whose API its authors still call unstable."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.verification import ClientVerifier, PolicyBuilder, Store, VerificationError, VerifiedClient

from gateway.pki.limits import MAX_CHAIN_DEPTH, VERIFIER_MAX_AGE
from gateway.pki.policy import device_policy, factory_ca_policy, strict_ca_policy


class NoPath(Exception):
    """The verifier found no acceptable path; the text is its own, for programmers."""


class Verifier:
    """Path building and validation over fixed anchors, with a clock that follows the caller's.

    A verifier of `cryptography` stands at the time of its construction. It is built anew when it is `VERIFIER_MAX_AGE`
    old, when time went backwards, and when it refused a certificate that was issued since it was built.
    """

    def __init__(self, anchors: Iterable[x509.Certificate], *, strict: bool) -> None:
        """Takes the anchors; at least one.

        Args:
            anchors: What is trusted.
            strict: CAs must follow the web PKI's profile; otherwise the factory profile.
        """
        self._store = Store(list(anchors))
        self._ca_policy = strict_ca_policy() if strict else factory_ca_policy()
        self._ee_policy = device_policy()
        self._built_at = self._stale_at = datetime.min.replace(tzinfo=UTC)
        self._verifier: ClientVerifier | None = None

    def path(self, leaf: x509.Certificate, helpers: Sequence[x509.Certificate], at: datetime) -> VerifiedClient:
        """The path from a leaf to an anchor, both included, and the names in the leaf's subjectAltName.

        The dates on it may be up to `VERIFIER_MAX_AGE` past: the caller checks them against its own clock.

        Raises:
            NoPath: There is none.
        """
        verifier = self._verifier
        if verifier is None or not self._built_at <= at < self._stale_at:
            verifier = self._build(at)
        intermediates = list(helpers)
        try:
            return verifier.verify(leaf, intermediates)
        except VerificationError as error:
            if not any(self._built_at < c.not_valid_before_utc <= at for c in (leaf, *helpers)):
                raise NoPath(str(error)) from error
        try:
            return self._build(at).verify(leaf, intermediates)
        except VerificationError as error:
            raise NoPath(str(error)) from error

    def path_at(self, leaf: x509.Certificate, helpers: Sequence[x509.Certificate], moment: datetime) -> VerifiedClient:
        """As `path`, for a moment of the past: dates count as they did then, to the second.

        Raises:
            NoPath: There was none.
        """
        try:
            return self._made_for(moment).verify(leaf, list(helpers))
        except VerificationError as error:
            raise NoPath(str(error)) from error

    def _build(self, at: datetime) -> ClientVerifier:
        self._built_at = at.replace(microsecond=0)
        self._stale_at = self._built_at + VERIFIER_MAX_AGE
        self._verifier = self._made_for(at)
        return self._verifier

    def _made_for(self, moment: datetime) -> ClientVerifier:
        # X.509 knows whole seconds; so does the verifier.
        return (
            PolicyBuilder()
            .store(self._store)
            .time(moment.astimezone(UTC).replace(microsecond=0))
            .max_chain_depth(MAX_CHAIN_DEPTH)
            .extension_policies(ca_policy=self._ca_policy, ee_policy=self._ee_policy)
            .build_client_verifier()
        )
