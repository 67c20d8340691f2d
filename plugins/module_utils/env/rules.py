# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What can be validated of an env without a network: each value by its kind, then all of them together.

The order for one value: what is around it (quotes, spaces), references and samples, format and checksum, words
and shapes, entropy last. Pure: no clock, no network, no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from . import key_files, supabase_keys, token_formats
from .supabase_keys import Problem
from .value_rules import blank, misfit, unwrap, validate_text
from .variables import (
    SERVER_KINDS,
    TableError,
    Values,
    Variable,
    copy_again,
    example,
    given,
    label,
    parse_entries,
    place,
    secrets_of,
    source_hint,
    text_of,
    texts,
)

__all__ = [
    "Finding",
    "TableError",
    "Values",
    "Variable",
    "describe",
    "example",
    "parse_table",
    "read_bare",
    "secrets_of",
    "texts",
    "unlisted",
    "validate",
]


class Finding(TypedDict):
    """One thing that is wrong with one variable. ``rule`` is a stable slug; none of the texts ever holds the value."""

    variable: str
    rule: str
    reason: str
    fix: str


class _Slot:
    """One variable and what is known about its value while it is being validated."""

    def __init__(
        self, variable: Variable, text: str | None, around: Sequence[Problem] = (), problems: Sequence[Problem] = ()
    ) -> None:
        self.variable = variable
        self.text = text  # the value without what is around it; None: there is none to validate
        self.around = list(around)  # quotes, spaces … around the value
        self.problems = list(problems)  # with the value itself

    @property
    def name(self) -> str:
        return self.variable.name

    @property
    def kind(self) -> str:
        return self.variable.kind


# Two names for one thing are legal for these: frameworks want the same key under a name of their own.
_KINDS_WITH_ALIASES = SERVER_KINDS | {"supabase_url", "supabase_anon_key", "supabase_service_key"}

# Values from this length on are compared across variables; shorter ones are alike by chance.
_COMPARED_LENGTH = 6


def parse_table(entries: object) -> list[Variable]:
    """Parse the table, and validate its defaults.

    :raises TableError: (entry, key, reason, fix) for the first error in the table itself.
    """
    variables = parse_entries(entries)
    for index, variable in enumerate(variables):
        if variable.default is not None:
            slot = _read_slot(variable, variable.default)
            slot.problems += validate_text(variable, slot.text or "", 0.0)
            for problem in (*slot.around, *slot.problems):
                raise TableError(label(index, variable.name, "default"), problem.reason, problem.fix.rstrip("."))
    return variables


def validate(variables: Sequence[Variable], values: Values, now: float) -> list[Finding]:
    """All that is certainly wrong with ``values`` at ``now`` (epoch seconds), in table order; empty: they are valid.

    Never raises for a value, whatever it is. Values are text; a whole number
    will do where the kind is not secret. Names that the table does not list are ignored here: see ``unlisted``.
    """
    slots = [_read_slot(variable, given(variable, values)) for variable in variables]
    for slot in slots:
        if slot.text is None:
            slot.problems = slot.problems or _absent(slot.variable, values)
        else:
            slot.problems += validate_text(slot.variable, slot.text, now)
    _find_swapped(slots, now)
    _find_pasted(slots)
    _find_duplicates(slots)
    _find_foreign(slots)
    _find_unsigned(slots)
    _find_other_pair(slots)
    _find_other_mode(slots)
    return [
        Finding(variable=slot.name, rule=problem.rule, reason=problem.reason, fix=problem.fix)
        for slot in slots
        for problem in dict.fromkeys((*slot.around, *slot.problems))
    ]


def unlisted(variables: Sequence[Variable], values: Values) -> list[str]:
    """The names that have a value and no entry in the table, sorted: they are neither validated nor written."""
    return sorted({str(name) for name in values} - {variable.name for variable in variables})


