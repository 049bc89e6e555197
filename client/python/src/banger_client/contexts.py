"""Which server is meant: the contexts of the `banger` command, under what caller and environment say.

Reads `$XDG_CONFIG_HOME/banger/config.toml` (`~/.config/banger/config.toml`); the command writes it.
A server named by hand gets nothing from the current context: the token of one server is never sent
to another. A file with a token that others may read is refused, this configuration too.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._files import NotOurs, read_public, read_secret
from .errors import EndpointError

DEFAULT_SERVER = "http://127.0.0.1:7070"
DEFAULT_PORT = 7070


@dataclass(frozen=True)
class Endpoint:
    """A server that can be dialled, how it is trusted, and as whom to speak."""

    target: str
    """`host:port`."""
    tls: bool
    loopback: bool
    """Whether it is this machine itself."""
    ca: bytes | None = None
    """PEM."""
    token: str | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.target}"

    def __repr__(self) -> str:
        # The token is a secret; that there is one is not.
        return f"Endpoint({self.url!r}, token={self.token is not None})"


def parse_address(text: str) -> Endpoint:
    """Without a scheme it is http for this machine itself and https for any other."""

    def wrong(why: str) -> EndpointError:
        return EndpointError(
            f"{text!r} is no server address: {why}; write it like http://127.0.0.1:7070"
        )

    bare = text.strip()
    if not bare:
        raise wrong("it is empty")
    scheme, separator, rest = bare.partition("://")
    if not separator:
        scheme, rest = "", bare
    rest = rest.removesuffix("/")
    if re.search("[/?#]", rest):
        raise wrong("a server address has no path")
    if "@" in rest:
        raise wrong("a server address has no user name")
    parts = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(.*))?", rest)
    if parts is None:
        raise wrong("it is not host and port" if rest else "it names no host")
    host, digits = parts[1], parts[2]
    port = DEFAULT_PORT if digits is None else 0
    if digits is not None and re.fullmatch("[0-9]{1,5}", digits):
        port = int(digits)
    if not 0 < port < 65536:
        raise wrong("the port is not a number from 1 to 65535")
    loopback = _is_loopback(host)
    known = scheme.lower() if separator else "http" if loopback else "https"
    if known not in ("http", "https"):
        raise wrong("only http and https are known")
    return Endpoint(f"{host}:{port}", known == "https", loopback)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def contexts_path(env: Mapping[str, str] = os.environ) -> Path | None:
    """Where the file is, if there is a place for it."""
    xdg, home = env.get("XDG_CONFIG_HOME", ""), env.get("HOME", "")
    if xdg and Path(xdg).is_absolute():
        return Path(xdg) / "banger/config.toml"
    return Path(home) / ".config/banger/config.toml" if home else None


def resolve(
    server: str | None = None,
    *,
    context: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    insecure_plaintext: bool = False,
    env: Mapping[str, str] = os.environ,
) -> Endpoint:
    """Works out which server is meant. `insecure_plaintext` allows the token over plain http to
    another machine, where anyone on the way can read it."""
    context = context or env.get("BANGER_CONTEXT") or None
    server = server if server is not None else env.get("BANGER_SERVER") or None
    chosen = {} if context is None and server is not None else _context(context, env)
    at = parse_address(server if server is not None else _text(chosen, "server") or DEFAULT_SERVER)
    authority = ca or env.get("BANGER_CA") or _text(chosen, "ca")
    if token is None and token_file is None:
        token = env.get("BANGER_TOKEN") or None
        if token is None:
            token, token_file = _text(chosen, "token"), _text(chosen, "token_file")
    if token_file is not None:
        token = read_secret(token_file).decode("utf-8-sig", "replace")
    pem = None
    if authority is not None:
        pem = read_public(authority)
        # A CA that is silently passed over would show as "not trusted" much later.
        if b"-----BEGIN CERTIFICATE-----" not in pem:
            raise EndpointError(f"there is no PEM certificate in {os.fspath(authority)}")
    if token is not None:
        token = token.strip()
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise EndpointError("the token has characters that no token has")
        allowed = insecure_plaintext or chosen.get("insecure_plaintext") is True
        if not at.tls and not at.loopback and not allowed:
            raise EndpointError(
                f"refusing to send the token in plain text to {at.url}; use https"
            )
    return Endpoint(at.target, at.tls, at.loopback, pem, token)


def _context(name: str | None, env: Mapping[str, str]) -> Mapping[str, Any]:
    path = contexts_path(env)
    file = _load(path) if path is not None else {}
    name = name or _text(file, "current")
    if name is None:
        return {}
    contexts = _tables(file)
    if name not in contexts:
        known = ", ".join(sorted(contexts)) or "none"
        raise EndpointError(f"there is no context {name!r}; there are: {known}")
    return contexts[name]


def _load(path: Path) -> Mapping[str, Any]:
    refused: NotOurs | None = None
    try:
        try:
            content = read_secret(path)
        except NotOurs as error:
            # Whoever keeps tokens elsewhere may show it to everybody.
            refused, content = error, read_public(path)
        file = tomllib.loads(content.decode("utf-8-sig"))
    except EndpointError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise
    except ValueError as error:
        raise EndpointError(f"{path} is not a valid configuration: {error}") from error
    if refused and any("token" in context for context in _tables(file).values()):
        raise refused
    return file


def _tables(file: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    contexts = file.get("contexts")
    named = contexts.items() if isinstance(contexts, dict) else ()
    return {name: context for name, context in named if isinstance(context, dict)}


def _text(table: Mapping[str, Any], key: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise EndpointError(f"{key} in the configuration is no text")
    return value
