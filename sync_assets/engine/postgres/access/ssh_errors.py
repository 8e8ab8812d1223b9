"""What `ssh` says when it fails, and how each of it is mended."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sync_assets.engine import errors
from sync_assets.engine.postgres.access.programs import in_short, printable

NOT_INSTALLED = (
    "Install OpenSSH's client (Debian: apt-get install openssh-client), or put ssh on the PATH."
)
PORT_TAKEN = re.compile("could not request local forwarding|address already in use", re.IGNORECASE)

_TO_BE_LET_IN = (
    "Its authorized_keys must have a public key of the account that runs this; ssh-add -l lists those of the"
    " agent, and IdentityFile in ~/.ssh/config names another. A key with a passphrase needs the agent. By"
    " hand: ssh -o BatchMode=yes {0}"
)
_LOST = (
    "timed out|timeout|no route to host|network is unreachable|connection closed|connection reset"
    "|closed by remote host|broken pipe|kex_exchange_identification|not responding"
)

_KNOWN: tuple[tuple[str, type[errors.SyncError], str, str], ...] = (
    (
        "remote host identification has changed",
        errors.ConnectionFailed,
        "the host key of {0} is another than known_hosts has",
        "Ask its people whether it was changed. Only then ssh-keygen -R its name, and accept the new one: ssh {0}",
    ),
    (
        "host key verification failed|host key is known for",
        errors.ConnectionFailed,
        "the host key of {0} is not known here",
        "Connect once by hand, as the account that runs this, compare the fingerprint, and accept it: ssh {0}",
    ),
    (
        "permission denied|too many authentication failures|no more authentication methods",
        errors.ConnectionFailed,
        "{0} refuses our key",
        _TO_BE_LET_IN,
    ),
    (
        "temporary failure in name resolution",
        errors.ConnectionLost,
        "the name of {0} cannot be looked up now",
        "Run it again once names can be looked up.",
    ),
    (
        "could not resolve hostname",
        errors.ConnectionFailed,
        "there is no host {0}",
        "Write its name as ssh takes it: user@host, a Host of ~/.ssh/config, or ssh://user@host:port.",
    ),
    (
        "bad configuration option|bad owner or permissions|terminating, .* bad configuration|unsupported option",
        errors.ConfigurationError,
        "ssh does not take its configuration for {0}",
        "Mend ~/.ssh/config or /etc/ssh/ssh_config. By hand: ssh -G {0}",
    ),
    (
        "connection refused",
        errors.ConnectionLost,
        "nobody answers SSH at {0}",
        "Check host and port, and that its sshd runs. By hand: ssh {0}",
    ),
    (
        _LOST,
        errors.ConnectionLost,
        "the SSH connection to {0} does not hold",
        "Run it again once {0} answers. By hand: ssh {0}",
    ),
)
"""By what ssh says: the kind of error, what it says of the destination, and the remedy."""

_REFUSED: tuple[tuple[str, type[errors.SyncError], str, str], ...] = (
    (
        "administratively prohibited",
        errors.ConnectionFailed,
        "{0} does not forward to {1}",
        "Let its sshd do so: AllowTcpForwarding yes (or local), and PermitOpen {1} where PermitOpen is set.",
    ),
    (
        "name or service not known|name resolution|no address",
        errors.ConnectionFailed,
        "{0} knows no host of {1}",
        "Write host and port in the URL as the bastion sees them.",
    ),
    (
        "connect failed|connection refused|timed out",
        errors.ConnectionLost,
        "{0} does not reach {1}",
        "Check host and port in the URL, as the bastion sees them, and that the database listens there.",
    ),
)
"""What is said of a connection that ssh was asked to forward, with kind, words and remedy as above."""

_OPEN_FAILED = re.compile(r"open failed: (.*)", re.IGNORECASE)


def ended(
    destination: str, side: str, said: Sequence[str], after: float | None = None
) -> errors.SyncError:
    """The error for a tunnel that is not there: what ssh said, or `after` how many seconds it was given up."""
    known = f"the SSH tunnel to the {side}: "
    # What it says of single connections, and goes on, is none; nor is a banner, which comes first.
    lines = [line for line in reversed(said) if not _OPEN_FAILED.search(line)]
    changed = [line for line in lines if re.search(_KNOWN[0][0], line, re.IGNORECASE)]
    for line in changed or lines:
        for pattern, kind, what, remedy in _KNOWN:
            if re.search(pattern, line, re.IGNORECASE):
                return kind(
                    f"{known}{what.format(destination)} ({_short(line)})",
                    remedy=remedy.format(destination),
                )
    if after is not None:
        why = f"{destination} was not there within {after:.0f} s"
    else:
        why = f"ssh to {destination} has ended" + (f": {_short(lines[0])}" if lines else "")
    return errors.ConnectionLost(
        known + why, remedy=f"Run it again. Where it happens again, look by hand: ssh {destination}"
    )


def not_forwarded(
    destination: str, side: str, place: tuple[str, int], said: Sequence[str]
) -> errors.SyncError | None:
    """The error for a connection that the destination did not forward; None where it says nothing of one."""
    reasons = [found[1] for line in said if (found := _OPEN_FAILED.search(line))]
    if not reasons:
        return None
    there = "{}:{}".format(*place)
    for pattern, kind, what, remedy in _REFUSED:
        if re.search(pattern, reasons[-1], re.IGNORECASE):
            return kind(
                f"the SSH tunnel to the {side}: {what.format(destination, there)} ({_short(reasons[-1])})",
                remedy=remedy.format(destination, there),
            )
    return errors.ConnectionLost(
        f"the SSH tunnel to the {side}: {destination} does not forward to {there} ({_short(reasons[-1])})"
    )


def _short(line: str) -> str:
    return in_short(printable(line).strip().rstrip("."))