def read_bare(variable: Variable, values: Values) -> str | None:
    """The value of one variable without what is around it; None when there is none to validate."""
    return _read_slot(variable, given(variable, values)).text


def describe(findings: Iterable[Finding]) -> str:
    """One line for each finding: ``NAME: rule: reason. Fix: fix``."""
    return "\n".join(f"{f['variable']}: {f['rule']}: {f['reason']}. Fix: {f['fix']}" for f in findings)


# --- one slot -----------------------------------------------------------------------------------------------------


def _read_slot(variable: Variable, value: object) -> _Slot:
    """Take the value out of what is around it."""
    if value is None:
        return _Slot(variable, None)
    text = text_of(value)
    if text is None or (not isinstance(value, str) and variable.secret):
        return _Slot(variable, None, problems=[_not_text(value)])
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        return _Slot(
            variable,
            None,
            problems=[
                Problem(
                    "bad_character",
                    "it holds a character that no environment variable can hold (NUL, or invalid UTF-8)",
                    copy_again(variable),
                ),
            ],
        )
    bare, around = unwrap(variable, text)
    if not bare or blank(bare):
        # An optional one may be empty; of a required one, that is all there is to report.
        return _Slot(variable, None, [] if variable.required or not text.strip() else around)
    return _Slot(variable, bare, around)


def _not_text(value: object) -> Problem:
    if isinstance(value, (dict, list)):
        return Problem("not_text", "it is a list or a mapping, not one text", "Write it as one text, in quotes.")
    if isinstance(value, bool):
        what, why = "true or false", "apps spell that in different ways"
    elif isinstance(value, (int, float)):
        what, why = "a number", "zeros at its ends would be lost"
    else:
        what, why = "something else than text", "apps expect text"
    return Problem("not_text", f"YAML reads it as {what}, and {why}", "Put it in quotes.")


def _absent(variable: Variable, values: Values) -> list[Problem]:
    """What is wrong with there being no value."""
    if not variable.required:
        return []
    if given(variable, values) is None:
        hint = _typo_hint(variable.name, [str(other) for other in values])
        return [Problem("missing", "it has no value", f"Put one into {place(variable)}.{source_hint(variable)}{hint}")]
    return [Problem("empty", "its value is empty", f"Put one into {place(variable)}.{source_hint(variable)}")]


def _typo_hint(name: str, others: Sequence[str]) -> str:
    import difflib  # not needed by a watcher, whose memory it would take

    near = difflib.get_close_matches(name, [other for other in others if other != name], n=1, cutoff=0.85)
    return f" There is a {near[0]}: a typo?" if near else ""


# --- all values together ------------------------------------------------------------------------------------------


def _find_swapped(slots: Sequence[_Slot], now: float) -> None:
    """Two slots, each wrong, each holding what the other should."""
    wrong = [slot for slot in slots if slot.text is not None and misfit(slot.problems)]
    for at, one in enumerate(wrong):
        for other in wrong[at + 1 :]:
            if one.kind == other.kind or "swapped" in {p.rule for p in (*one.problems, *other.problems)}:
                continue
            after_one = validate_text(one.variable, other.text or "", now)
            after_other = validate_text(other.variable, one.text or "", now)
            if not _settled(after_one) or not _settled(after_other):
                continue
            for slot, partner, after in ((one, other, after_one), (other, one, after_other)):
                slot.problems = [
                    Problem(
                        "swapped", f"it and {partner.name} are swapped: each holds the other's value", "Exchange them."
                    ),
                    *after,
                ]


def _settled(problems: Iterable[Problem]) -> bool:
    """Whether a value is of the right kind, if perhaps out of date."""
    return all(problem.rule in ("expired", "not_yet_valid") for problem in problems)


