"""docs/trust.md lists what the verifier has: reasons, sources, policies, limits. Nothing more or less."""

from datetime import timedelta
from enum import StrEnum

import pytest

from gateway.pki import ChainProblem, CrlPolicy, CrlProblem, IdentityRule, NameSource, TrustAnchor, limits
from tests.docs.pages import ROOT, prose, section, table
from tests.pki.factory import ca
from tests.pki.test_verdicts import CASES

PAGE = ROOT / "docs/trust.md"


def first_cells(heading: str, number: int = 0) -> list[str]:
    return [row[0].strip("`") for row in table(PAGE, heading, number)]


TABLES: tuple[tuple[type[StrEnum], str, int], ...] = (
    (ChainProblem, "Reasons", 0),
    (NameSource, "Identity rule", 0),
    (CrlPolicy, "Revocation", 0),
    (CrlProblem, "Revocation", 1),
)


@pytest.mark.parametrize(("enum", "heading", "number"), TABLES)
def test_each_member_has_a_row(enum: type[StrEnum], heading: str, number: int) -> None:
    assert first_cells(heading, number) == [member.value for member in enum]
    for row in table(PAGE, heading, number):
        assert all(cell.strip() for cell in row), row


def test_defaults() -> None:
    anchor = TrustAnchor.of(ca("Root").certificate)
    text = section(PAGE, "What each trust anchor decides").replace("\\|", "|")
    assert f"| `{anchor.identity_rule}` |" in text
    assert f"| `{anchor.crl}` |" in text
    assert anchor.expired_grace == timedelta(0)
    assert not anchor.strict
    assert f"at most {limits.MAX_EXPIRED_GRACE.days // 365} years" in text


def test_the_example_of_a_rule() -> None:
    rule = "acme-{serial_number} | cn"
    assert f"`{rule}`" in section(PAGE, "Identity rule")
    assert str(IdentityRule.parse(rule)) == rule
    assert str(limits.MAX_DEVICE_NAME_CHARACTERS) in section(PAGE, "Identity rule")


def test_numbers() -> None:
    text = " ".join(prose(PAGE).split())
    assert f"{limits.MAX_CRL_ENTRIES:,} entries and {limits.MAX_CRL_BYTES >> 20} MiB" in text
    assert (
        f"more than {limits.MAX_CHAIN_DEPTH} intermediates, more than {limits.MAX_CHAIN_CERTIFICATES} certificates"
        in text
    )
    assert f"more than {limits.MAX_CERTIFICATE_BYTES >> 10} KiB" in text
    assert f"has {len(CASES)} chains" in text
