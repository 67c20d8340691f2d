# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""`compose_app_services` as people write it → the same, checked, or an error that names service, key and fix."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import services as services_table
from ansible_collections.christmas.selfheal.plugins.module_utils.compose.services import (
    Loosened,
    OverlayError,
    one_line,
    read_table,
    size,
)

NAME = "compose_app_services"
WHY = {"because": "why"}

# id, the table, where the error is, a part of its reason, a part of its fix
BAD = [
    ("no mapping", ["backend"], NAME, "not a mapping of services", "port: 8000"),
    ("bad name", {"back end": {}}, f"{NAME}.back end", "not the name of a service", "compose.yaml"),
    ("name is a number", {1: {}}, f"{NAME}.1", "not the name of a service", "compose.yaml"),
    ("a text", {"b": "512M"}, f"{NAME}.b", "not a mapping", "{} for defaults"),
    ("unknown key", {"b": {"mem": "1G"}}, f"{NAME}.b.mem", "not a key of a service", "memory"),
    (
        "loosened without a reason",
        {"b": {"read_only": False}},
        f"{NAME}.b.read_only",
        "needs a reason",
        "loosen: {read",
    ),
    ("port 0", {"b": {"port": 0}}, f"{NAME}.b.port", "not what it should be", "8000"),
    ("port 65536", {"b": {"port": 65536}}, f"{NAME}.b.port", "not what it should be", "8000"),
    ("port of the host too", {"b": {"port": "80:8000"}}, f"{NAME}.b.port", "not what it should be", "inside"),
    ("relative path", {"b": {"port": 1, "health_path": "health"}}, f"{NAME}.b.health_path", "not what", "/health"),
    ("path with a quote", {"b": {"port": 1, "health_path": "/a'b"}}, f"{NAME}.b.health_path", "not what", "/health"),
    (
        "path with a command",
        {"b": {"port": 1, "health_path": "/$(id)"}},
        f"{NAME}.b.health_path",
        "not what",
        "/health",
    ),
    (
        "path without port",
        {"b": {"health_path": "/h"}},
        f"{NAME}.b.health_path",
        "needs the port",
        "inside the container",
    ),
    (
        "path and test",
        {"b": {"port": 1, "health_path": "/h", "healthcheck": {"test": "true"}}},
        *(f"{NAME}.b.health_path", "in addition to healthcheck.test", "one of the two"),
    ),
    ("empty test", {"b": {"healthcheck": {"test": []}}}, f"{NAME}.b.healthcheck", "not what", "test: [CMD"),
    ("test without CMD", {"b": {"healthcheck": {"test": ["curl", "x"]}}}, f"{NAME}.b.healthcheck", "not what", "[CMD"),
    ("test NONE", {"b": {"healthcheck": {"test": ["NONE", "x"]}}}, f"{NAME}.b.healthcheck", "not what", "[CMD"),
    ("shell of two", {"b": {"healthcheck": {"test": ["CMD-SHELL", "a", "b"]}}}, f"{NAME}.b.healthcheck", "not", "[CMD"),
    ("interval 30", {"b": {"healthcheck": {"interval": 30}}}, f"{NAME}.b.healthcheck", "not what", "30s"),
    ("retries 0", {"b": {"healthcheck": {"retries": 0}}}, f"{NAME}.b.healthcheck", "not what", "retries: 3"),
    ("unknown in healthcheck", {"b": {"healthcheck": {"url": "x"}}}, f"{NAME}.b.healthcheck", "not what", "test: "),
    ("cpus 0", {"b": {"cpus": 0}}, f"{NAME}.b.cpus", "not what", '"1.0"'),
    ("cpus is a word", {"b": {"cpus": "one"}}, f"{NAME}.b.cpus", "not what", '"1.0"'),
    ("cpus is true", {"b": {"cpus": True}}, f"{NAME}.b.cpus", "not what", '"1.0"'),
    ("memory as Kubernetes has it", {"b": {"memory": "512Mi"}}, f"{NAME}.b.memory", "not what", "512M"),
    ("memory is a word", {"b": {"memory": "half"}}, f"{NAME}.b.memory", "not what", "512M"),
    ("memory below 6M", {"b": {"memory": "512"}}, f"{NAME}.b.memory", "not what", "at least 6M"),
    ("memory below 0", {"b": {"memory": "-1"}}, f"{NAME}.b.memory", "not what", "512M"),
    (
        "more reserved than allowed",
        {"b": {"memory": "128M", "memory_reservation": "256M"}},
        *(f"{NAME}.b.memory_reservation", "more than the limit 128M", "at most 128M"),
    ),
    (
        "more cores reserved than allowed",
        {"b": {"cpus": "0.5", "cpus_reservation": 1}},
        *(f"{NAME}.b.cpus_reservation", "more than the limit 0.5", "at most 0.5"),
    ),
    ("pids 0", {"b": {"pids": 0}}, f"{NAME}.b.pids", "not what", "256"),
    ("tmpfs is a number", {"b": {"tmpfs": 1}}, f"{NAME}.b.tmpfs", "not what", "[/tmp"),
    ("tmpfs over everything", {"b": {"tmpfs": ["/"]}}, f"{NAME}.b.tmpfs", "not what", "[/tmp"),
    ("tmpfs relative", {"b": {"tmpfs": ["tmp"]}}, f"{NAME}.b.tmpfs", "not what", "[/tmp"),
    ("tmpfs twice", {"b": {"tmpfs": ["/a", "/a:size=1m"]}}, f"{NAME}.b.tmpfs", "not what", "once"),
    ("user with a name space", {"b": {"user": "a b"}}, f"{NAME}.b.user", "not what", "1000:1000"),
    ("user is true", {"b": {"user": True}}, f"{NAME}.b.user", "not what", '"1000:1000"'),
    ("job: no", {"b": {"job": False}}, f"{NAME}.b.job", "not what", "true"),
    ("grace of 10", {"b": {"stop_grace_period": "10"}}, f"{NAME}.b.stop_grace_period", "not what", "10s"),
    ("log size of MB", {"b": {"log_max_size": "10MB"}}, f"{NAME}.b.log_max_size", "not what", "10m"),
    ("no log file", {"b": {"log_max_file": 0}}, f"{NAME}.b.log_max_file", "not what", "3"),
    ("loosen is a list", {"b": {"loosen": ["init"]}}, f"{NAME}.b.loosen", "not a mapping", "read_only"),
    (
        "unknown to loosen",
        {"b": {"loosen": {"root": {"to": 1, **WHY}}}},
        f"{NAME}.b.loosen.root",
        "not a default",
        "read_only",
    ),
    (
        "loosen to nothing",
        {"b": {"loosen": {"init": WHY}}},
        f"{NAME}.b.loosen.init",
        "does not say to what",
        "to: false",
    ),
    ("loosen is a bool", {"b": {"loosen": {"init": False}}}, f"{NAME}.b.loosen.init", "does not say", "because"),
    (
        "more than that",
        {"b": {"loosen": {"init": {"to": False, "why": 1}}}},
        f"{NAME}.b.loosen.init",
        "does not",
        "because",
    ),
    ("no reason", {"b": {"loosen": {"init": {"to": False}}}}, f"{NAME}.b.loosen.init", "has no reason", "because"),
    (
        "blank reason",
        {"b": {"loosen": {"init": {"to": False, "because": " \n"}}}},
        f"{NAME}.b.loosen.init",
        "no reason",
        "be",
    ),
    (
        "an essay",
        {"b": {"loosen": {"init": {"to": False, "because": "x" * 301}}}},
        *(f"{NAME}.b.loosen.init.because", "longer than 300", "one line"),
    ),
    (
        "to the default",
        {"b": {"loosen": {"init": {"to": True, **WHY}}}},
        f"{NAME}.b.loosen.init.to",
        "not what",
        "false",
    ),
    (
        "unknown capability",
        {"b": {"loosen": {"cap_add": {"to": ["ROOT"], **WHY}}}},
        f"{NAME}.b.loosen.cap_add.to",
        "n",
        "CHOWN",
    ),
    (
        "capability is a text",
        {"b": {"loosen": {"cap_add": {"to": "CHOWN", **WHY}}}},
        f"{NAME}.b.loosen.cap_add.to",
        "n",
        "[CH",
    ),
    (
        "restart never",
        {"b": {"loosen": {"restart": {"to": "never", **WHY}}}},
        f"{NAME}.b.loosen.restart.to",
        "n",
        "on-failure",
    ),
    (
        "healthcheck to x",
        {"b": {"loosen": {"healthcheck": {"to": {}, **WHY}}}},
        f"{NAME}.b.loosen.healthcheck.to",
        "n",
        "none",
    ),
    (
        "logging to a list",
        {"b": {"loosen": {"logging": {"to": [], **WHY}}}},
        f"{NAME}.b.loosen.logging.to",
        "n",
        "journald",
    ),
    (
        "no driver",
        {"b": {"loosen": {"logging": {"to": {"options": {}}, **WHY}}}},
        f"{NAME}.b.loosen.logging.to",
        "n",
        "driver",
    ),
    (
        "given twice",
        {"b": {"pids": 9, "loosen": {"pids": {"to": "none", **WHY}}}},
        f"{NAME}.b.pids",
        "given twice",
        "one of the",
    ),
]


