"""Foreign CAs: `openssl` and GnuTLS's `certtool`, by commands that a manufacturer would type."""

import subprocess
from pathlib import Path

from tests.interop.peers import program

ROOT_SUBJECT, ISSUING_SUBJECT = "/O=Works/CN=Works Root", "/O=Works/CN=Works Issuing"


class Openssl:
    """A CA hierarchy in a folder, by commands that a manufacturer would type."""

    def __init__(self, folder: Path) -> None:
        self._program = program("openssl")
        self.folder = folder

    def run(self, *arguments: str) -> str:
        succeeded, text = self.try_to(*arguments)
        assert succeeded, text
        return text

    def try_to(self, *arguments: str) -> tuple[bool, str]:
        return _run(self.folder, self._program, *arguments)

    def key(self, name: str, *kind: str) -> None:
        self.run(
            "genpkey", "-out", f"{name}.key", *(kind or ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))
        )

    def root(self, name: str, subject: str) -> None:
        self.key(name)
        self.run(
            "req", "-x509", "-new", "-key", f"{name}.key", "-subj", subject, "-days", "3650", "-out", f"{name}.pem"
        )

    def sign(
        self,
        name: str,
        subject: str,
        issuer: str,
        *extensions: str,
        options: tuple[str, ...] = (),
        kind: tuple[str, ...] = (),
    ) -> None:
        self.key(name, *kind)
        self.run("req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
        (self.folder / f"{name}.ext").write_text("".join(f"{line}\n" for line in extensions))
        more = ("-extfile", f"{name}.ext") if extensions else ()
        lifetime = () if "-days" in options else ("-days", "365")
        self.run(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"),
            *("-CAcreateserial", "-out", f"{name}.pem", *lifetime, *more, *options),
        )

    def der(self, name: str) -> bytes:
        self.run("x509", "-in", f"{name}.pem", "-outform", "DER", "-out", f"{name}.der")
        return (self.folder / f"{name}.der").read_bytes()

    def crl(
        self,
        name: str,
        issuer: str,
        *revoked: str,
        number: int = 1,
        digest: str = "sha256",
        more: tuple[str, ...] | None = (),
    ) -> bytes:
        """A list of `openssl ca`, as DER; of the certificates, or of `certificate:reason`. Seven days long.

        Args:
            name: Of the files.
            issuer: The CA.
            revoked: What it revokes.
            number: The cRLNumber.
            digest: Of the signature.
            more: Extensions besides the key id; None for a list of version 1, which has no extensions at all.
        """
        lines = ("authorityKeyIdentifier=keyid:always", *(more or ()))
        extensions = "" if more is None else "crl_extensions=them\n[them]\n" + "".join(f"{each}\n" for each in lines)
        config = self.folder / f"{name}.cnf"
        config.write_text(
            f"[ca]\ndefault_ca=it\n[it]\ndatabase={name}.index\ncrlnumber={name}.number\n"
            f"default_md={digest}\n{extensions}"
        )
        (self.folder / f"{name}.index").write_text("")
        (self.folder / f"{name}.number").write_text(f"{number:04x}\n")
        base = ("ca", "-config", config.name, "-keyfile", f"{issuer}.key", "-cert", f"{issuer}.pem")
        for each in revoked:
            certificate, _, reason = each.partition(":")
            why = ("-crl_reason", reason) if reason else ()
            self.run(*base, "-revoke", f"{certificate}.pem", *why)
        self.run(*base, "-gencrl", "-out", f"{name}.pem", "-crldays", "7")
        self.run("crl", "-in", f"{name}.pem", "-outform", "DER", "-out", f"{name}.der")
        return (self.folder / f"{name}.der").read_bytes()


class Certtool:
    """The same by GnuTLS."""

    def __init__(self, folder: Path) -> None:
        self._program = program("certtool")
        self.folder = folder

    def run(self, *arguments: str) -> str:
        succeeded, text = _run(self.folder, self._program, *arguments)
        assert succeeded, text
        return text

    def make(
        self,
        name: str,
        issuer: str | None,
        *template: str,
        key: tuple[str, ...] = ("--key-type", "ecdsa", "--curve", "secp256r1"),
    ) -> bytes:
        """A certificate by a template; self-signed without an issuer. Returns its DER."""
        self.run("--generate-privkey", *key, "--outfile", f"{name}.key")
        (self.folder / f"{name}.tmpl").write_text("".join(f"{line}\n" for line in template))
        ways = (
            ("--generate-self-signed",)
            if issuer is None
            else (
                *("--generate-certificate", "--load-ca-certificate", f"{issuer}.pem"),
                *("--load-ca-privkey", f"{issuer}.key"),
            )
        )
        self.run(*ways, "--load-privkey", f"{name}.key", "--template", f"{name}.tmpl", "--outfile", f"{name}.pem")
        self.run("--certificate-info", "--infile", f"{name}.pem", "--outder", "--outfile", f"{name}.der")
        return (self.folder / f"{name}.der").read_bytes()

    def crl(self, name: str, issuer: str, *revoked: str, number: int = 1) -> bytes:
        """A list, as DER. Seven days long."""
        (self.folder / f"{name}.tmpl").write_text(f"crl_next_update = 7\ncrl_number = {number}\n")
        (self.folder / f"{name}.revoked").write_bytes(
            b"".join((self.folder / f"{each}.pem").read_bytes() for each in revoked)
        )
        self.run(
            *("--generate-crl", "--load-ca-privkey", f"{issuer}.key", "--load-ca-certificate", f"{issuer}.pem"),
            *(("--load-certificate", f"{name}.revoked") if revoked else ()),
            *("--template", f"{name}.tmpl", "--outder", "--outfile", f"{name}.der"),
        )
        return (self.folder / f"{name}.der").read_bytes()

    def accepts(self, anchor: str, *chain: str) -> bool:
        """Whether GnuTLS verifies a chain, the device's certificate first; for no purpose in particular."""
        pem = b"".join((self.folder / f"{each}.pem").read_bytes() for each in chain)
        (self.folder / "chain.pem").write_bytes(pem)
        files = ("--load-ca-certificate", f"{anchor}.pem", "--infile", "chain.pem")
        return _run(self.folder, self._program, "--verify", *files)[0]


def _run(folder: Path, program: str, *arguments: str) -> tuple[bool, str]:
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr
