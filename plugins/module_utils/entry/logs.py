# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`selfheal logs`: what an app's containers have logged, the lines of all services in order, without secrets."""

from __future__ import annotations

import calendar
import contextlib
import heapq
import io
import itertools
import os
import re
import select
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..core.files import readable
from ..core.redact import hide_passwords
from ..core.redact_stream import Forms, Stream
from ..docker import containers as docker_containers
from ..docker import logs as docker_logs
from ..docker.containers import Document
from ..docker.engine import EngineError
from ..docker.logs import ContainerLog, Message
from ..env import dotenv
from ..env import history as env_history
from ..env import read as env_file
from ..health import evidence
from ..probe.web import USER_AGENT
from ..recovery import config as agent_config
from ..recovery.config import Config
from ..releases import store as release_store
from .log_lines import Line, Reading
from .outcome import GOOD, Refused

LONGEST = 100 * 86400
"""The longest --since, in seconds."""

# Without --since, so many lines of each container; and so many are looked at for them, as our checks fill some logs.
_LINES, _LOOKED_AT = 100, 5000
# A longer line is shown in several, each with this mark at its end.
_LONGEST_LINE, _GOES_ON = 65536, " …"
# How often containers that are new are looked for, and how long lines are collected to be put in order (s).
_LOOK_SECONDS, _COLLECT_SECONDS = 1.0, 0.1
# Select Graphic Rendition of a terminal (ECMA-48); any other control character could do more to one than colour it.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Wanted(NamedTuple):
    """What is to be shown: the logs of some services (() for all), of the last so many seconds (0: the last lines).

    `all`: also the requests that name our checks, and every repetition.
    """

    services: Sequence[str]
    seconds: int
    all: bool = False


def show(config: Config, wanted: Wanted, follow: bool) -> int:
    """Print the logs; return the exit code. Raises Refused for a service that the app does not have."""
    try:
        _check(config, wanted.services, docker_containers.documents(config.app.name))
        if follow:
            _Following(config, wanted).run()
        else:
            reading = None if wanted.all else Reading(config.app.checks)
            _print(_merged(config, wanted, reading))
            if reading and reading.left_out():
                _note(reading.left_out())
    except EngineError as problem:
        raise Refused(f"{problem}. What incidents have kept of logs is in {config.app.paths.incidents}") from None
    except KeyboardInterrupt:
        return GOOD
    except BrokenPipeError:
        _let_go()
    return GOOD


