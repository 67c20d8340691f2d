# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one file of the library that touches an AnsibleModule object. It imports nothing of Ansible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, NoReturn, Protocol

from ..core.files import explain
from ..core.redact import SHORTEST
from ..env.variables import Values, VariableEntry, is_secret
from . import installed

# A module imports this file first (ruff sees to it), and then what it needs.
installed.use(__name__)

Spec = Mapping[str, Any]
"""The arguments that a module takes, in Ansible's own format (its documentation, "argument spec")."""
Params = Mapping[str, Any]
"""The arguments of a module run, as Ansible has checked them against the module's spec."""

# What Ansible itself writes in the place of such an argument.
MASKED = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


class Module(Protocol):
    """The part of AnsibleModule that is used here. `params` are its `Params`, and may be replaced."""

    no_log_values: set[str]
    params: dict[str, Any]

    def exit_json(self, **kwargs: Any) -> NoReturn:
        """End the run well."""

    def fail_json(self, msg: str, **kwargs: Any) -> NoReturn:
        """End the run as failed."""


class Failed(Exception):
    """The run ends as failed; `result` comes back with the message.

    :arg reason: the message, or the error whose text is.
    """

    def __init__(self, reason: str | BaseException, /, **result: Any) -> None:
        super().__init__(reason if isinstance(reason, str) else text_of(reason))
        self.result = result


def run(
    kind: Callable[..., Any],
    spec: Spec,
    work: Callable[[Any], Mapping[str, object]],
    expected: tuple[type[Exception], ...] = (),
    **rules: Any,
) -> NoReturn:
    """Run a module: its arguments, one call, and the end.

    :arg kind: AnsibleModule, which comes from outside.
    :arg work: gets the module, and returns its result.
    :arg expected: the errors whose text is for the user. Another one is a defect, and keeps its traceback.
    :arg rules: what else AnsibleModule is to know of the arguments, as `required_if`.
    """
    module: Module = kind(argument_spec=spec, supports_check_mode=True, **rules)
    try:
        result = work(module)
    except Failed as error:
        module.fail_json(msg=str(error), **error.result)
    except expected as error:
        module.fail_json(msg=text_of(error))
    module.exit_json(**result)


def text_of(error: BaseException) -> str:
    """The text of an error, for the user."""
    text = explain(error) if isinstance(error, OSError) else str(error)
    return text or type(error).__name__


def unmask(module: Module, variables: Sequence[VariableEntry], values: Values) -> None:
    """Stop Ansible from masking what is not secret. Take ``module.params`` before: after, its ``values`` are for show.

    A ``no_log`` dictionary masks each of its values anywhere in the output: with PORT=8000 every "8000", with
    DEBUG="no" every "no". Values of variables that are not secret, and values that are too short to hide, are let go;
    a value that is also in a secret slot, or under a name that the table does not list, stays masked. What is in the
    table itself is not secret either: a slot may hold its own name by mistake, and the message must be readable.
    """
    table = {str(variable.get("name")): variable for variable in variables}
    public = " ".join(str(variable.get(key)) for variable in variables for key in ("name", "kind", "source"))
    hidden: set[str] = set()
    shown: set[str] = set()
    returned: dict[str, object] = {}
    for name, value in values.items():
        secret = is_secret(table[str(name)]) if str(name) in table else True
        returned[str(name)] = MASKED if secret else value
        if isinstance(value, (str, int, float)):
            text = str(value)
            (hidden if secret and len(text) >= SHORTEST and text not in public else shown).add(text)
    module.no_log_values -= shown - hidden
    if "values" in module.params:
        # Ansible returns the arguments, too, and hides there only what is masked everywhere: not a short secret. The
        # caller's own reference to the arguments stays whole.
        module.params = {**module.params, "values": returned}
