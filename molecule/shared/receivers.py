# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The receivers: Telegram, Slack, a mail server and a dead-man's switch, at this machine's end of the lab's bridge.

They accept and refuse the same as the real ones; a refusal is kept in `problems`.
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
# The ports of a host's receivers contain the last number of its address, so that scenarios may run at the same time.
WEB, MAIL = 18100, 18300
# As in molecule/shared/group_vars/notified.yml.
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
    """A message that one receiver got: `where` is kind and chat, the rest is the text that a person reads."""

    where: str
    title: str
    text: str


@dataclass
class Receivers:
    """The messages of all receivers, in order, and their refusals."""

    everything = EVERYTHING
    secrets = SECRETS

    received: list[Message] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    signals: list[float] = field(default_factory=list)

    def of(self, words: str, where: str = "") -> list[Message]:
        """The messages that contain the words."""
        found = [one for one in self.received if words in one.title or words in one.text]
        return [one for one in found if where in ("", one.where)]

    def wait(self, words: str, *places: str, seconds: float = 90.0) -> list[Message]:
        """Wait until each place (by default all that get every message) has a message with the words; return them."""
        wanted = places or EVERYTHING
        until(
            lambda: all(self.of(words, one) for one in wanted),
            seconds,
            lambda: f"{words!r} reached {[one.where for one in self.of(words)]}; all: {self.received}; {self.problems}",
        )
        return [self.of(words, one)[0] for one in wanted]


class Refused(Exception):
    """A message that a real receiver would refuse: (status, its answer)."""


def check(good: bool, status: int, what: str) -> None:
    """Raise Refused(status, what) unless good."""
    if not good:
        raise Refused(status, what)


def telegram(token: str, body: dict[str, Any]) -> Message:
    """As specified in https://core.telegram.org/bots/api#sendmessage."""
    check(token in BOTS, 401, "Unauthorized")
    chat, topic = BOTS[token]
    check(str(body.get("chat_id")) == chat, 400, "Bad Request: chat not found")
    check(body.get("message_thread_id") == topic, 400, "Bad Request: message thread not found")
    text = body.get("text")
    check(isinstance(text, str) and bool(text.strip()), 400, "Bad Request: message text is empty")
    check(len(str(text).encode("utf-16-le")) // 2 <= 4096, 400, "Bad Request: message is too long")
    # With one of these, an underscore in the name of an app would end the message: "can't parse entities".
    check(not body.get("parse_mode"), 400, f"Bad Request: the text is not written for {body.get('parse_mode')}")
    title, _unused, rest = str(text).partition("\n")
    return Message(f"telegram {chat}", title, rest)


def slack(body: dict[str, Any], where: str, channel: str) -> Message:
    """As an incoming webhook accepts it. &, < and > are its markup, and have to be escaped in plain text."""
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
        unescaped = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        check(not set("&<>") & set(unescaped), 400, f"{key} is not escaped: {text}")
        check(len(text) <= 3000, 400, f"{key} is cut off by Slack")
    return Message(where, html.unescape(one["title"]), html.unescape(str(one.get("text") or "")))


def web(receivers: Receivers, port: int) -> ThreadingHTTPServer:
    """The receivers with HTTP, on a port of this machine; not yet serving."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(size)
            status, answer = 200, b"ok"
            try:
                check(self.headers.get_content_type() == "application/json", 415, "not JSON")
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
                receivers.received.append(telegram(parts[0].removeprefix("bot"), body))
                sent = {"message_id": 1, "date": 1, "chat": {"id": int(body["chat_id"]), "type": "group"}}
                return json.dumps({"ok": True, "result": {**sent, "text": body["text"]}}).encode()
            if parts == ["api", "chat.postMessage"]:
                # It answers 200 and ok: false to what it refuses: docs.slack.dev, reference, chat.postMessage.
                check(self.headers["Authorization"] == f"Bearer xoxb-{SECRETS['slack bot']}", 200, "invalid_auth")
                receivers.received.append(slack(body, "slack bot", "#bot"))
                return b'{"ok": true}'
            secret = SECRETS.get({"services": "slack", "ping": "deadman"}.get(parts[0], ""))
            check(parts[1:] == [secret], 404, "no_service")
            if parts[0] == "services":
                receivers.received.append(slack(body, "slack", "#alerts"))
            else:
                check(body["status"] == "firing", 400, "only a firing alert is a sign of life")
                receivers.signals.append(time.monotonic())
            return b"ok"

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: refusals are kept in `problems`."""

    return ThreadingHTTPServer((BRIDGE, port), Handler)


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for this run."""
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
    """A mail server that requires TLS and a login."""

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
                return "550 unknown recipient"
            title, _unused, text = str(body.get_content()).strip().replace("\r\n", "\n").partition("\n")
            if title != str(found["Subject"]):
                receivers.problems.append(f"mail: the subject is {found['Subject']}, the first line {title}")
            receivers.received.append(Message("email", title, text))
            return "250 taken"

    return Controller(
        Handler(),
        hostname=BRIDGE,
        port=port,
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=login,
        # Alertmanager does not know the prompts of its LOGIN; its PLAIN follows the standard.
        auth_exclude_mechanism=["LOGIN"],
    )


@pytest.fixture(scope="module")
def trusted(host: Any, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Make the host trust the mail server's certificate, as it would trust a public authority's."""
    public, context = certificate(tmp_path_factory.mktemp("mail"))
    host.check_output(f"cat >{TRUSTED} <<'END'\n{public.read_text(encoding='utf-8')}END")
    # Alertmanager reads certificates at its start only.
    host.check_output(f"systemctl restart {UNIT}")
    until(lambda: host.run("amtool --alertmanager.url=http://127.0.0.1:9093 config show").rc == 0)
    return context


@pytest.fixture(scope="module")
def receivers(host: Any, trusted: ssl.SSLContext) -> Iterator[Receivers]:
    """All receivers, listening."""
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
        # `pytest -s` shows the messages as on a phone.
        for one in found.received:
            print(f"--- {one.where}\n{one.title}\n{one.text}")
