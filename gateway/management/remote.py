"""Asking a running gateway, over HTTP.

By `http.client`, not `urllib.request`: that one follows redirects with the token in its hand, and takes proxies from
the environment.
"""

import json
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from pydantic import ValidationError

from gateway.management.limits import MAX_ANSWER, REMOTE_TIMEOUT_S
from gateway.management.operation import A, G, Operation
from gateway.management.problems import Code, raise_problem
from gateway.registry import InvalidValue, RegistryError

_NO_URL = "the server's URL is not understood; give https://HOST:PORT or http://127.0.0.1:PORT"


class ServerError(RegistryError):
    """The gateway cannot be asked, or answers nothing that can be understood."""


class Remote:
    """`Management` by the admin port of a gateway."""

    def __init__(
        self, url: str, token: str, *, timeout_s: float = REMOTE_TIMEOUT_S, tls: ssl.SSLContext | None = None
    ) -> None:
        """Takes whom to ask. Opens no connection.

        Args:
            url: `https://HOST[:PORT][/PATH]`, or `http://` to this very machine.
            token: What `gateway token create` printed.
            timeout_s: Seconds for an answer.
            tls: How to verify the server; by the system's CAs, or those of SSL_CERT_FILE, by default.

        Raises:
            InvalidValue: The URL is another one.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise InvalidValue(_NO_URL) from None
        if host is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
            raise InvalidValue(_NO_URL)
        if parts.username is not None or parts.password is not None:
            raise InvalidValue("the server's URL holds a name or a password; give the token by --token-file alone")
        self._plain = parts.scheme == "http"
        if self._plain and not _is_loopback(host):
            raise InvalidValue(
                f"the token would go to {host} in plain text; give an https:// URL, such as that of a reverse proxy "
                "in front of the admin port, or go through `ssh -L`"
            )
        self._name = f"{parts.scheme}://{parts.netloc}"
        self._base = parts.path.rstrip("/")
        self._token = token
        self._connection: HTTPConnection = (
            HTTPConnection(host, port, timeout=timeout_s)
            if self._plain
            else HTTPSConnection(host, port, timeout=timeout_s, context=tls or ssl.create_default_context())
        )

    def __repr__(self) -> str:
        return f"Remote({self._name!r})"

    def do(self, operation: Operation[G, A], /, **given: Any) -> A:
        parsed = operation.parse(given)
        path, body = _request(operation, parsed)
        status, answer = self._ask(operation.method, path, body)
        if status >= 300:
            if status == 401:
                raise ServerError(
                    f"{self._name} does not take this token; make one there with `gateway token create` and name its "
                    "file with --token-file"
                )
            if answer.get("code") not in list(Code):
                raise ServerError(f"{self._name} answers {status}: {answer.get('error', 'and does not say why')}")
            raise_problem(answer)
        try:
            return operation.answer.model_validate(answer)
        except ValidationError:
            raise ServerError(f"{self._name} answers {status}, but not as this version's gateway does") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, dict[str, Any]]:
        connection = self._connection
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            # The server closes after each answer.
            connection.close()
            connection.connect()
            if self._plain and not ip_address(connection.sock.getpeername()[0].partition("%")[0]).is_loopback:
                raise ServerError(f"{self._name} is not this machine, whatever it is called: no token is sent to it")
            headers["Authorization"] = f"Bearer {self._token}"
            connection.request(method, self._base + path, body, headers)
            response = connection.getresponse()
            text = response.read(MAX_ANSWER + 1)
            response.close()
        except ssl.SSLCertVerificationError as error:
            raise ServerError(
                f"{self._name} cannot be verified: {error.verify_message}; put its CA into the file that "
                "SSL_CERT_FILE names"
            ) from error
        except (OSError, HTTPException) as error:
            connection.close()
            raise ServerError(
                f"{self._name} does not answer ({str(error) or type(error).__name__}); is the gateway running? See "
                "[admin] bind"
            ) from error
        try:
            answer = json.loads(text) if len(text) <= MAX_ANSWER else None
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ServerError(f"{self._name} answers {response.status}, but not as a gateway does; see --server")
        return response.status, answer


def _request(operation: Operation[G, A], given: G) -> tuple[str, bytes | None]:
    """Path with query, and body."""
    said = given.model_dump(mode="json", exclude_unset=True)
    path = operation.path
    for name in operation.path_fields:
        said.pop(name, None)
        # Nothing of a name may be taken for a part of the path.
        path = path.replace(f"{{{name}}}", quote(str(getattr(given, name)), safe=""), 1)
    if operation.has_body:
        return path, json.dumps(said).encode()
    query = urlencode({name: _word(value) for name, value in said.items() if value is not None})
    return (f"{path}?{query}" if query else path), None


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