def _let_go() -> None:
    """Who reads has seen enough: write elsewhere, or Python would complain once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check(config: Config, services: Sequence[str], documents: Sequence[Document]) -> None:
    known = sorted({*_released(config), *map(_service, documents)})
    for service in filter(lambda one: one not in known, services):
        have = f"it has {', '.join(known)}" if known else "it has no containers"
        raise Refused(f"{config.app.name} has no service {service!r}; {have}")


def _released(config: Config) -> Iterable[str]:
    good = release_store.last_good(config.app.paths.directory)
    return good["services"] if good else ()


def _service(document: Document) -> str:
    return docker_containers.label(document, "service")


def _shown(document: Document) -> str:
    number = docker_containers.label(document, "container-number") or "1"
    return _service(document) if number == "1" else f"{_service(document)}-{number}"


def _print(lines: Iterable[Line]) -> None:
    with contextlib.suppress(AttributeError):
        # A terminal of another encoding.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for line in lines:
        sys.stdout.write(f"{line.label} | {f'{line.time[:19]}Z ' if line.time else ''}{hide_passwords(line.text)}\n")
    sys.stdout.flush()


# --- secrets ----------------------------------------------------------------------------------------------------------


def _forms(config: Config, documents: Sequence[Document], before: Forms | None = None) -> Forms:
    """All values to hide: those of the env, of its history, and of what the containers run with."""
    variables, paths = config.app.variables, config.app.paths
    env = env_file.read(paths, variables, time.time())
    running = {f"in {str(one['Name']).lstrip('/')}": docker_containers.environment(one) for one in documents}
    found = evidence.known_secrets(variables, env, {**dict(_older(config)), **running}, None)
    # Of equal values, the one in force names them.
    return Forms({name: found[name] for name in reversed(found)}, before)


def _older(config: Config) -> Iterator[tuple[str, dict[str, str]]]:
    """Earlier envs, each with what it is in words."""
    history = config.app.paths.history
    for version in env_history.versions(history) if os.path.isdir(history) else []:
        # One that is damaged was in force no more.
        with contextlib.suppress(UnicodeDecodeError, dotenv.DotenvError):
            text = (readable(os.path.join(history, version["file"])) or b"").decode("utf-8")
            yield f"in the earlier env {version['file'].removesuffix('.env')}", dotenv.parse(text)


# --- one container ----------------------------------------------------------------------------------------------------


class _Text:
    """One of a container's two streams: messages → lines without secrets."""

    def __init__(self, forms: Forms) -> None:
        self.stream = Stream(forms)
        self._long = ""
        self._rest = ""

    def take(self, messages: Sequence[Message]) -> list[tuple[str, str]]:
        """Return the lines that are complete, each with its time."""
        if not self._long and not self._rest:
            # What is complete and holds no secret is looked at in one go.
            text = _clean("".join(message.text for message in messages))
            lines = text.split("\n")[:-1]
            is_whole = text.endswith("\n") and len(lines) == len(messages) and self.stream.passes(text)
            if is_whole and max(map(len, lines)) <= _LONGEST_LINE:
                return [(message.time, line) for message, line in zip(messages, lines)]
        found: list[tuple[str, str]] = []
        for message in messages:
            self._long += message.text
            if self._long.endswith("\n") or len(self._long) >= _LONGEST_LINE:
                part, self._long = self._long, ""
                found += [(message.time, text) for text in self._cut(self.stream.feed(_clean(part)))]
        return found

    def end(self, time_: str) -> list[tuple[str, str]]:
        """Return what is left when the log ends."""
        part, self._long = self._long, ""
        shown = self.stream.feed(_clean(part)) + self.stream.end()
        return [(time_, text) for text in self._cut(shown + "\n") if text]

    def _cut(self, text: str) -> Iterator[str]:
        """The complete lines; one that grows too long is cut."""
        *complete, rest = f"{self._rest}{text}".split("\n")
        for line in complete:
            yield from _pieces(line)
        while len(rest) >= _LONGEST_LINE:
            yield rest[:_LONGEST_LINE] + _GOES_ON
            rest = rest[_LONGEST_LINE:]
        self._rest = rest


def _pieces(line: str) -> Iterator[str]:
    while len(line) > _LONGEST_LINE:
        yield line[:_LONGEST_LINE] + _GOES_ON
        line = line[_LONGEST_LINE:]
    yield line


