# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Real Compose, 2.26 and 2.40, merges the overlay with what people write, and nothing of theirs is lost.

2.26 is that of the lab's host image, 2.40 that of tools/compose. Without one of them its tests are skipped, but never
in CI.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.christmas.selfheal.plugins.module_utils.compose import jobs, overlay
from ansible_collections.christmas.selfheal.plugins.module_utils.core.app import Balancer

from ..corpus.compose_projects import ENV, PROJECTS

REPOSITORY = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.compose

IMAGE = "selfheal-lab/host:prepared"
PLUGIN = "/usr/libexec/docker/cli-plugins/docker-compose"
ENGINE = (26, 1, 5)
# All of them take about a minute on two idle processors. `make unit` and CI merge all; `pytest` alone, some.
ALL = "CI" in os.environ or os.environ.get("COMPOSE_CORPUS") == "all"
CHOSEN = PROJECTS if ALL else dict(list(PROJECTS.items())[::7])
EXAMPLES = 25 if ALL else 5

# Runs in a directory of project directories, each with a file `files.PHASE`: leaves PHASE.json or PHASE.refused in it.
SCRIPT = """
ls -d */ | xargs -P 2 -n 1 sh -c '
    cd "$2" || exit 255
    [ -e "files.$1" ] || exit 0
    "$0" --project-name app --project-directory "$(cat home)" --env-file .env --profile "*" $(cat "files.$1") \\
        --format json > "$1.json" 2> "$1.refused" && rm "$1.refused"
    exit 0' "$0" "$1"
"""

Run = Callable[[Path, str], None]


