"""What a chain must satisfy: the policies handed to `cryptography`, and the check it does not make.

`cryptography` enforces, whatever the policy: validity dates, signatures, cA=true on issuers, pathlen, depth, no unknown
critical extension, a budget of signature checks, no SHA-1, no weak CA key. What it leaves open and is closed here: a
CA certificate used as a device, a leaf for another purpose, the leaf's own key, and what a stranger's CA certificates
may cost before the verifier finds out that they lead nowhere.
"""

from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy

from gateway.pki.certificates import describe, short_name
from gateway.pki.errors import ChainProblem, ChainRefused
from gateway.pki.limits import MAX_CA_RSA_BITS, MAX_CA_RSA_EXPONENT_BITS

LEAF_CURVES = frozenset({"secp256r1", "secp384r1", "ed25519"})
"""Curves of a device's own key that the DTLS engine can check a CertificateVerify for; names as in `cryptography`."""

_NAMED = {
    "secp256r1": bytes.fromhex("3013 06072a8648ce3d0201 06082a8648ce3d030107"),
    "secp384r1": bytes.fromhex("3010 06072a8648ce3d0201 06052b81040022"),
}
"""The AlgorithmIdentifier of a key on a curve (RFC 5480 section 2.1.1): id-ecPublicKey, and the curve's name."""

CA_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
"""Curves of CAs' keys that the verifier takes; names as in `cryptography`."""


def device_policy() -> ExtensionPolicy:
    """The end-entity policy: anything goes, except what the three checks below refuse.

    Device certificates in the field often lack a SAN, an authority key id or any extension at all, so that the
    web PKI's profile would refuse them; what matters is what a present extension says.
    """
    return (
        ExtensionPolicy.permit_all()
        .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _no_ca)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs)
        .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _is_client)
    )


def strict_ca_policy() -> ExtensionPolicy:
    """CAs by the web PKI's profile: what our own issuing makes."""
    return ExtensionPolicy.webpki_defaults_ca()


def factory_ca_policy() -> ExtensionPolicy:
    """CAs as contract manufacturers make them: cA=true required, keyCertSign required where KeyUsage is present."""
    return (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _must_be_ca)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs_certificates)
    )


def check_leaf_profile(leaf: x509.Certificate) -> None:
    """The three end-entity checks, with typed reasons.

    Raises:
        ChainRefused: `CA_AS_LEAF` or `WRONG_KEY_USAGE`.
    """
    for extension in leaf.extensions:
        match extension.value:
            case x509.BasicConstraints() as constraints:
                refused = _ca_as_leaf(leaf, constraints)
            case x509.KeyUsage() as usage:
                refused = _wrong_usage(leaf, usage)
            case x509.ExtendedKeyUsage() as usages:
                refused = _wrong_purpose(leaf, usages)
            case _:
                refused = None
        if refused:
            raise refused


def check_leaf_key(leaf: x509.Certificate, leaf_der: bytes, curves: frozenset[str]) -> None:
    """The leaf's own key, which path validation does not restrict: an ECDSA or Ed25519 key on one of `curves`.

    Args:
        leaf: The device's certificate.
        leaf_der: The same as it was presented.
        curves: Of `LEAF_CURVES`.

    Raises:
        ChainRefused: `WEAK_KEY`.
    """
    try:
        key = leaf.public_key()
    except UnsupportedAlgorithm:
        found = f"a key of an unknown kind (algorithm {leaf.public_key_algorithm_oid.dotted_string})"
    else:
        if isinstance(key, ec.EllipticCurvePublicKey):
            curve = key.curve.name
            found = f"an elliptic curve key on {curve}"
            if curve in curves and curve in _NAMED:
                # RFC 5480 section 2.1.1: specifiedCurve must not be used. The library takes one that equals a named
                # curve, so the AlgorithmIdentifier that names it must be there.
                if _NAMED[curve] in leaf_der:
                    return
                found += " that spells out its parameters instead of naming the curve"
        elif isinstance(key, ed25519.Ed25519PublicKey) and "ed25519" in curves:
            return
        else:
            size = getattr(key, "key_size", None)
            found = f"a {type(key).__name__.lstrip('_').removesuffix('PublicKey')} key" + (
                f" of {size} bits" if size else ""
            )
    wanted = " or ".join(sorted(curves))
    raise ChainRefused(
        ChainProblem.WEAK_KEY,
        f"the device certificate {short_name(leaf)} has {found}; accepted are keys on {wanted}: "
        "make the device a new key and issue a certificate for it",
    )


