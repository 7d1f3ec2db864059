"""Limits of the PKI room: number, unit, reason."""

from datetime import timedelta

MAX_CHAIN_DEPTH = 4
"""Intermediate certificates between leaf and anchor. Device PKIs have one or two; each costs 66 us."""

MAX_CHAIN_CERTIFICATES = MAX_CHAIN_DEPTH + 2
"""Certificates that a peer may present: the leaf, the deepest chain we follow, and the root that some devices add."""

MAX_CA_RSA_BITS = 4096
"""Bits of a presented CA's RSA key. More buys no device anything; a check at 4096 costs up to 0.2 ms."""

MAX_CA_RSA_EXPONENT_BITS = 32
"""Bits of a presented CA's public exponent; everybody uses 65537. A check costs a squaring for each bit: with an
exponent as long as a modulus of 3072 bits 6 ms, as anybody can demand who makes up a certificate."""

MAX_DIAGNOSIS_SIGNATURES = 4
"""Signatures that may be checked to explain a refusal (up to 0.5 ms each, on P-521): a leaf, two intermediates and a
root have three, and one is left for a namesake."""

ENDS_SOON = timedelta(days=30)
"""Before the end of a certificate from which on operators are told: time for a change that needs a meeting. Of one with
a short life it is the last third, or it would always end soon."""

MAX_KNOWN_ISSUERS = 64
"""Intermediates whose path to the anchor is remembered (about 3 kB each). Only a verified chain adds one."""

MAX_CERTIFICATE_BYTES = 8 * 1024
"""Bytes of one presented certificate. P-256 device certificates have 400-800; an RSA-4096 root 2,500."""

MAX_DEVICE_NAME_CHARACTERS = 128
"""Characters of a device name. Enough for every `urn:dev:` form of RFC 9039; it ends in logs, URLs and index keys."""

MAX_COMMON_NAME_CHARACTERS = 64
"""Characters of a commonName: ub-common-name of RFC 5280 appendix A.1; OpenSSL refuses to make longer ones."""

MAX_DNS_NAME_CHARACTERS = 253
"""Characters of a DNS name without its final dot (RFC 1035 section 2.3.4: 255 bytes on the wire)."""

MAX_QUOTED_CHARACTERS = 120
"""Characters quoted from a peer's certificate in one place of an operator text, so that a log line stays a line."""

VERIFIER_MAX_AGE = timedelta(seconds=60)
"""Age at which a verifier is rebuilt: its clock stands still from its construction on. Building costs 0.5 ms."""

BACKDATE = timedelta(hours=1)
"""How far before "now" our certificates become valid, for devices whose clock is behind ours."""

ROOT_LIFETIME = timedelta(days=20 * 365)
"""Roots are burnt into trust lists that outlive the hardware."""

INTERMEDIATE_LIFETIME = timedelta(days=10 * 365)
"""Half a root's life, so that an intermediate can be replaced once under the same root."""

DEVICE_LIFETIME = timedelta(days=10 * 365)
"""Years in the field of a device without a renewal protocol; cut at the issuer's end."""

SERVER_LIFETIME = timedelta(days=397)
"""What public CAs allow; a server certificate is renewed by whoever runs the server."""

MAX_VERIFIED_CHAINS = 20_000
"""Chains whose signatures are remembered as good, about 1.2 kB each. Only who holds a valid certificate adds one."""

MAX_CRL_BYTES = 16 * 1024 * 1024
"""Bytes of one revocation list, as DER. An entry with a reason takes about 53: room for the entries below."""

MAX_CRL_ENTRIES = 250_000
"""Revoked certificates of one list. Reading takes 10 us each, once; kept are 27 bytes of each and 4 to 8 of a table."""

MAX_SERIAL_BYTES = 21
"""Octets of a serial number. RFC 5280 section 4.1.2.2 allows 20; `cryptography` verifies certificates with one more."""

MAX_EXPIRED_GRACE = timedelta(days=20 * 365)
"""The longest grace for expired certificates. Beyond a root's life there is no certificate left to be lenient with."""

MAX_GRACE_MOMENTS = 4
"""Moments of the past for which the verifier is asked about an expired path, 85 us each for a stranger's: the ends of a
device, of two certificates of its CA, and of a root."""

MAX_IDENTITY_RULE_CHARACTERS = 512
"""Characters of an identity rule as text: all sources, each with literal text around it, have room."""

MAX_REQUEST_BYTES = 64 * 1024
"""Bytes of a file with a certificate signing request. One with a P-256 key has 300-700, PEM a third more."""

CRL_LIFETIME = timedelta(days=7)
"""From a CRL to its nextUpdate: a week in which whoever publishes may be on holiday."""

MAX_CRL_NUMBER = 2**159 - 1
"""Of a cRLNumber: 20 octets (RFC 5280 section 5.2.3)."""

MIN_CA_RSA_BITS = 2048
"""Bits of a CA's RSA key below which the verifier takes nothing that it signed; so do the web PKI and NIST."""

MAX_PROFILE_SERIAL_BYTES = 20
"""Octets of a serial number that RFC 5280 section 4.1.2.2 allows."""

SOON = timedelta(days=30)
"""Before the end of a certificate: when to say so. A month to renew what hangs on it."""

LONG_LIFETIME = timedelta(days=21 * 365)
"""Lifetime that is worth a remark: more than our own roots have."""

MAX_NVS_STRING_BYTES = 4000
"""Bytes of a string in ESP-IDF's NVS with its final NUL; the partition generator refuses longer ones."""

MAX_SEC_TAG = 2**31 - 1
"""Of an nRF91 modem's security tags; those above are the modem's own. Zephyr's are ints, the negative ones its own."""

MAX_BULK_CERTIFICATES = 100_000
"""Certificates of one bulk run. Names and manifest are in memory: 100,000 are about 150 MB."""

BULK_FOLDER_DEVICES = 1000
"""Devices in one folder of a bulk run: a few thousand files, which every file manager and file system still lists."""

BULK_BATCH = 500
"""Devices between two reports of a bulk run: progress, and what the registry gets in one transaction."""
