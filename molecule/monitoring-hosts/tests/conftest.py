# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What promtool is asked, in the form of the scenario `monitoring`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
