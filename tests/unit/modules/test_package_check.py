# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module: arguments in, one result out, also in check mode. What counts is in tests/unit/host/test_packages.py."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.christmas.selfheal.plugins.module_utils.host import packages
from ansible_collections.christmas.selfheal.plugins.modules import package_check

NEEDED = {"name": "restic", "option": "backup_repository", "otherwise": "leave it empty"}


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("lines", [[], ["restic is too old", "promtool is missing"]])
def test_problems_fail_the_task_and_nothing_is_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lines: list[str], check: bool
) -> None:
    asked: list[packages.Need] = []

    def read(needs: Iterable[packages.Need]) -> packages.Checked:
        asked.extend(needs)
        return packages.Checked(lines, ["promtool"])

    monkeypatch.setattr(packages, "check", read)
    arguments = {"packages": [NEEDED], "_ansible_check_mode": check}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        package_check.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert asked == [packages.Need("restic", "", "backup_repository", "leave it empty")]
    assert (bool(result.get("failed")), result.get("msg", "")) == (bool(lines), "\n".join(lines))
    assert not result.get("changed")
    assert result.get("not_offered") == (None if lines else ["promtool"])
