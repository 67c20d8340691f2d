# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The receivers: Telegram, Slack, a mail server and a dead-man's switch, at this machine's end of the lab's bridge.

They take what the real ones take, and refuse what those refuse; a refusal is kept in `problems`.
"""

from __future__ import annotations

import datetime
import email
import email.policy
import hashlib
import html
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from shared.acting import until

BRIDGE = "172.30.57.1"
# A host's receivers have ports of their own, with the last number of its address: scenarios may run side by side.
WEB, MAIL = 18100, 18300
# As in molecule/shared/group_vars/told.yml.
SECRETS = {
    name: hashlib.sha256(name.encode()).hexdigest()[:35]
    for name in ("telegram", "critical", "email", "slack", "slack bot", "deadman")
}
# The bots by their tokens, with the chat that each may speak in, and the topic there.
BOTS = {f"1001:{SECRETS['telegram']}": ("-1001", "77"), f"1002:{SECRETS['critical']}": ("-1002", None)}
MAILBOXES = ["oncall@lab.internal", "owner@lab.internal"]
EVERYTHING = ("telegram -1001", "email", "slack", "slack bot")
TRUSTED = "/etc/ssl/certs/selfheal-lab-mail.pem"
UNIT = "prometheus-alertmanager.service"


@dataclass(frozen=True)
class Message:
    """What one receiver was told: `where` is kind and chat, the rest is as a person reads it."""

    where: str
    title: str
    text: str


@dataclass
class Receivers:
    """What all of them were told, in its order, and what they refused."""

    everything = EVERYTHING
    secrets = SECRETS

    told: list[Message] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    signals: list[float] = field(default_factory=list)

    def of(self, words: str, where: str = "") -> list[Message]:
        """The messages that hold the words."""
        found = [one for one in self.told if words in one.title or words in one.text]
        return [one for one in found if where in ("", one.where)]

    def wait(self, words: str, *places: str, seconds: float = 90.0) -> list[Message]:
        """Wait until each of the places (all that hear everything by default) was told the words, and return what."""
        wanted = places or EVERYTHING
        until(
            lambda: all(self.of(words, one) for one in wanted),
            seconds,
            lambda: f"{words!r} was told to {[one.where for one in self.of(words)]}; all: {self.told}; {self.problems}",
        )
        return [self.of(words, one)[0] for one in wanted]


class Refused(Exception):
    """What a real receiver would not take: (status, what it says)."""


def check(good: bool, status: int, what: str) -> None:
    """Raise Refused(status, what) unless good."""
    if not good:
        raise Refused(status, what)


def telegram(token: str, body: dict[str, Any]) -> Message:
    """As https://core.telegram.org/bots/api#sendmessage has it."""
    check(token in BOTS, 401, "Unauthorized")
    chat, topic = BOTS[token]
    check(str(body.get("chat_id")) == chat, 400, "Bad Request: chat not found")
    check(body.get("message_thread_id") == topic, 400, "Bad Request: message thread not found")
    text = body.get("text")
    check(isinstance(text, str) and bool(text.strip()), 400, "Bad Request: message text is empty")
    check(len(str(text).encode("utf-16-le")) // 2 <= 4096, 400, "Bad Request: message is too long")
    # With one of these, an underscore in the name of an app would end the message: "can't parse entities".
    check(not body.get("parse_mode"), 400, f"Bad Request: the text is not written for {body.get('parse_mode')}")
    title, _, rest = str(text).partition("\n")
    return Message(f"telegram {chat}", title, rest)


def slack(body: dict[str, Any], where: str, channel: str) -> Message:
    """As an incoming webhook takes it. Its own marks are &, < and >; what is meant as such has to be escaped."""
    check(body.get("channel") == channel, 404, "channel_not_found")
    attachments = body.get("attachments")
    check(isinstance(attachments, list) and len(attachments) == 1, 400, "no_text")
    assert isinstance(attachments, list)
    one = attachments[0]
    for key in ("fallback", "title"):
        check(bool(str(one.get(key) or "").strip()), 400, f"invalid_attachments: {key} is empty")
    check(one.get("color") in ("good", "warning", "danger"), 400, f"invalid_attachments: color {one.get('color')}")
    for key in ("fallback", "title", "text"):
        text = str(one.get(key) or "")
        marks = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        check(not set("&<>") & set(marks), 400, f"{key} is not escaped: {text}")
        check(len(text) <= 3000, 400, f"{key} is cut off by Slack")
    return Message(where, html.unescape(one["title"]), html.unescape(str(one.get("text") or "")))


def web(receivers: Receivers, port: int) -> ThreadingHTTPServer:
    """The receivers that are asked by HTTP, on a port of this machine; not yet serving."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(size)
            status, answer = 200, b"ok"
            try:
                check(self.headers.get_content_type() == "application/json", 415, "no JSON")
                answer = self.take(json.loads(raw))
            except Refused as refused:
                status, what = refused.args
                answer = json.dumps({"ok": False, "error_code": status, "error": what, "description": what}).encode()
                receivers.problems.append(f"{self.path}: {status} {what}: {raw[:2000]!r}")
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if answer.startswith(b"{") else "text/plain")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def take(self, body: dict[str, Any]) -> bytes:
            parts = self.path.strip("/").split("/")
            if parts[0].startswith("bot"):
                check(parts[1:] == ["sendMessage"], 404, "Not Found")
                receivers.told.append(telegram(parts[0].removeprefix("bot"), body))
                sent = {"message_id": 1, "date": 1, "chat": {"id": int(body["chat_id"]), "type": "group"}}
                return json.dumps({"ok": True, "result": {**sent, "text": body["text"]}}).encode()
            if parts == ["api", "chat.postMessage"]:
                # It answers 200 and ok: false to what it refuses: docs.slack.dev, reference, chat.postMessage.
                check(self.headers["Authorization"] == f"Bearer xoxb-{SECRETS['slack bot']}", 200, "invalid_auth")
                receivers.told.append(slack(body, "slack bot", "#bot"))
                return b'{"ok": true}'
            secret = SECRETS.get({"services": "slack", "ping": "deadman"}.get(parts[0], ""))
            check(parts[1:] == [secret], 404, "no_service")
            if parts[0] == "services":
                receivers.told.append(slack(body, "slack", "#alerts"))
            else:
                check(body["status"] == "firing", 400, "an end is no sign of life")
                receivers.signals.append(time.monotonic())
            return b"ok"

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: what was refused is kept."""

    return ThreadingHTTPServer((BRIDGE, port), Handler)


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate that is its own authority, for this run alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "selfheal lab mail")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(BRIDGE))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "mail.pem", folder / "mail.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


