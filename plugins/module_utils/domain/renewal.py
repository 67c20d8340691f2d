# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The certificate of an app's domain: when a new one is due, and how it comes into use.

HAProxy answers the CA's challenges by itself: the answer is the challenge's token and the thumbprint of the account. So
nothing else listens, no request is lost, and the key of a certificate is never where a web server serves files.

The certificate in use is replaced only by one that is whole, is for the names, and passes HAProxy's own check.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..core.clock import Clock, iso
from ..core.files import atomic_write, explain, readable
from ..core.locks import hold_lock
from ..probe import web
from ..records import state
from ..records.state import CertificateMemory, CertificateProblem
from ..releases import haproxy
from . import authority, certificate
from .certificate import Certificate, CertificateError
from .config import Domain

# A certificate is renewed when a third of its time is left, as Let's Encrypt advises: 30 of 90 days, 2 of 6.
RENEW_PART = 3
# The timer comes once an hour. Where an attempt fails it waits for as long as that lasts already, up to this.
LONGEST_WAIT_SECONDS = 12 * 3600.0
# Longer than an order may take: a second run waits for the first, and finds its certificate.
LOCK_SECONDS = authority.ORDER_SECONDS + 60.0
_NO_NAME = "challenge"
_ASKED = "selfheal-asks-itself"
_ASK_SECONDS = 5.0


class DomainError(Exception):
    """The certificate could not be had. The message says why, what serves meanwhile, and what to do."""


class Renewed(NamedTuple):
    """What was done, and why; "" where nothing was due. `certificate` is the one in use after it."""

    changed: bool
    why: str
    certificate: Certificate


class InUse(NamedTuple):
    """The certificate in use, and the URL of the CA that issued it."""

    certificate: Certificate
    directory: str


# --- decisions -------------------------------------------------------------------------------------------------------


def due(names: Sequence[str], directory: str, used: InUse | None, now: float) -> str:
    """Why a new certificate is needed; "" when the one in use is good. Pure."""
    if used is None or used.certificate.is_self_signed:
        return "there is no certificate yet"
    held = used.certificate
    missing, left_over = set(names) - set(held.names), set(held.names) - set(names)
    if missing:
        return f"the certificate in use is not for {', '.join(sorted(missing))}"
    if left_over:
        return f"the certificate in use is also for {', '.join(sorted(left_over))}"
    if used.directory != directory:
        return f"the certificate in use is from {used.directory or 'the default CA'}"
    if held.ends - now < (held.ends - held.begins) / RENEW_PART:
        return f"the certificate in use ends {iso(held.ends)[:16].replace('T', ' ')} UTC"
    return ""


def is_too_soon(problem: CertificateProblem | None, now: float) -> bool:
    """Whether the timer leaves out its turn, since the last attempts failed. Pure."""
    if problem is None or now < problem["tried"]:
        return False
    return now - problem["tried"] < min(LONGEST_WAIT_SECONDS, problem["tried"] - problem["since"])


def map_text(mark: str, names: Sequence[str]) -> str:
    """The map that HAProxy reads: the thumbprint, and the names whose plain HTTP goes on to HTTPS. Pure."""
    rows = [f"{_NO_NAME} {mark}", *(f"{name} https" for name in sorted(names))]
    return "# Written by christmas.selfheal (selfheal certificate)\n" + "\n".join(rows) + "\n"


# --- the files -------------------------------------------------------------------------------------------------------


def _account(domain: Domain) -> str:
    return os.path.join(domain.paths.domain, "account.key")


def unprepared(domain: Domain) -> list[str]:
    """Which files of the domain are missing or damaged."""
    files = haproxy.domain_files(domain.paths)
    pairs = ((files.pem, files.kept_pem), (files.map, files.kept_map))
    different = [path for path, copy in pairs if readable(path) is None or readable(path) != readable(copy)]
    try:
        certificate.thumbprint(_account(domain))
    except CertificateError:
        return [_account(domain), *different]
    return different


def prepare(domain: Domain) -> list[str]:
    """Make what HAProxy reads when it is missing or damaged: the account, a certificate, the map.

    Of a certificate that is damaged the copy is put back; without one, HAProxy starts with a self-signed one.

    :returns: the paths that were written.
    :raises LockHeld, CertificateError, OSError:
    """
    with hold_lock(domain.paths.domain_lock, LOCK_SECONDS, f"prepare the domain of {domain.paths.name}"):
        written = _prepare(domain)
        if set(written) & set(haproxy.domain_files(domain.paths)):
            haproxy.reload()
        return written