def _find_pasted(slots: Sequence[_Slot]) -> None:
    """A slot that is wrong because it holds the value of another, where it is right."""
    for slot in slots:
        if slot.text is None or len(slot.text) < _COMPARED_LENGTH or not misfit(slot.problems):
            continue
        for other in slots:
            if other is not slot and other.text == slot.text and not misfit(other.problems):
                slot.problems = [Problem("pasted", f"it holds the value of {other.name}", copy_again(slot.variable))]
                break


def _find_duplicates(slots: Sequence[_Slot]) -> None:
    """Two secrets that are one; and ``same_as``, which says that they should be."""
    by_name = {slot.name: slot for slot in slots}
    for at, slot in enumerate(slots):
        other = by_name.get(slot.variable.same_as)
        if other is not None:
            if slot.text is not None and other.text is not None and slot.text != other.text:
                slot.problems.append(
                    Problem(
                        "differs", f"the table says it is the same as {other.name}, and it is not", "Make them equal."
                    )
                )
            continue
        twin = next((other for other in slots[:at] if _is_twin(slot, other)), None)
        if twin is not None:
            # Of a secret and a variable that everybody may see, it is the secret that must change.
            bad, known = (slot, twin) if slot.variable.secret else (twin, slot)
            bad.problems.append(
                Problem(
                    "duplicate",
                    f"it has the same value as {known.name}",
                    f"Give each its own; if it must be so, say `same_as: {known.name}` in its entry.",
                )
            )


def _is_twin(slot: _Slot, other: _Slot) -> bool:
    """Whether two slots hold one value, at least one of them is a secret, and nothing says that this is right."""
    if slot.text is None or len(slot.text) < _COMPARED_LENGTH or other.text != slot.text:
        return False
    if slot.problems or other.problems or other.variable.same_as == slot.name:
        return False
    if slot.kind == other.kind and slot.kind in _KINDS_WITH_ALIASES:
        return False
    # An address without a password in it is not secret, whatever its kind says in general.
    secrets = [each for each in (slot, other) if each.variable.secret]
    return any(each.kind not in SERVER_KINDS for each in secrets)


def _find_foreign(slots: Sequence[_Slot]) -> None:
    """Address, keys and database of different projects."""
    addresses = [slot for slot in slots if slot.kind == "supabase_url" and slot.text is not None]
    refs = {}
    for slot in addresses:
        address = None if slot.problems else supabase_keys.read_address(slot.text or "")[0]
        refs[slot.name] = address.ref if address else None
    sound = [slot for slot in slots if slot.text is not None and not slot.problems]
    if addresses and all(refs.values()):
        _compare_with_address(sound, {ref: name for name, ref in refs.items() if ref})
    else:
        _compare_keys(sound)


def _compare_with_address(slots: Sequence[_Slot], name_of: Mapping[str, str]) -> None:
    """``name_of``: ref → the variable whose hosted address has it."""
    named = {slot.name: ref for slot in slots if (ref := _named_ref(slot))}
    others = {ref for ref in named.values() if ref not in name_of}
    if len(name_of) == 1 and len(others) == 1 and len(named) > 1 and not set(named.values()) & set(name_of):
        # All of them agree with each other: it is the address that is wrong.
        address = next(slot for slot in slots if slot.name in name_of.values())
        address.problems.append(
            Problem(
                "wrong_project",
                f"it is the address of another project than {' and '.join(named)} belong to",
                copy_again(address.variable),
            )
        )
        return
    for slot in slots:
        problem = _foreign_problem(slot, name_of, others)
        if problem:
            slot.problems.append(problem)


def _named_ref(slot: _Slot) -> str | None:
    """The project that a legacy key or a database address names."""
    if slot.kind == "postgres_dsn":
        return supabase_keys.dsn_ref(slot.text or "")
    if slot.kind in ("supabase_anon_key", "supabase_service_key"):
        key = supabase_keys.read_key(slot.text or "", 0.0)[0]
        return key.ref if key else None
    return None


