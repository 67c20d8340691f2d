# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure `recover.yml` against a plain script of the same commands over ssh, in one run, turn by turn; and `site.yml`.

Needs the demo's lab host, converged (`make bench` sees to it). Prints a table, writes `results/recover.json` and
`results/recover.svg`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "bench" / "results"
ADDRESS, APP = "172.30.57.11", "christmas-backend"


def playbook(path: str, *words: str) -> float:
    """Run a playbook; return its seconds. A playbook that fails ends the measurement."""
    begun = time.monotonic()
    ended = subprocess.run(
        ["ansible-playbook", path, *words],
        cwd=REPOSITORY,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if ended.returncode:
        sys.exit(f"{path} failed:\n{ended.stdout[-3000:]}{ended.stderr[-1000:]}")
    return time.monotonic() - begun


def by_hand(values: str) -> float:
    """Run the plain script; return its seconds."""
    begun = time.monotonic()
    script = REPOSITORY / "bench" / "recover_by_hand.sh"
    subprocess.run([str(script), ADDRESS, APP], input=values, text=True, check=True, capture_output=True)
    return time.monotonic() - begun


def vault() -> str:
    """The values that the script needs, as NAME=value lines, from the lab's vault."""
    path = REPOSITORY / "inventory/lab/group_vars/all/vault.yml"
    shown = subprocess.run(
        ["ansible-vault", "view", str(path)], cwd=REPOSITORY, text=True, capture_output=True, check=True
    )
    known = yaml.safe_load(shown.stdout)
    wanted = {
        "SUPABASE_SERVICE_KEY": "vault_supabase_service_key",
        "PROBE_EMAIL": "vault_probe_email",
        "PROBE_PASSWORD": "vault_probe_password",
    }
    return "".join(f"{name}={known[key]}\n" for name, key in wanted.items())


def p95(seconds: list[float]) -> float:
    """The 95th percentile, by the nearest rank."""
    return sorted(seconds)[max(0, -(-len(seconds) * 95 // 100) - 1)]


def picture(measured: dict[str, list[float]], path: Path) -> None:
    """Draw the medians as bars with every single run as a point."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 0.9 + 0.7 * len(measured)))
    for row, seconds in enumerate(measured.values()):
        axes.barh(row, statistics.median(seconds), color="#4c72b0", height=0.5)
        axes.plot(seconds, [row] * len(seconds), "|", color="black", markersize=14)
    axes.set_yticks(range(len(measured)), list(measured))
    axes.invert_yaxis()
    axes.set_xlabel("seconds (bar: median, strokes: single runs)")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="how often each is measured (default: 20)")
    runs = parser.parse_args().runs
    values = vault()
    ways: dict[str, Callable[[], float]] = {
        "recover.yml": lambda: playbook("playbooks/recover.yml"),
        "the same commands by hand": lambda: by_hand(values),
    }
    measured: dict[str, list[float]] = {
        "recover.yml": [],
        "the same commands by hand": [],
        "site.yml, nothing to change": [],
    }
    for turn in range(1, runs + 1):
        for name, measure in ways.items():
            playbook("lab/incident.yml")
            measured[name].append(measure())
        playbook("playbooks/site.yml")
        measured["site.yml, nothing to change"].append(playbook("playbooks/site.yml"))
        print(
            f"turn {turn} of {runs}: " + ", ".join(f"{name} {seconds[-1]:.1f} s" for name, seconds in measured.items())
        )
    RESULTS.mkdir(exist_ok=True)
    print("\n| what | n | median s | p95 s | goal |\n|---|---:|---:|---:|---|")
    goals = ("≤ 15 s, ≤ 1.5 x by hand", "", "≤ 20 s")
    for (name, seconds), goal in zip(measured.items(), goals):
        print(f"| {name} | {len(seconds)} | {statistics.median(seconds):.2f} | {p95(seconds):.2f} | {goal} |")
    ratio = statistics.median(measured["recover.yml"]) / statistics.median(measured["the same commands by hand"])
    print(f"\nrecover.yml takes {ratio:.2f} times as long as the same commands by hand.")
    (RESULTS / "recover.json").write_text(
        json.dumps({"seconds": measured, "ratio": ratio}, indent=2) + "\n", encoding="utf-8"
    )
    picture(measured, RESULTS / "recover.svg")


if __name__ == "__main__":
    main()
