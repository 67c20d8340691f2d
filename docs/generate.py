# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Generate docs/reference, the roles' README.md and meta/main.yml, and Grafana's dashboards: `make docs`.

With --check it writes nothing, and fails if a file is out of date.

What is said of a role comes from its meta/argument_specs.yml. The modules' pages come from ansible-doc, with their doc
fragments. installed.py lists the packages.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import installed
import yaml
from grafana import build

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
COLLECTION = "christmas.selfheal"
WRITTEN_BY = "<!-- Written by `make docs`; change {source} instead. -->\n"

# Ansible's markup and its Markdown. M, P and RV may have a suffix after `#`.
MARKUP: list[tuple[str, str]] = [
    (r"\bM\(christmas\.selfheal\.(\w+)\)", r"[`\1`](../modules/\1.md)"),
    (r"\bL\(([^,()]+),\s*([^)]+)\)", r"[\1](\2)"),
    (r"\bU\(([^)]+)\)", r"<\1>"),
    (r"\bB\(([^)]+)\)", r"**\1**"),
    (r"\bI\(([^)]+)\)", r"*\1*"),
    (r"\b(?:C|V|O|E|M|RV)\(((?:[^()\\]|\\.|\([^()]*\))+)\)", r"`\1`"),
    (r"\bP\(([^)#]+)#?\w*\)", r"`\1`"),
]


def markdown(text: Any) -> str:
    """Paragraphs or one string of Ansible markup as one line of Markdown."""
    line = " ".join(str(part).strip() for part in (text if isinstance(text, list) else [text or ""]))
    for pattern, replacement in MARKUP:
        line = re.sub(pattern, replacement, line)
    return re.sub(r"\s+", " ", line)


def paragraphs(text: Any) -> list[Any]:
    """A string, a list of strings or nothing, as a list."""
    if isinstance(text, list):
        return text
    return [text] if text else []


def literal(value: Any) -> str:
    """A default or choice as it would be written in YAML."""
    return f"`{value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)}`"


def kind(option: Mapping[str, Any]) -> str:
    """`list of dict`, `str`."""
    elements = option.get("elements")
    return f"{option.get('type', 'str')}{f' of {elements}' if elements else ''}"