def mail(receivers: Receivers, port: int, context: ssl.SSLContext) -> Controller:
    """A mail server that takes nothing without TLS and a login."""

    def login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        right = LoginPassword(b"selfheal", SECRETS["email"].encode())
        good = isinstance(data, LoginPassword) and data == right
        if not good:
            receivers.problems.append(f"mail: {mechanism} with another name or password")
        return AuthResult(success=good)

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
            assert isinstance(envelope.content, bytes)
            found = email.message_from_bytes(envelope.content, policy=email.policy.default)
            body = found.get_body(("plain",))
            if envelope.mail_from != "selfheal@lab.internal" or sorted(envelope.rcpt_tos) != MAILBOXES or body is None:
                receivers.problems.append(f"mail: {envelope.mail_from} {envelope.rcpt_tos}: {envelope.content!r}")
                return "550 not for anybody here"
            title, _, text = str(body.get_content()).strip().replace("\r\n", "\n").partition("\n")
            if title != str(found["Subject"]):
                receivers.problems.append(f"mail: the subject is {found['Subject']}, the first line {title}")
            receivers.told.append(Message("email", title, text))
            return "250 taken"

    return Controller(
        Handler(),
        hostname=BRIDGE,
        port=port,
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=login,
        # Its LOGIN asks in words that Alertmanager does not know; its PLAIN is as the standard has it.
        auth_exclude_mechanism=["LOGIN"],
    )


@pytest.fixture(scope="module")
def trusted(host: Any, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """The host trusts the mail server's certificate, as it would one of a public authority."""
    public, context = certificate(tmp_path_factory.mktemp("mail"))
    host.check_output(f"cat >{TRUSTED} <<'END'\n{public.read_text(encoding='utf-8')}END")
    # It reads them once.
    host.check_output(f"systemctl restart {UNIT}")
    until(lambda: host.run("amtool --alertmanager.url=http://127.0.0.1:9093 config show").rc == 0)
    return context


@pytest.fixture(scope="module")
def receivers(host: Any, trusted: ssl.SSLContext) -> Iterator[Receivers]:
    """All of them, listening."""
    found = Receivers()
    number = int(host.backend.host.name.rpartition(".")[2])
    server, postman = web(found, WEB + number), mail(found, MAIL + number, trusted)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    postman.start()
    try:
        yield found
    finally:
        postman.stop()
        server.shutdown()
        server.server_close()
        # Seen with `pytest -s`: how it looks on a phone.
        for one in found.told:
            print(f"--- {one.where}\n{one.title}\n{one.text}")
