# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a user writes for a list, as a list: one text is one entry, and may hold several with commas between them.

Ansible takes that for an option of type list, and turns it into a list for its own validation only. A template sees the
text, where `join` puts its separator between the letters. See https://github.com/ansible/ansible/issues/83268
"""

from __future__ import annotations


def as_list(given: object) -> list[object]:
    """Return the entries; an empty text and None hold none."""
    if given is None:
        return []
    if isinstance(given, (list, tuple)):
        return list(given)
    return [entry.strip() for entry in str(given).split(",") if entry.strip()]
