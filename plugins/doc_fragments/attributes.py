# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the attributes of modules mean."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes `check_mode` and `diff_mode`."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and say what would change without changing it.
  diff_mode:
    description: Returns what changed, or would change, in diff mode; never the value of a secret.
"""
