# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one file of the library that touches an AnsibleModule object. It imports nothing of Ansible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Protocol

from .redact import SHORTEST
from .secret_rules import is_secret


class Module(Protocol):
    """The part of AnsibleModule that is used here."""

    no_log_values: set[str]

    def fail_json(self, msg: str, **kwargs: Any) -> NoReturn:
        """End the run."""


def unmask(module: Module, variables: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> None:
    """Stop Ansible from masking what is no secret.

    A ``no_log`` dictionary masks each of its values wherever it stands in the output: with PORT=8000 every "8000", with
    DEBUG="no" every "no". Values of variables that are not secret, and values that are too short to hide, are let go;
    a value that also stands in a secret slot, or under a name that the table does not list, stays masked.
    """
    table = {variable.get("name"): variable for variable in variables}
    hidden: set[str] = set()
    shown: set[str] = set()
    for name, value in values.items():
        secret = is_secret(table[name]) if name in table else True
        if isinstance(value, (str, int, float)):
            (hidden if secret and len(str(value)) >= SHORTEST else shown).add(str(value))
    module.no_log_values -= shown - hidden


def fail(module: Module, error: BaseException, **extra: Any) -> NoReturn:
    """End the run with the text of ``error``, without a traceback."""
    module.fail_json(msg=str(error) or type(error).__name__, **extra)
