"""Files with a secret, and what lies beside them, by the rule of the `banger` command.

A secret that others than its owner may read is refused, whatever is in it, and so is one whose owner
is neither root nor the user of this process; root itself may use everybody's. What is no regular file
is refused too: a FIFO or a device may give nothing for ever. Kind, mode and owner are asked of the
file that is open, so that what was looked at is what is read.
"""

import os
import stat

from .errors import EndpointError

MAX_BYTES = 4 << 20
"""The most that is read: far above any token, certificate or configuration."""

# Without the first, to open a FIFO is to wait until somebody writes to it. Windows has neither.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class NotOurs(EndpointError):
    """Others can read the file, or it is somebody else's."""


def read_secret(path: str | os.PathLike[str]) -> bytes:
    """Raises `NotOurs` if the file is not this user's alone."""
    return _read(path, secret=True)


def read_public(path: str | os.PathLike[str]) -> bytes:
    """Reads what everybody may read, such as a certificate."""
    return _read(path, secret=False)


def _read(path: str | os.PathLike[str], *, secret: bool) -> bytes:
    name = os.fspath(path)
    try:
        descriptor = os.open(path, _FLAGS)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise EndpointError(f"{name} is {_kind(facts.st_mode)}, not a regular file")
            if secret:
                _refuse_what_is_not_ours(name, facts)
            content = _whole(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise EndpointError(f"could not read {name}") from error
    if len(content) > MAX_BYTES:
        raise EndpointError(f"could not read {name}: it is too large")
    return content


def _whole(descriptor: int) -> bytes:
    content = b""
    while len(content) <= MAX_BYTES:
        part = os.read(descriptor, MAX_BYTES + 1 - len(content))
        if not part:
            break
        content += part
    return content


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "a device"
    return "something else"


def may_own(owner: int, own: int) -> bool:
    """Whether a secret of this user may be used by that one."""
    return owner in (0, own) or own == 0


def _refuse_what_is_not_ours(name: str, facts: os.stat_result) -> None:
    # Where there are no such users and modes, what the system says of them means nothing.
    if not hasattr(os, "geteuid"):
        return
    mode = facts.st_mode & 0o777
    if mode & 0o077:
        raise NotOurs(
            f"{name} has mode {mode:o}; others than its owner may read it: chmod 600 it, and chown "
            "it to the user of the service"
        )
    if not may_own(facts.st_uid, os.geteuid()):
        raise NotOurs(
            f"{name} belongs to user {facts.st_uid}, who may read and change it; chown it to the "
            "user of the service"
        )