@pytest.mark.parametrize(("table", "where", "reason", "fix"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_table_is_refused(table: Any, where: str, reason: str, fix: str) -> None:
    with pytest.raises(OverlayError) as caught:
        read_table(table)
    error = caught.value
    assert error.where == where
    assert reason in error.reason
    assert fix in error.fix
    assert str(error) == f"{error.where}: {error.reason}. Fix: {error.fix}"


@pytest.mark.parametrize("table", [None, {}, {"backend": None}, {"backend": {}}, {"backend": {"cpus": None}}])
def test_nothing_need_be_said(table: Any) -> None:
    for service in read_table(table).values():
        assert service == ({}, {})


def test_what_is_said() -> None:
    row = yaml.safe_load(
        """
        port: 8000
        health_path: /health?deep=1&x=#a
        healthcheck: {interval: 1m30s, retries: 5, timeout: null}
        cpus: 1.5
        memory: 1.5 gb
        cpus_reservation: 1
        memory_reservation: 256m
        pids: "512"
        tmpfs: /tmp
        user: "1000:1000"
        stop_grace_period: 30s
        log_max_size: 1g
        log_max_file: 9
        loosen:
          cap_add: {to: [cap_setuid, CHOWN, SETUID], because: "  drops\\tto\\n  a user "}
          restart: {to: "on-failure:3", because: a job}
          init: {to: false, because: has one}
          memory_swap: {to: 2G, because: sorts}
          logging: {to: {driver: gelf, options: {gelf-address: udp://127.0.0.1:12201, n: 3}}, because: central logs}
        """
    )
    said, loosened = read_table({"backend": row})["backend"]
    assert said == {
        "port": 8000,
        "health_path": "/health?deep=1&x=#a",
        "healthcheck": {"interval": "1m30s", "retries": 5},
        "cpus": "1.5",
        "memory": "1.5gb",
        "cpus_reservation": "1",
        "memory_reservation": "256m",
        "pids": 512,
        "tmpfs": ["/tmp"],
        "user": "1000:1000",
        "stop_grace_period": "30s",
        "log_max_size": "1g",
        "log_max_file": 9,
    }
    assert loosened["cap_add"] == Loosened(["CHOWN", "SETUID"], "drops to a user")
    assert (loosened["restart"].to, loosened["init"].to) == ("on-failure:3", "false")
    options = {"gelf-address": "udp://127.0.0.1:12201", "n": "3"}
    assert loosened["logging"].to == {"driver": "gelf", "options": options}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512M", 512 << 20),
        ("512mb", 512 << 20),
        ("512MiB", 512 << 20),
        ("1.5g", 3 << 29),
        ("1 G", 1 << 30),
        (1048576, 1 << 20),
        ("1048576", 1 << 20),
        ("64k", 64 << 10),
        ("10b", 10),
        ("", None),
        ("M", None),
        ("1e3", None),
        ("-1", None),
        ("1x", None),
        (True, None),
        (None, None),
        (1.5, None),
    ],
)
def test_size(text: Any, expected: int | None) -> None:
    assert size(text) == expected