def _prepare(domain: Domain) -> list[str]:
    wrong = unprepared(domain)
    if not wrong:
        return []
    files = haproxy.domain_files(domain.paths)
    os.makedirs(domain.paths.domain, mode=0o700, exist_ok=True)
    os.makedirs(os.path.dirname(files.pem), mode=0o755, exist_ok=True)
    with _work(domain) as folder:
        if _account(domain) in wrong:
            atomic_write(_account(domain), certificate.make_account_key().encode())
        used = _held(files.kept_pem)
        if used is None:
            key = os.path.join(folder, "key")
            atomic_write(key, certificate.make_key().encode())
            atomic_write(files.kept_pem, certificate.make_self_signed(domain.names, key).encode() + _bytes(key))
            used = certificate.read(files.kept_pem)
        # An account that was made again has another thumbprint.
        _write_map(domain, used)
        _publish(files)
    return wrong


def _write_map(domain: Domain, used: Certificate) -> None:
    files, names = haproxy.domain_files(domain.paths), () if used.is_self_signed else used.names
    atomic_write(files.kept_map, map_text(certificate.thumbprint(_account(domain)), names).encode())


def _publish(files: haproxy.DomainFiles) -> None:
    """Put the copies where HAProxy reads them. Either is whole with the other as it was."""
    atomic_write(files.pem, _bytes(files.kept_pem))
    atomic_write(files.map, _bytes(files.kept_map), mode=0o644)


def _held(path: str) -> Certificate | None:
    try:
        return certificate.read(path)
    except CertificateError:
        return None