def _foreign_problem(slot: _Slot, name_of: Mapping[str, str], others: Iterable[str]) -> Problem | None:
    addresses = " and ".join(name_of.values())
    ref = _named_ref(slot)
    if ref is not None:
        if ref in name_of:
            return None
        return Problem(
            "wrong_project",
            f"it belongs to project {ref}, {addresses} to {' and '.join(name_of)}",
            copy_again(slot.variable),
        )
    if slot.kind not in ("supabase_anon_key", "supabase_service_key"):
        return None
    key, text = supabase_keys.read_key(slot.text or "", 0.0)[0], slot.text or ""
    if key is None or key.generation == "legacy":
        return Problem(
            "wrong_project",
            f"it is a key of a self-hosted Supabase, {addresses} leads to a hosted project",
            copy_again(slot.variable),
        )
    if any(supabase_keys.belongs(text, known) for known in name_of):
        return None
    if any(supabase_keys.belongs(text, known) for known in (*others, supabase_keys.SELF_HOSTED)):
        return Problem(
            "wrong_project", f"it was made for another project than {addresses} leads to", copy_again(slot.variable)
        )
    return Problem(
        "bad_checksum",
        f"a character in it was changed, or it was made for another project than {addresses}",
        copy_again(slot.variable),
    )


def _compare_keys(slots: Sequence[_Slot]) -> None:
    """Without a hosted address: an anon and a service key, one of each, that name different projects."""
    keys = [slot for slot in slots if slot.kind in ("supabase_anon_key", "supabase_service_key")]
    refs = {slot.kind: _named_ref(slot) for slot in keys}
    if len(keys) == len(refs) == 2 and all(refs.values()) and len(set(refs.values())) > 1:
        keys[1].problems.append(
            Problem("wrong_project", f"it belongs to another project than {keys[0].name}", copy_again(keys[1].variable))
        )


def _find_unsigned(slots: Sequence[_Slot]) -> None:
    """Legacy keys that are not signed with the secret that the table says signs them."""
    secrets = [slot for slot in slots if slot.variable.signs_keys and slot.text is not None and not slot.problems]
    for slot in slots:
        if slot.kind not in ("supabase_anon_key", "supabase_service_key") or slot.problems or not secrets:
            continue
        key = supabase_keys.read_key(slot.text or "", 0.0)[0]
        if key is None or key.generation != "legacy":
            continue
        signed = [supabase_keys.signed_by(slot.text or "", secret.text or "") for secret in secrets]
        if False in signed and True not in signed:
            names = " or ".join(secret.name for secret in secrets)
            slot.problems.append(
                Problem(
                    "bad_signature", f"it is not signed with {names}", "Make the keys again with the secret in force."
                )
            )


def _find_other_pair(slots: Sequence[_Slot]) -> None:
    """A certificate that belongs to another private key than the table says."""
    by_name = {slot.name: slot for slot in slots}
    for slot in slots:
        key = by_name.get(slot.variable.private_key)
        if key is None or slot.problems or key.problems or slot.text is None or key.text is None:
            continue
        if key_files.belongs(slot.text, key.text) is False:
            reason = f"it is the certificate of another private key than {key.name}"
            slot.problems.append(Problem("mismatched", reason, f"Renew both together, or copy {key.name} again."))


def _find_other_mode(slots: Sequence[_Slot]) -> None:
    """Stripe keys of test and live mode in one env: payments would be made with one and shown with the other."""
    keys = [slot for slot in slots if slot.kind.startswith("stripe_") and slot.text is not None and not slot.problems]
    modes = {slot.name: mode for slot in keys if (mode := token_formats.stripe_mode(slot.text or ""))}
    if len(set(modes.values())) < 2:
        return
    first = next(iter(modes))
    for slot in keys:
        mode = modes.get(slot.name, modes[first])
        if mode != modes[first]:
            reason = f"it is a {mode} key, and {first} is a {modes[first]} key"
            slot.problems.append(Problem("wrong_mode", reason, copy_again(slot.variable)))