def _clean(text: str) -> str:
    if not _CONTROL.search(text):
        return text
    return _CONTROL.sub("?", _COLOUR.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


class _Reader:
    """The log of one container as lines.

    :arg after: what was logged until then is left out.
    """

    def __init__(self, document: Document, forms: Forms, log: ContainerLog, after: str = "") -> None:
        self.log, self.label, self.last, self._after = log, _shown(document), after, after
        self._texts = {one: _Text(forms) for one in (docker_logs.OUTPUT, docker_logs.ERRORS)}

    def hide(self, forms: Forms) -> None:
        """Hide other values from now on."""
        for text in self._texts.values():
            text.stream.forms = forms

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self.log.fileno()

    def read(self) -> list[Line]:
        """Wait for the next part and return its lines. Raises EngineError."""
        messages = [one for one in self.log.read() if not self._after or one.time > self._after]
        found: list[tuple[str, str]] = []
        for stream, text in self._texts.items():
            found += text.take([one for one in messages if one.stream == stream])
        if messages:
            self.last = messages[-1].time
        if self.log.ended:
            self.log.close()
            found += [line for text in self._texts.values() for line in text.end(self.last)]
        return sorted((Line(time_, self.label, text) for time_, text in found), key=lambda line: line.time)

    def __iter__(self) -> Iterator[Line]:
        """All lines until the log ends."""
        while not self.log.ended:
            yield from self.read()


def _opened(document: Document, forms: Forms, follow: bool, tail: int | None, since: float, after: str = "") -> _Reader:
    tty = bool(document["Config"].get("Tty"))
    return _Reader(document, forms, ContainerLog(str(document["Id"]), tty, follow, tail, since), after)


# --- all containers ---------------------------------------------------------------------------------------------------


def _chosen(config: Config, wanted: Wanted) -> tuple[list[Document], list[Document]]:
    """All containers of the app, and those whose logs are wanted."""
    documents = docker_containers.documents(config.app.name)
    return documents, [one for one in documents if not wanted.services or _service(one) in wanted.services]


def _extent(wanted: Wanted, lines: int = _LINES) -> tuple[int | None, float]:
    """How many lines, and since when (epoch s)."""
    return (None, time.time() - wanted.seconds) if wanted.seconds else (lines, 0.0)


def _shortened(reader: _Reader, reading: Reading | None, most: int | None) -> Iterable[Line]:
    """The lines of one container to be read, the last `most` of them."""
    if reading is None:
        return reader
    lines = itertools.chain(reading.shorten(reader), reading.rest(reader.label))
    return lines if most is None else deque(lines, most)


def _merged(config: Config, wanted: Wanted, reading: Reading | None) -> Iterator[Line]:
    """What was logged so far, in the order of its times."""
    documents, chosen = _chosen(config, wanted)
    forms = _forms(config, documents)
    yield from _kept(config, wanted, documents, forms)
    tail, since = _extent(wanted, _LOOKED_AT if reading else _LINES)
    readers = []
    for document in chosen:
        try:
            reader = _opened(document, forms, False, tail, since)
            readers.append(_shortened(reader, reading, None if wanted.seconds else _LINES))
        except EngineError as problem:
            _note(f"{_shown(document)}: {problem}")
    yield from heapq.merge(*readers, key=lambda line: line.time)


def _check_reader() -> None:
    """Raise BrokenPipeError when who reads has gone, though there is nothing to write."""
    # Not every output is a file.
    with contextlib.suppress(io.UnsupportedOperation):
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)
        if any(event & select.POLLERR for _unused, event in output.poll(0)):
            raise BrokenPipeError


def _note(text: str) -> None:
    print(f"selfheal: {text}", file=sys.stderr, flush=True)


def _kept(config: Config, wanted: Wanted, documents: Sequence[Document], forms: Forms) -> Iterator[Line]:
    """The last logs of services that have no container any more, as incidents and failed deploys have kept them."""
    there = set(map(_service, documents))
    for service in sorted(_released(config)):
        if service in there or (wanted.services and service not in wanted.services):
            continue
        path = _newest_log(config, service)
        if not path:
            _note(f"{service} has no container, and no log of it was kept")
            continue
        _note(f"{service} has no container; its last log is from {path}")
        stream = Stream(forms)
        with open(path, encoding="utf-8", errors="replace") as file:
            text = _clean(stream.feed(file.read()) + stream.end())
        for line in text.splitlines()[-_LINES:]:
            yield Line("", service, line)


def _newest_log(config: Config, service: str) -> str:
    """The newest log of a service that was kept, "" for none."""
    name = re.compile(rf"(log-|\d{{8}}T\d{{6}}Z-){config.app.name}-{re.escape(service)}-\d+\.(txt|log)")
    paths = config.app.paths
    found = []
    for top in (paths.incidents, os.path.join(paths.state, "failed-releases")):
        for folder, _folders, files in os.walk(top):
            found += [os.path.join(folder, file) for file in files if name.fullmatch(file)]
    return max(found, key=os.path.getmtime, default="")