def _bytes(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


@contextlib.contextmanager
def _work(domain: Domain) -> Iterator[str]:
    """A folder for the files of one order. What a killed one left goes first: the lock is held."""
    folder = os.path.join(domain.paths.domain, "order")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder, mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- a renewal -------------------------------------------------------------------------------------------------------


def in_use(domain: Domain) -> InUse | None:
    """The certificate in use; None when there is none, or it is damaged."""
    held = _held(haproxy.domain_files(domain.paths).kept_pem)
    record = state.read_certificate(domain.paths.certificate)
    return held and InUse(held, record["directory"] if record else domain.directory)


def renew(domain: Domain, clock: Clock, force: bool = False, patient: bool = False) -> Renewed:
    """Get a certificate when one is due, and have HAProxy use it.

    :arg force: get one although none is due.
    :arg patient: leave out this turn when the last attempts failed, as the timer does.
    :raises DomainError: why there is none. The one in use stays.
    :raises LockHeld: another renewal goes on.
    """
    with hold_lock(domain.paths.domain_lock, LOCK_SECONDS, f"renew the certificate of {domain.paths.name}"):
        try:
            if _prepare(domain):
                haproxy.reload()
            used = in_use(domain)
            why = due(domain.names, domain.directory, used, clock.now())
            record = state.read_certificate(domain.paths.certificate)
            if used and not (why or force):
                _remember(domain, used, None)
                return Renewed(False, "", used.certificate)
            if used and patient and is_too_soon(record["problem"] if record else None, clock.now()):
                return Renewed(False, f"{why}, and the next attempt is later: the last ones failed", used.certificate)
            issued = _order(domain, clock)
            _remember(domain, InUse(issued, domain.directory), None)
            return Renewed(True, why or "it was asked for", issued)
        except DomainError as error:
            _remember_problem(domain, str(error), clock.now())
            raise
        except (CertificateError, haproxy.BalancerError, OSError) as error:
            text = _sorry(domain, f"{_explained(error).rstrip('.')}. {_meanwhile(domain)}")
            _remember_problem(domain, text, clock.now())
            raise DomainError(text) from error


def _order(domain: Domain, clock: Clock) -> Certificate:
    _ask_haproxy(domain)
    with _work(domain) as folder:
        key, request, candidate = (os.path.join(folder, name) for name in ("key", "request", "candidate.pem"))
        atomic_write(key, certificate.make_key().encode())
        atomic_write(request, certificate.make_request(domain.names, key).encode())
        placed = authority.place(
            authority.Order(_account(domain), request, folder, domain.email, domain.directory, domain.ca_file)
        )
        if placed.code:
            reason, fix = authority.refusal(placed)
            raise DomainError(_sorry(domain, f"{reason}. {_meanwhile(domain)} Fix: {fix}."))
        atomic_write(candidate, certificate.chain(placed.out).encode() + _bytes(key))
        issued = certificate.read(candidate)
        _check(domain, issued, candidate, clock.now())
        _put_into_use(domain, candidate, issued)
    return issued


def _ask_haproxy(domain: Domain) -> None:
    """Ask HAProxy as the CA will, so that an attempt that has to fail is not counted by the CA."""
    wanted = f"{_ASKED}.{certificate.thumbprint(_account(domain))}"
    host = f"[{domain.address}]" if ":" in domain.address else domain.address
    url = f"http://{host}/.well-known/acme-challenge/{_ASKED}"
    try:
        answer = web.fetch(web.Request(url, headers=(("Host", domain.names[0]),), timeout=_ASK_SECONDS))
        said = f"status {answer.status}" if answer.status != 200 else "another answer"
        if answer.status == 200 and answer.body.decode("ascii", "replace").strip() == wanted:
            return
    except web.Fault as fault:
        said = str(fault)
    problem = f"HAProxy on this host does not answer the CA's challenge on port 80 ({said}), so the CA was not asked"
    fix = "run christmas.selfheal.site; `systemctl status haproxy` shows its state"
    raise DomainError(_sorry(domain, f"{problem}. {_meanwhile(domain)} Fix: {fix}."))


def _sorry(domain: Domain, reason: str) -> str:
    return f"{', '.join(domain.names)}: no new certificate: {reason}"


def _meanwhile(domain: Domain) -> str:
    used = in_use(domain)
    if used is None or used.certificate.is_self_signed:
        return "The app goes on by plain HTTP."
    return f"The certificate in use stays ({used.certificate.describe()})."


def _check(domain: Domain, issued: Certificate, candidate: str, now: float) -> None:
    missing = set(domain.names) - set(issued.names)
    if missing:
        raise CertificateError(f"the CA's certificate is not for {', '.join(sorted(missing))}; it is not used")
    if issued.ends <= now:
        ended = iso(issued.ends)
        raise CertificateError(f"the CA's certificate ended {ended}: check this host's clock (timedatectl)")
    refused = haproxy.refusal(domain.paths, {haproxy.domain_files(domain.paths).pem: candidate})
    if refused:
        raise CertificateError(f"HAProxy does not take the new certificate, so it is not used: {refused}")


def _put_into_use(domain: Domain, candidate: str, issued: Certificate) -> None:
    """Replace the certificate; when HAProxy does not come up with it, the one before comes back."""
    files = haproxy.domain_files(domain.paths)
    before = (_bytes(files.kept_pem), _bytes(files.kept_map))
    try:
        atomic_write(files.kept_pem, _bytes(candidate))
        _write_map(domain, issued)
        _publish(files)
        haproxy.reload()
    except (OSError, CertificateError, haproxy.BalancerError):
        with contextlib.suppress(OSError, haproxy.BalancerError):
            atomic_write(files.kept_pem, before[0])
            atomic_write(files.kept_map, before[1])
            _publish(files)
            haproxy.reload()
        raise


# --- the record ------------------------------------------------------------------------------------------------------


def _remember(domain: Domain, used: InUse | None, problem: CertificateProblem | None) -> None:
    held = used.certificate if used and not used.certificate.is_self_signed else None
    record: CertificateMemory = {
        "wanted": list(domain.names),
        "names": list(held.names) if held else [],
        "begins": held.begins if held else 0.0,
        "ends": held.ends if held else 0.0,
        "directory": used.directory if used else "",
        "problem": problem,
    }
    if record != state.read_certificate(domain.paths.certificate):
        os.makedirs(domain.paths.state, mode=0o700, exist_ok=True)
        atomic_write(domain.paths.certificate, (json.dumps(record, indent=1) + "\n").encode())


def _remember_problem(domain: Domain, text: str, now: float) -> None:
    """Record why there is none: the watcher notifies people. A full disk may be the reason."""
    before = state.read_certificate(domain.paths.certificate)
    since = before["problem"]["since"] if before and before["problem"] else now
    with contextlib.suppress(OSError):
        _remember(domain, in_use(domain), {"text": text, "since": since, "tried": now})


def _explained(error: Exception) -> str:
    return explain(error) if isinstance(error, OSError) else str(error)
