# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The receivers of the host's alerts."""

from shared.receivers import receivers, trusted

__all__ = ["receivers", "trusted"]