class _Following:
    """Go on with what is logged, also by containers that come later, or again."""

    def __init__(self, config: Config, wanted: Wanted) -> None:
        self._config, self._wanted = config, wanted
        self._reading = None if wanted.all else Reading(config.app.checks)
        self._readers: dict[str, _Reader] = {}
        # What was shown of each container, and its last start that was followed to its end.
        self._shown: dict[str, str] = {}
        self._over: dict[str, str] = {}
        self._known: set[str] = set()
        self._forms = Forms({})
        self._tail, self._since = _extent(wanted)
        self._is_down = False

    def run(self) -> None:
        """Go on until the reader goes, or Ctrl-C."""
        documents, _chosen_ones = _chosen(self._config, self._wanted)
        _print(_kept(self._config, self._wanted, documents, _forms(self._config, documents)))
        if self._reading:
            _note(f"requests that name our checks ({USER_AGENT}), and repetitions, are left out; --all shows them")
        try:
            self._go_on()
        finally:
            for reader in self._readers.values():
                reader.log.close()

    def _go_on(self) -> None:
        next_look = 0.0
        while True:
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _LOOK_SECONDS
                _check_reader()
                self._look()
            lines = self._lines(max(0.0, next_look - time.monotonic()))
            _print(self._reading.shorten(lines) if self._reading else lines)

    def _look(self) -> None:
        """Find what is new."""
        try:
            documents, chosen = _chosen(self._config, self._wanted)
        except EngineError as problem:
            if not self._is_down:
                _note(f"{problem}; waiting for it")
            self._is_down = True
            return
        self._is_down = False
        ids = {str(one["Id"]) for one in documents}
        if not ids <= self._known:
            self._renew(documents)
        for document in chosen:
            identity, started = str(document["Id"]), str(document["State"].get("StartedAt", ""))
            if identity not in self._readers and self._over.get(identity) != started:
                self._open(document, identity, started)
        self._known = ids
        # What came after the first look is shown from its beginning.
        self._tail = None

    def _renew(self, documents: Sequence[Document]) -> None:
        """A deploy may have brought other secrets, and other variables."""
        with contextlib.suppress(agent_config.ConfigError):
            self._config = agent_config.in_force(self._config.app.name, self._config.app.paths.root)[0]
        self._forms = _forms(self._config, documents, self._forms)
        for reader in self._readers.values():
            reader.hide(self._forms)

    def _open(self, document: Document, identity: str, started: str) -> None:
        tail, since, shown = self._tail, self._since, self._shown.get(identity, "")
        if shown:
            tail, since = None, float(calendar.timegm(time.strptime(shown[:19], "%Y-%m-%dT%H:%M:%S")))
        try:
            self._readers[identity] = _opened(document, self._forms, True, tail, since, shown)
        except EngineError as problem:
            # One without a log that can be read is not tried again.
            _note(f"{_shown(document)}: {problem}")
        self._over[identity] = started

    def _lines(self, seconds: float) -> list[Line]:
        """Wait for lines for so long at most; return those of a short while, in order."""
        found: list[Line] = []
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            ready, *_unused = select.select(list(self._readers.values()), [], [], max(0.0, left))
            for reader in ready:
                found += self._read(reader)
            if not ready or left <= 0:
                return sorted(found, key=lambda line: line.time)
            until = min(until, time.monotonic() + _COLLECT_SECONDS)

    def _read(self, reader: _Reader) -> list[Line]:
        identity = next(name for name, one in self._readers.items() if one is reader)
        try:
            lines = reader.read()
        except EngineError:
            reader.log.close()
            lines, reader.log.ended = [], True
        self._shown[identity] = reader.last
        if reader.log.ended:
            del self._readers[identity]
        return lines