def _clean() -> dict[str, str]:
    # One thread each: as many run at once as there are processors.
    return {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/"), "GOMAXPROCS": "1"}


def _missing(reason: str) -> None:
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


def _newer() -> Run:
    found = subprocess.run([REPOSITORY / "tools" / "compose"], capture_output=True, text=True, check=False)
    if found.returncode:
        _missing(f"no Compose 2.40 here: {found.stderr.strip()[-200:]}")
    program = found.stdout.strip()
    return lambda directory, phase: _run(["sh", "-c", SCRIPT, program, phase], directory)


def _older() -> Run:
    docker = shutil.which("docker")
    asked = [str(docker), "image", "inspect", IMAGE]
    if not docker or subprocess.run(asked, capture_output=True, check=False, env=_clean()).returncode:
        _missing(f"no Compose 2.26 here: make the lab's image {IMAGE} (make lab)")
    marks = ["--rm", "--network=none", "--label=christmas.selfheal.lab=1", "--workdir=/work", "--entrypoint=sh"]

    def run(directory: Path, phase: str) -> None:
        volume = f"--volume={directory}:/work"
        _run([str(docker), "run", *marks, volume, IMAGE, "-c", SCRIPT, PLUGIN, phase], directory)

    return run


def _run(command: list[Any], directory: Path) -> None:
    subprocess.run(command, cwd=directory, env=_clean(), check=True, timeout=120)


# Which of the user's keys may differ after the merge, and why.
MAY_DIFFER = {
    r"services\..*\.memswap_limit": "the engine refuses swap below the memory limit, which is written instead",
}
BALANCED_MAY_DIFFER = {
    r"services\.web\.ports": "the load balancer publishes the port, each instance has one on loopback",
    r"services\.web\.(scale|deploy\.replicas)": "the inventory says how many instances there are",
    r"services\.web\.container_name": "two instances cannot both have the name",
}
SAID_MAY_DIFFER = {
    r"services\..*\.(mem_limit|cpus|pids_limit|mem_reservation|memswap_limit)": "the inventory says another value",
    r"services\..*\.deploy\.resources\..*": "the inventory says another value",
}


def lost(mine: Any, merged: Any, path: str = "") -> Iterator[str]:
    """The paths of the first model that are missing from the second, or have another value there."""
    if isinstance(mine, Mapping):
        for key, value in mine.items():
            where = f"{path}.{key}".lstrip(".")
            if not isinstance(merged, Mapping) or key not in merged:
                yield where
            else:
                yield from lost(value, merged[key], where)
    elif isinstance(mine, list):
        gone = [item for item in mine if not isinstance(merged, list) or item not in merged]
        if gone:
            yield path
    elif mine != merged:
        yield path


def unexpected(mine: Any, merged: Any, may_differ: Mapping[str, str]) -> list[str]:
    """What is lost, except for what may differ."""
    return [path for path in lost(mine, merged) if not any(re.fullmatch(pattern, path) for pattern in may_differ)]


class Merged(NamedTuple):
    """One project before and after; `plain` is None where Compose refuses the user's own files."""

    plain: dict[str, Any] | None
    whole: dict[str, Any] | None
    refused: str


def merge(
    run: Run,
    scratch: Path,
    projects: Mapping[str, Mapping[str, str]],
    table: Callable[[Mapping[str, Any]], Any] = lambda _services: {},
    balanced: Balancer | None = None,
) -> dict[str, Merged]:
    """Have Compose read each project, plan it, and have Compose read it with the overlay."""
    places = {shape: scratch / str(number) for number, shape in enumerate(projects)}
    for shape, files in projects.items():
        _write(places[shape], files)
    run(scratch, "plain")
    run(scratch, "written")
    found = {}
    for place in places.values():
        plain = _read(place, "plain")
        if plain is None:
            continue
        services = plain["services"]
        rendered = overlay.render(
            overlay.read_table(table(services)),
            services,
            ENGINE,
            balanced,
            model=plain,
            written=_read(place, "written"),
        )
        (place / "overlay.yaml").write_text(rendered.text, encoding="utf-8")
        (place / "files.whole").write_text(
            (place / "files.plain").read_text().replace(" config", " --file overlay.yaml config")
        )
    run(scratch, "whole")
    for shape, place in places.items():
        refused = [(place / f"{phase}.refused") for phase in ("plain", "whole")]
        said = "".join(path.read_text(encoding="utf-8") for path in refused if path.exists())
        found[shape] = Merged(_read(place, "plain"), _read(place, "whole"), said)
    return found


def _write(place: Path, files: Mapping[str, str]) -> None:
    """Write the files of a project, and which of them are its compose files."""
    for name, text in {".env": ENV, **files}.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    names = files.get("files", "compose.yaml").split()
    given_ = " ".join(f"--file {name}" for name in names)
    (place / "files.plain").write_text(f"{given_} config")
    if any("read_only: " in text for text in files.values()):
        (place / "files.written").write_text(f"{given_} config --no-interpolate")
    (place / "home").write_text(os.path.dirname(names[0]) or ".")


def _read(place: Path, phase: str) -> dict[str, Any] | None:
    if (place / f"{phase}.refused").exists() or not (place / f"{phase}.json").exists():
        return None
    found: dict[str, Any] = json.loads((place / f"{phase}.json").read_text(encoding="utf-8"))
    return found


COMPOSE = {"2.26": _older, "2.40": _newer}
# Projects that a version cannot read even without the overlay.
NOT_READ: dict[str, set[str]] = {"2.26": set(), "2.40": set()}


@pytest.fixture(scope="module", params=COMPOSE)
def version(request: pytest.FixtureRequest) -> str:
    """A version of Compose."""
    return str(request.param)


@pytest.fixture(scope="module")
def run(version: str) -> Run:
    """Run SCRIPT with that version."""
    return COMPOSE[version]()


def test_the_corpus_is_large() -> None:
    assert len(PROJECTS) >= 80


def test_every_key_of_the_users_survives(version: str, run: Run, tmp_path: Path) -> None:
    found = merge(run, tmp_path, CHOSEN)
    refused = {shape: one.refused[-300:] for shape, one in found.items() if one.plain is None or one.whole is None}
    assert {shape: said for shape, said in refused.items() if shape not in NOT_READ[version]} == {}
    assert NOT_READ[version].intersection(CHOSEN) == set(refused)
    gone = {
        shape: unexpected(one.plain, one.whole, MAY_DIFFER) for shape, one in found.items() if one.whole is not None
    }
    assert {shape: paths for shape, paths in gone.items() if paths} == {}
    for shape, one in found.items():
        if one.plain and one.whole:
            _is_hardened(shape, one.plain, one.whole)


def _is_hardened(shape: str, plain: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
    """The hardening is in effect, and a job stays a job."""
    assert jobs.jobs(whole) == jobs.jobs(plain), shape
    for name, spec in whole["services"].items():
        where = f"{shape}: {name}"
        assert spec.get("cap_drop"), where
        assert spec.get("security_opt"), where
        assert spec.get("logging"), where
        limits = (spec["deploy"].get("resources") or {}).get("limits") or {}
        assert limits.get("memory") or spec["mem_limit"], where
        if name in jobs.jobs(whole):
            assert spec.get("restart", "no") == plain["services"][name].get("restart", "no"), where
        elif not (spec["deploy"].get("restart_policy")):
            assert spec.get("restart"), where
        targets = [entry.split(":")[0] for entry in spec.get("tmpfs") or []]
        targets += [volume["target"].rstrip("/") for volume in spec.get("volumes") or []]
        assert len(targets) == len(set(targets)), where


LIMITS = [shape for shape in PROJECTS if "limit" in shape or shape == "everything at once"]


@pytest.mark.parametrize(
    ("row", "may_differ"),
    [
        ({"loosen": {key: {"to": "none", "because": "x"} for key in ("cpus", "memory", "pids")}}, MAY_DIFFER),
        ({"cpus": "0.75", "memory": "2G", "pids": 99, "memory_reservation": "96M"}, SAID_MAY_DIFFER),
    ],
    ids=["none", "said"],
)
def test_older_limits_go_together_with_what_the_inventory_says(
    run: Run, tmp_path: Path, row: dict[str, Any], may_differ: dict[str, str]
) -> None:
    projects = {shape: PROJECTS[shape] for shape in LIMITS}
    found = merge(run, tmp_path, projects, lambda services: dict.fromkeys(services, row))
    assert len(found) > 8
    for shape, one in found.items():
        assert one.plain is not None
        assert one.whole is not None, f"{shape}: {one.refused[-300:]}"
        assert unexpected(one.plain, one.whole, may_differ) == [], shape


def test_behind_the_load_balancer_all_else_survives(run: Run, tmp_path: Path) -> None:
    projects = {
        "scaled": {"compose.yaml": "services: {web: {image: x, scale: 3, ports: ['80:8000']}}"},
        "named": {"compose.yaml": "services: {web: {image: x, container_name: the-web, labels: [a=b]}}"},
        "replicas": {
            "compose.yaml": "services: {web: {image: x, deploy: {replicas: 5, labels: {a: b}}, mem_limit: 99m}}"
        },
        "none": {"compose.yaml": "services: {web: {image: x, deploy: {replicas: 0}}, db: {image: postgres}}"},
    }
    balanced = Balancer("web", 2, 18000, (80,))
    found = merge(run, tmp_path, projects, lambda _services: {"web": {"port": 8000}}, balanced)
    for shape, one in found.items():
        assert one.whole is not None, f"{shape}: {one.refused[-300:]}"
        assert unexpected(one.plain, one.whole, BALANCED_MAY_DIFFER) == [], shape
        assert one.whole["services"]["web"]["deploy"]["replicas"] == 2


def test_what_both_files_say_is_written_once(run: Run, tmp_path: Path) -> None:
    projects = {
        "privileges": {"compose.yaml": "services: {web: {image: x, security_opt: ['no-new-privileges:false']}}"},
        "tmpfs": {"compose.yaml": "services: {web: {image: x, tmpfs: ['/tmp:size=1m', /run]}}"},
        "added": {"compose.yaml": "services: {web: {image: x, cap_add: [CHOWN]}}"},
    }
    row = {
        "tmpfs": ["/tmp:size=9m"],
        "loosen": {
            "no_new_privileges": {"to": False, "because": "x"},
            "cap_add": {"to": ["CHOWN", "SETUID"], "because": "x"},
        },
    }
    found = merge(run, tmp_path, projects, lambda _services: {"web": row})
    for shape, one in found.items():
        assert one.whole is not None, f"{shape}: {one.refused[-300:]}"
        web = one.whole["services"]["web"]
        assert web["security_opt"] == ["no-new-privileges:false"]
        assert web["cap_add"] == ["CHOWN", "SETUID"]
        assert web["tmpfs"] == (["/run", "/tmp:size=9m"] if shape == "tmpfs" else ["/tmp:size=9m"])


def test_a_writable_root_that_is_wanted_stays(run: Run, tmp_path: Path) -> None:
    text = """
services:
  a: {image: x, read_only: false}
  b: {image: x, read_only: "${READ_ONLY:-false}"}
  c: {image: x, read_only: "${READ_ONLY:-true}"}
  d: {image: x}
"""
    whole = merge(run, tmp_path, {"roots": {"compose.yaml": text}})["roots"].whole
    assert whole is not None
    assert {name: bool(spec.get("read_only")) for name, spec in whole["services"].items()} == {
        "a": False,
        "b": False,
        "c": True,
        "d": True,
    }


# --- generated models -------------------------------------------------------------------------------------------------


def _some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


SIZES = st.sampled_from(["6m", "64m", "256M", "1g", "536870912"])
CORES = st.sampled_from([0.1, "0.5", 1, "2.0"])
NAMES = st.sampled_from(["web", "db", "job", "on", "1e3", "a.b-c"])
CAPABILITIES = st.lists(st.sampled_from(["CHOWN", "CAP_SETUID", "NET_RAW", "ALL", "all"]), unique=True, max_size=3)
MOUNTS = st.sampled_from(["/tmp", "/run", "/var/run/postgresql", "/data", "/tmp/x"])
HEALTH = _some(
    test=st.sampled_from(["true", ["CMD", "true"], ["NONE"]]),
    interval=st.just("3s"),
    retries=st.integers(1, 9),
    disable=st.booleans(),
)
OLD = _some(mem_limit=SIZES, cpus=CORES, pids_limit=st.sampled_from([-1, 9, 300]), mem_reservation=st.just("6m"))
NEW = st.builds(
    lambda limits, reservations: {"deploy": {"resources": {"limits": limits, "reservations": reservations}}},
    _some(memory=SIZES, cpus=CORES.map(str), pids=st.integers(1, 999)),
    _some(memory=st.just("6m"), cpus=st.just("0.1")),
)
SERVICE = st.builds(
    lambda image, limits, rest, mounts, tmpfs: {
        "image": image,
        **limits,
        **rest,
        "volumes": [f"v:{mount}" for mount in mounts],
        "tmpfs": [f"{mount}:size=1m" for mount in tmpfs if mount not in mounts],
    },
    st.sampled_from(["x", "postgres:16", "nginx", "redis", "mysql", "elasticsearch:8", "caddy", "node"]),
    OLD | NEW,
    _some(
        restart=st.sampled_from(["no", "always", "on-failure:3", "unless-stopped"]),
        init=st.booleans(),
        read_only=st.booleans(),
        user=st.sampled_from(["root", "1000:1000", "app"]),
        cap_add=CAPABILITIES,
        cap_drop=CAPABILITIES,
        security_opt=st.lists(
            st.sampled_from(["no-new-privileges:true", "no-new-privileges=false", "seccomp=unconfined"]),
            max_size=2,
            unique=True,
        ),
        stop_grace_period=st.sampled_from(["1s", "2m"]),
        healthcheck=HEALTH,
        logging=_some(driver=st.sampled_from(["local", "none"]), options=st.just({"tag": "a"})),
        labels=st.sampled_from([["a=b"], {"a": "b", "c": "1"}]),
        scale=st.integers(0, 3),
        network_mode=st.sampled_from(["host", "none"]),
        command=st.sampled_from(["", ["a", "$$b"], "sh -c 'x'"]),
    ),
    st.lists(MOUNTS, unique=True, max_size=2),
    st.lists(MOUNTS, unique=True, max_size=2),
)


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    """Some services, of which one may wait for another."""
    services = draw(st.dictionaries(NAMES, SERVICE, min_size=1, max_size=6))
    names = sorted(services)
    if len(names) > 1 and draw(st.booleans()):
        condition = draw(st.sampled_from(["service_started", "service_completed_successfully"]))
        services[names[0]]["depends_on"] = {names[1]: {"condition": condition}}
    return {"services": services, "volumes": {"v": {}}}


@settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(models())
def test_of_a_generated_model_every_key_survives(tmp_path_factory: pytest.TempPathFactory, model: Any) -> None:
    scratch = tmp_path_factory.mktemp("generated")
    one = merge(_newer(), scratch, {"generated": {"compose.yaml": json.dumps(model)}})["generated"]
    shutil.rmtree(scratch)
    assert one.plain is not None, one.refused
    assert one.whole is not None, one.refused
    assert unexpected(one.plain, one.whole, MAY_DIFFER) == []
    _is_hardened("generated", one.plain, one.whole)
