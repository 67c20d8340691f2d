# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ansible's runs share the modules that they have packed. Python imports this file at its start, from PYTHONPATH.

Each run packs each module that it sends with all files that the module imports: a fifth of the run's CPU time.
Ansible keeps the packed module for the rest of the run, in the folder ansiballz_cache of its temporary folder. Here
that folder is a link to one for all runs with the same sources.

Every Python process of a scenario imports this file, so imports are where they are needed.
"""

from __future__ import annotations

import sys

AFTER = "ansible.constants"
"""Ansible's temporary folder exists when this is imported."""
KEPT_SECONDS = 86400


def share(temporary: str) -> None:
    """Make the link in the temporary folder of this run."""
    import hashlib
    import shutil
    import time
    from pathlib import Path

    repository = Path(__file__).resolve().parents[3]
    # What a packed module depends on: Python, the installed packages, and each of our files.
    sources = [sys.version, *(path.read_text(encoding="utf-8") for path in sorted(Path(sys.prefix).glob(".ready-*")))]
    for folder in ("modules", "module_utils"):
        for path in sorted((repository / "plugins" / folder).rglob("*.py")):
            about = path.stat()
            sources.append(f"{path} {about.st_ino} {about.st_size} {about.st_mtime_ns}")
    packed = repository / ".cache/packed-modules" / hashlib.sha256("\n".join(sources).encode()).hexdigest()[:16]
    if not packed.exists():
        packed.mkdir(parents=True, exist_ok=True)
        for other in packed.parent.iterdir():
            if other.stat().st_mtime < time.time() - KEPT_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
    (Path(temporary) / "ansiballz_cache").symlink_to(packed)


class Finder:
    """Finds AFTER as usual, and calls `share` when it has been imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        """Answer for one name only, and once."""
        if name != AFTER:
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = find_spec(name)
        if spec and spec.loader:
            run = spec.loader.exec_module

            def exec_module(module: object) -> None:
                run(module)  # type: ignore[arg-type]
                share(str(vars(module)["DEFAULT_LOCAL_TMP"]))

            vars(spec.loader)["exec_module"] = exec_module
        return spec


sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