def rows(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Options and their suboptions, as (`checks[].name`, option)."""
    for name, option in options.items():
        yield prefix + name, option
        below = option.get("options") or option.get("suboptions") or option.get("contains") or {}
        mark = "[]." if option.get("type") == "list" else "."
        yield from rows(below, prefix + name + mark)


def table(head: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    cells = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in line] for line in lines)]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def option_table(options: Mapping[str, Any]) -> str:
    """The table of a role's variables or a module's options."""
    lines = []
    for name, option in rows(options):
        text = markdown(option.get("description"))
        if option.get("choices"):
            text += f" One of {', '.join(literal(choice) for choice in option['choices'])}."
        default = option.get("default")
        shown = "**required**" if option.get("required") else "" if default is None else literal(default)
        lines.append([f"`{name}`", kind(option), shown, text])
    return table(["name", "type", "default", "what it is"], lines)


def bullets(text: Any) -> str:
    """A description of several paragraphs as a list, a single one as a paragraph."""
    parts = text if isinstance(text, list) else [text]
    mark = "- " if len(parts) > 1 else ""
    return "".join(f"{mark}{markdown(part)}\n" for part in parts)


def role_page(name: str, specs: Mapping[str, Any]) -> str:
    """One role: each entry point with its variables."""
    source = f"roles/{name}/meta/argument_specs.yml"
    page = WRITTEN_BY.format(source=source) + f"# Role `{COLLECTION}.{name}`\n"
    for entry, spec in specs.items():
        page += "" if entry == "main" else f"\n## Entry point `{entry}`\n"
        page += f"\n**{markdown(spec['short_description'])}**\n"
        if spec.get("description"):
            page += f"\n{bullets(spec['description'])}"
        if entry != "main" and spec.get("options") == specs["main"].get("options"):
            page += "\nTakes the variables above.\n"
        elif spec.get("options"):
            page += f"\n{option_table(spec['options'])}"
    return page


def role_readme(name: str, specs: Mapping[str, Any]) -> str:
    """What Galaxy shows of one role."""
    main = specs["main"]
    page = WRITTEN_BY.format(source="meta/argument_specs.yml") + f"# Role `{COLLECTION}.{name}`\n"
    description = bullets(main["description"]).replace("(../modules/", "(../../docs/reference/modules/")
    page += f"\n**{markdown(main['short_description'])}**\n\n{description}"
    required = [f"`{key}`" for key, option in main.get("options", {}).items() if option.get("required")]
    if required:
        page += f"\nRequired variables: {', '.join(required)}.\n"
    return page + f"\n[All variables](../../docs/reference/roles/{name}.md)\n"


def role_meta(specs: Mapping[str, Any]) -> str:
    """The description of one role where Galaxy looks for it."""
    described = {"galaxy_info": {"description": specs["main"]["short_description"], "standalone": False}}
    return f"---\n# Written by `make docs`; change meta/argument_specs.yml instead.\n{yaml.safe_dump(described)}"


def module_page(name: str, documented: Mapping[str, Any]) -> str:
    """One module: description, options, what it supports, examples, what it returns."""
    doc = documented["doc"]
    page = WRITTEN_BY.format(source=f"plugins/modules/{name}.py") + f"# Module `{COLLECTION}.{name}`\n"
    page += f"\n**{markdown(doc['short_description'])}**\n\n{bullets(doc['description'])}"
    page += f"\n## Options\n\n{option_table(doc.get('options') or {})}"
    support = [
        [f"`{key}`", str(value.get("support", "")), markdown([*paragraphs(value.get("details")), value["description"]])]
        for key, value in sorted((doc.get("attributes") or {}).items())
    ]
    page += f"\n## Attributes\n\n{table(['attribute', 'support', 'meaning'], support)}"
    for note in doc.get("notes") or []:
        page += f"\n> {markdown(note)}\n"
    page += f"\n## Examples\n\n```yaml\n{documented['examples'].strip()}\n```\n"
    returned = [
        [f"`{key}`", kind(value), str(value.get("returned", "")), markdown(value.get("description"))]
        for key, value in rows(documented.get("return") or {})
    ]
    return page + f"\n## Returns\n\n{table(['name', 'type', 'returned', 'what it is'], returned)}"


def read_roles() -> dict[str, Any]:
    """Argument specs by role."""
    files = sorted(ROOT.glob("roles/*/meta/argument_specs.yml"))
    return {file.parts[-3]: yaml.safe_load(file.read_text(encoding="utf-8"))["argument_specs"] for file in files}


def read_modules() -> dict[str, Any]:
    """What ansible-doc says, by module."""
    names = sorted(file.stem for file in ROOT.glob("plugins/modules/[!_]*.py"))
    command = ["ansible-doc", "--json", "--type", "module", *(f"{COLLECTION}.{name}" for name in names)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode:
        sys.exit(f"docs: ansible-doc failed: {answer.stderr.strip()}")
    documented = json.loads(answer.stdout)
    return {name: documented[f"{COLLECTION}.{name}"] for name in names}


def pages() -> dict[Path, str]:
    """Every page of the reference, and what roles carry of it, by path."""
    roles, modules = read_roles(), read_modules()
    index = WRITTEN_BY.format(source="what it is written from, the roles' specs and the modules' documentation")
    index += "# Reference\n\n## Roles\n\n"
    for name, specs in roles.items():
        index += f"- [`{name}`](roles/{name}.md): {markdown(specs['main']['short_description'])}\n"
    index += "\n## Modules\n\n"
    for name, documented in modules.items():
        index += f"- [`{name}`](modules/{name}.md): {markdown(documented['doc']['short_description'])}\n"
    index += "\n## Packages\n\n- [What is installed](packages.md) on hosts and on the controller\n"
    written = WRITTEN_BY.format(source="roles, or requirements/controller.in")
    return {
        REFERENCE / "README.md": index,
        REFERENCE / "packages.md": written + installed.page(),
        REFERENCE / "sbom.cdx.json": installed.bom(),
        **{REFERENCE / "roles" / f"{name}.md": role_page(name, specs) for name, specs in roles.items()},
        **{ROOT / "roles" / name / "README.md": role_readme(name, specs) for name, specs in roles.items()},
        **{ROOT / "roles" / name / "meta" / "main.yml": role_meta(specs) for name, specs in roles.items()},
        **{REFERENCE / "modules" / f"{name}.md": module_page(name, doc) for name, doc in modules.items()},
    }


def main() -> None:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(
        description="Write docs/reference, the roles' pages and the dashboards, or check that they are up to date."
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a file is out of date")
    check = parser.parse_args().check

    wanted = {**pages(), **build.files()}
    of_roles = [file for kind in ("README.md", "meta/main.yml") for file in ROOT.glob(f"roles/*/{kind}")]
    known = [*REFERENCE.rglob("*.*"), *of_roles, *build.FOLDER.glob("*.json")]
    present = {file: file.read_text(encoding="utf-8") for file in known}
    stale = sorted(file for file in {*wanted, *present} if wanted.get(file) != present.get(file))
    if check and stale:
        sys.exit(f"docs: out of date: {', '.join(str(file.relative_to(ROOT)) for file in stale)}. Run: make docs")
    for file in stale:
        if file in wanted:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(wanted[file], encoding="utf-8")
        else:
            file.unlink()
    print(f"docs: {len(wanted)} files, {len(stale)} changed")


if __name__ == "__main__":
    main()
