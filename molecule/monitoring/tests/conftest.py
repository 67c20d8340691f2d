# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whom the host tells, and what promtool is asked."""

import sys
from pathlib import Path

# The library: what is asked here is what the report asks.
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "plugins"))

from shared.receivers import receivers, trusted

__all__ = ["receivers", "trusted"]
