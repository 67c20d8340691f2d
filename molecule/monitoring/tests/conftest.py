# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The receivers of the host's alerts, and the paths of the tests' modules."""

import sys
from pathlib import Path

# The library: the tests use the report's own queries.
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "plugins"))

from shared.receivers import receivers, trusted

__all__ = ["receivers", "trusted"]
