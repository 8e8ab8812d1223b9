"""Tell people: a message to a webhook that understands Slack's JSON, and by e-mail.

Addresses that let anyone post, and passwords, come from the environment and go into no message
and no log. The standard library sends them: apprise and requests log a webhook's path at DEBUG, and
apprise says only that it failed, and not why.
"""

from __future__ import annotations

import json
import smtplib
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from functools import partial
from urllib.parse import unquote, urlsplit

from sync_assets.config.automation import Alerts, Email
from sync_assets.engine.errors import ConfigurationError, TransientError
from sync_assets.plain_text import lines_shown, shown

WEBHOOK, SMTP = "SYNC_ALERT_WEBHOOK", "SYNC_ALERT_SMTP"
SENDER = "sync-assets@localhost"
TIMEOUT = 10.0
"""Seconds after which an attempt is given up."""

PAUSES = (0.0, 1.0, 3.0)
"""Seconds to wait before each attempt; there are as many attempts as pauses."""


class AlertNotSent(TransientError):
    """Check the variable that is named, and the server behind it."""

    reached_nobody = False
    """Whether it went none of the ways that are configured."""


def send(alerts: Alerts, environment: Mapping[str, str], subject: str, text: str) -> None:
    """Send by every way that is configured; raises AlertNotSent once all of them were tried."""
    subject, text = shown(subject), lines_shown(text)
    ways: list[tuple[str, Callable[[str], None]]] = []
    if alerts.webhook:
        ways.append((WEBHOOK, partial(_post, text=f"*{_for_slack(subject)}*\n{_for_slack(text)}")))
    if alerts.email:
        ways.append((SMTP, partial(_mail, email=alerts.email, subject=subject, text=text)))
    failed = [problem for name, way in ways if (problem := _tried(name, way, environment))]
    if failed:
        error = AlertNotSent(f"the alert {subject!r} was not sent: {'; '.join(failed)}")
        error.reached_nobody = len(failed) == len(ways)
        raise error


def _tried(name: str, way: Callable[[str], None], environment: Mapping[str, str]) -> str | None:
    """Try a way a few times; return what went wrong the last time."""
    url = environment.get(name, "").strip()
    if not url:
        return f"{name} is not set"
    for pause in PAUSES:
        threading.Event().wait(pause)
        try:
            way(url)
        except ConfigurationError as error:
            return f"{name}: {error.message}"
        except urllib.error.HTTPError as error:
            # It holds the connection.
            with error:
                problem = f"{name}: the server answered {error.code}"
        except (OSError, smtplib.SMTPException, ValueError) as error:
            # Their texts may quote the address.
            problem = f"{name}: {type(error).__name__}"
        else:
            return None
    return problem


def _for_slack(text: str) -> str:
    """Text whose names make no links: Slack's own escapes (its manual, "Formatting text")."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _post(url: str, text: str) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise ConfigurationError("is no http or https URL", remedy="")
    request = urllib.request.Request(  # noqa: S310 (the scheme was looked at)
        url,
        data=json.dumps({"text": text}).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "sync-assets"},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310 (likewise)
        pass


def _mail(url: str, email: Email, subject: str, text: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ConfigurationError("is no smtp://host:port or smtps://user:password@host", remedy="")
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = email.sender or SENDER
    message["To"] = ", ".join(email.to)
    message.set_content(text)
    context = ssl.create_default_context()
    if parts.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            parts.hostname, parts.port or 465, timeout=TIMEOUT, context=context
        )
    else:
        server = smtplib.SMTP(parts.hostname, parts.port or 25, timeout=TIMEOUT)
    with server:
        secure = parts.scheme == "smtps" or _secured(server, context)
        if parts.username:
            if not secure:
                raise ConfigurationError(
                    "the mail server offers no TLS, so it gets no password", remedy=""
                )
            server.login(unquote(parts.username), unquote(parts.password or ""))
        server.send_message(message)


def _secured(server: smtplib.SMTP, context: ssl.SSLContext) -> bool:
    server.ehlo()
    if not server.has_extn("starttls"):
        return False
    server.starttls(context=context)
    return True
