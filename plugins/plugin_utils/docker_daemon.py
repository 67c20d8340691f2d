# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the engine's configuration becomes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

Options = Mapping[str, Any]

# The only drivers that know max-size and max-file; with another one the engine would not start.
BOUNDED_DRIVERS = ("json-file", "local")
# The engine refuses to start with it in a Swarm.
NOT_IN_SWARM = "live-restore"
# SIGHUP is enough for these (docs.docker.com, dockerd, "Configuration reload behavior"); the rest needs a restart.
RELOADABLE = {
    "authorization-plugins",
    "debug",
    "default-runtime",
    "features",
    "insecure-registries",
    "labels",
    "live-restore",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "registry-mirrors",
    "runtimes",
    "shutdown-timeout",
}

# The size of a log file, and how many of them are kept.
LogBounds = TypedDict("LogBounds", {"max-size": str, "max-file": str})


class DaemonPlan(TypedDict):
    """What the configuration becomes, which of its keys change, and whether a reload is not enough for them."""

    wanted: dict[str, Any]
    changed_keys: list[str]
    needs_restart: bool


def daemon_plan(found: Options, defaults: Options, options: Options, bounds: LogBounds, in_swarm: bool) -> DaemonPlan:
    """Return what the configuration becomes: defaults give way to what is there, that to the options.

    An option of None removes the key.
    """
    kept = {key: value for key, value in defaults.items() if not (in_swarm and key == NOT_IN_SWARM)}
    driver = options.get("log-driver", found.get("log-driver", BOUNDED_DRIVERS[0]))
    merged = _merged(_merged({**kept, **found}, _log_options(driver, bounds)), options)
    wanted = {key: value for key, value in merged.items() if value is not None}
    changed = sorted(key for key in {*found, *wanted} if _differs(key, found, wanted))
    return DaemonPlan(wanted=wanted, changed_keys=changed, needs_restart=not RELOADABLE.issuperset(changed))


def _log_options(driver: str, bounds: LogBounds) -> Options:
    if driver not in BOUNDED_DRIVERS:
        return {}
    return {"log-driver": driver, "log-opts": bounds}


def _merged(below: Options, above: Options) -> dict[str, Any]:
    """Merge the mappings, and the mappings in them."""
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        if isinstance(value, Mapping) and isinstance(lower, Mapping):
            merged[key] = _merged(lower, value)
        else:
            merged[key] = value
    return merged


def _differs(key: str, found: Options, wanted: Options) -> bool:
    return key not in found or key not in wanted or found[key] != wanted[key]