def check_ca_key(certificate: x509.Certificate, position: int) -> None:
    """The key of a presented CA certificate, before any signature of it is checked: not dearer than real CAs' keys.

    The verifier refuses weak keys itself, but it takes RSA of any size with any public exponent.

    Args:
        certificate: The certificate.
        position: Its place in the chain, for the operator text.

    Raises:
        ChainRefused: `WEAK_KEY`.
    """
    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm:
        found = f"a key of an unknown kind (algorithm {certificate.public_key_algorithm_oid.dotted_string})"
    else:
        if isinstance(key, ec.EllipticCurvePublicKey):
            if key.curve.name in CA_CURVES:
                return
            found = f"an elliptic curve key on {key.curve.name}"
        elif isinstance(key, rsa.RSAPublicKey):
            exponent = key.public_numbers().e.bit_length()
            if key.key_size <= MAX_CA_RSA_BITS and exponent <= MAX_CA_RSA_EXPONENT_BITS:
                return
            found = f"an RSA key of {key.key_size} bits with a public exponent of {exponent} bits"
        else:
            found = f"a {type(key).__name__.lstrip('_').removesuffix('PublicKey')} key"
    raise ChainRefused(
        ChainProblem.WEAK_KEY,
        f"certificate {position} of the chain, {short_name(certificate)}, has {found}; CA certificates that a device "
        f"sends have a key on {', '.join(sorted(CA_CURVES))}, or RSA of at most {MAX_CA_RSA_BITS} bits with a public "
        f"exponent of at most {MAX_CA_RSA_EXPONENT_BITS}: leave the certificate away, or trust it itself with "
        "`gateway ca trust FILE`",
    )


def one_of_each_name(presented: Iterable[x509.Certificate]) -> list[x509.Certificate]:
    """The presented CA certificates without needless namesakes, so that there is one way up through them.

    The verifier tries every order of namesakes: five that fit each other cost it a hundred signature checks. A
    self-issued one is left out beside a cross-signed one of its name: it leads nowhere that the other does not.

    Raises:
        ChainRefused: Two remain that have the same name (`INVALID`).
    """
    kept: dict[bytes, x509.Certificate] = {}
    for certificate in dict.fromkeys(presented):
        name = certificate.subject.public_bytes()
        other = kept.get(name)
        if other is None or other.issuer == other.subject != certificate.issuer:
            kept[name] = certificate
        elif certificate.issuer != certificate.subject or other.issuer == other.subject:
            raise ChainRefused(
                ChainProblem.INVALID,
                f"the device sent several certificates of the CA {describe(certificate.subject)}; install its own "
                "certificate and one certificate of each intermediate CA on it",
            )
    return list(kept.values())


def _ca_as_leaf(leaf: x509.Certificate, constraints: x509.BasicConstraints) -> ChainRefused | None:
    if not constraints.ca:
        return None
    return ChainRefused(
        ChainProblem.CA_AS_LEAF,
        f"{short_name(leaf)} is a CA certificate (basicConstraints cA=true) and cannot be a device; put the "
        "device's own certificate first in its chain, or issue one with `gateway cert issue --device ID`",
    )


def _wrong_usage(leaf: x509.Certificate, usage: x509.KeyUsage) -> ChainRefused | None:
    if usage.digital_signature:
        return None
    return ChainRefused(
        ChainProblem.WRONG_KEY_USAGE,
        f"the keyUsage of {short_name(leaf)} lacks digitalSignature, which a DTLS client needs; issue the device a "
        "certificate with digitalSignature, or without keyUsage",
    )


def _wrong_purpose(leaf: x509.Certificate, usages: x509.ExtendedKeyUsage) -> ChainRefused | None:
    if ExtendedKeyUsageOID.CLIENT_AUTH in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages:
        return None
    return ChainRefused(
        ChainProblem.WRONG_KEY_USAGE,
        f"the extendedKeyUsage of {short_name(leaf)} lacks clientAuth; issue the device a certificate with clientAuth, "
        "or without extendedKeyUsage",
    )


# The callbacks: an exception of any type makes `cryptography` refuse the path.


def _no_ca(_policy: Policy, leaf: x509.Certificate, constraints: x509.BasicConstraints | None) -> None:
    if constraints is not None and (refused := _ca_as_leaf(leaf, constraints)):
        raise refused


def _signs(_policy: Policy, leaf: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and (refused := _wrong_usage(leaf, usage)):
        raise refused


def _is_client(_policy: Policy, leaf: x509.Certificate, usages: x509.ExtendedKeyUsage | None) -> None:
    if usages is not None and (refused := _wrong_purpose(leaf, usages)):
        raise refused


def _must_be_ca(_policy: Policy, issuer: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ChainRefused(ChainProblem.NOT_A_CA, f"{short_name(issuer)} is not a CA certificate")


def _signs_certificates(_policy: Policy, issuer: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ChainRefused(ChainProblem.NOT_A_CA, f"the keyUsage of {short_name(issuer)} lacks keyCertSign")
