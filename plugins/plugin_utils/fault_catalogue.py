# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The catalogue of faults: a folder on the controller with a YAML file for each."""

from __future__ import annotations

from pathlib import Path

import yaml

from ansible_collections.christmas.selfheal.plugins.module_utils.drills.fault import DrillError, Fault, read_fault


def read(folder: str) -> dict[str, Fault]:
    """Return every fault of the folder by name. Raises DrillError."""
    found = {}
    for path in sorted(Path(folder).glob("*.yml")):
        try:
            found[path.stem] = read_fault(path.stem, yaml.safe_load(path.read_text(encoding="utf-8")))
        except yaml.YAMLError as error:
            raise DrillError(f"faults/{path.name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not found:
        raise DrillError(f"drill_catalogue: there is no fault in {folder}")
    return found
