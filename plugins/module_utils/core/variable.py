# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One variable of an app's env, as its table describes it. `env/variables.py` parses the table."""

from __future__ import annotations

from typing import NamedTuple


class Variable(NamedTuple):
    """One entry of the table, complete.

    `kind` is one of `env.variables.KINDS`; `source` says where the value comes from, "" when the entry does not say.
    `same_as` names the variable that holds the same value on purpose; `signs_keys` says of a `jwt_secret` that it is
    Supabase's own, so that the legacy keys must be signed with it; `private_key` names the variable with the private
    key of a certificate. None and "" stand for a key that the entry does not have.
    """

    name: str
    kind: str
    secret: bool
    required: bool = True
    source: str = ""
    default: str | None = None
    pattern: str = ""
    choices: tuple[str, ...] = ()
    min: int | None = None
    max: int | None = None
    min_length: int | None = None
    same_as: str = ""
    signs_keys: bool = False
    private_key: str = ""
