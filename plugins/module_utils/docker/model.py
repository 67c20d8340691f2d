# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The merged compose model, as the compose files make it: a format of its own, see the Compose Specification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Model = Mapping[str, Any]
"""What `docker compose config --format json` prints: {name, services, networks, volumes, configs, secrets}."""

Spec = Mapping[str, Any]
"""One service of it: what is under `services.NAME` (Compose Specification, services)."""

Services = Mapping[str, Spec]
"""All of its services, by name."""