@given(st.text())
def test_one_line_is_one_line_in_every_yaml(text: str) -> None:
    found = one_line(text)
    assert len(found.splitlines()) <= 1
    assert yaml.safe_load(f"a: 1\n# {found}\nb: 2\n") == {"a": 1, "b": 2}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["none", "/tmp", "1s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([*services_table.SAID, "loosen"])
LOOSENED = st.fixed_dictionaries({"to": JSON, "because": st.text(min_size=1, max_size=9) | st.none()})


@given(
    st.dictionaries(KEYS, JSON, max_size=3),
    st.dictionaries(st.sampled_from(list(services_table.LOOSENED)), LOOSENED, max_size=2) | JSON,
)
def test_anything_is_either_read_or_refused(row: dict[str, Any], loosen: Any) -> None:
    try:
        read_table({"backend": {**row, "loosen": loosen}})
    except OverlayError as error:
        assert error.where.startswith(NAME)
        assert error.reason
        assert error.fix


@pytest.mark.parametrize(
    ("key", "said", "value"),
    [("restart", False, "no"), ("healthcheck", False, "none"), ("memory", False, "none"), ("pids", False, "none")],
)
def test_yaml_reads_no_as_a_boolean_and_it_is_the_word(key: str, said: Any, value: Any) -> None:
    row = {"b": {"loosen": {key: {"to": said, "because": "why"}}}}
    assert read_table(row)["b"].loosened[key].to == value


def test_a_boolean_where_a_word_is_expected_is_named() -> None:
    with pytest.raises(OverlayError, match="YAML reads yes, no, on and off as booleans"):
        read_table({"b": {"loosen": {"restart": {"to": True, "because": "why"}}}})
