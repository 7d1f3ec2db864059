"""The one place that calls `cryptography.x509.verification`, whose API its authors still call unstable."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.verification import ClientVerifier, PolicyBuilder, Store, VerificationError

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
        self._strict = strict
        self._built_at = datetime.min.replace(tzinfo=UTC)
        self._verifier: ClientVerifier | None = None

    def path(
        self, leaf: x509.Certificate, helpers: Sequence[x509.Certificate], at: datetime
    ) -> Sequence[x509.Certificate]:
        """The path from a leaf to an anchor, both included.

        The dates on it may be up to `VERIFIER_MAX_AGE` past: the caller checks them against its own clock.

        Raises:
            NoPath: There is none.
        """
        verifier = self._verifier
        if verifier is None or not self._built_at <= at < self._built_at + VERIFIER_MAX_AGE:
            verifier = self._build(at)
        intermediates = list(helpers)
        try:
            return verifier.verify(leaf, intermediates).chain
        except VerificationError as error:
            if not any(self._built_at < c.not_valid_before_utc <= at for c in (leaf, *helpers)):
                raise NoPath(str(error)) from error
        try:
            return self._build(at).verify(leaf, intermediates).chain
        except VerificationError as error:
            raise NoPath(str(error)) from error

    def _build(self, at: datetime) -> ClientVerifier:
        # X.509 knows whole seconds; so does the verifier.
        self._built_at = at.astimezone(UTC).replace(microsecond=0)
        self._verifier = (
            PolicyBuilder()
            .store(self._store)
            .time(self._built_at)
            .max_chain_depth(MAX_CHAIN_DEPTH)
            .extension_policies(
                ca_policy=strict_ca_policy() if self._strict else factory_ca_policy(), ee_policy=device_policy()
            )
            .build_client_verifier()
        )
        return self._verifier
