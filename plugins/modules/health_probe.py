#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: health_probe
short_description: Ask an app over HTTP whether it works
version_added: 1.0.0
description:
  - Sends a list of HTTP requests (the checks), compares each answer with what is expected of it, and fails unless all
    of them pass. Checks hand values on, so that they can follow a user, such as log in, then read data with the token.
  - Each request goes straight to the host in its URL, without a proxy, and redirects are not followed, so the status
    is what the app itself said. A server that answers one byte a second cannot hold a check longer than its
    C(timeout).
  - Runs on a host or on the controller. Changes nothing, so it does the same in check mode.
  - Its result holds no value of O(values) or of O(path), and no captured value.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  checks:
    description:
      - The checks, in the order in which they are run. A check that fails does not stop the others, but for those
        that need a value which it should have captured.
      - V(${NAME}) in C(url), C(headers), C(json), C(form) and C(body) is replaced by the value that an earlier check
        captured under this name, else by that of the env. V($${) is a literal V(${).
      - B(name) - Required. A short name of its own, which all results show.
      - B(url) - Required. C(http://) or C(https://), without user name and password. An IPv6 address is in
        brackets.
      - B(method) - V(GET) when not given.
      - B(headers) - A mapping of names to values to send.
      - B(json) - Any structure, sent as JSON. Of this, C(form) and C(body) a check has one at most.
      - B(form) - A mapping of fields to values, sent as a form of a page is.
      - B(body) - A text, sent as it is.
      - B(timeout) - Seconds that the whole request may take, from the name lookup to the last byte; V(5) when not
        given.
      - B(status) - The expected status, or a list of them; V(200) when not given.
      - "B(json_path) - A mapping of paths into the JSON body, such as C($.items[0].id) or C($['a key']), to what must
        be there - a value, or one of C({exists: true}), C({matches: 'regular expression'}), C({equals: value})."
      - B(contains) - A text that the body must contain.
      - B(header) - A mapping of names of the answer's headers to what they must be; as in C(json_path).
      - B(max_latency) - Seconds that the answer may take at most. A slower one fails the check, though its captured
        values are used.
      - B(tls_days_left) - Days for which the server's certificate must still be valid.
      - "B(capture) - A mapping of names to where their values are, which later checks use as V(${token}): a path into
        the JSON body, such as C({token: $.access_token}), or one of C({cookie: NAME}), C({header: NAME}) and
        C({body: REGEX}), whose one group is the value."
      - "No cookie is sent by itself. A check names those it sends, as in C({Cookie: 'sid=${session}'}), whatever
        Path, Secure or HttpOnly say of them."
      - B(proves) - What a passing check shows, V(health), V(api) or V(frontend); V(api) when not given. It says
        which line of the checklist the check belongs to.
      - B(verify_tls) - V(false) takes any certificate; V(true) when not given.
    type: list
    elements: dict
    required: true
  values:
    description:
      - The env's values by name, for V(${NAME}) in the checks. They win over those of O(path).
    type: dict
  path:
    description:
      - An env file on the host, whose values are used for V(${NAME}) in the checks.
      - When neither this nor O(values) is given, the C(.env) in O(directory) is used, if there is one.
    type: path
  deadline:
    description:
      - Seconds for which checks that fail are tried again, with pauses of 0.1 s that grow to 1 s. V(0) means that
        it is tried once.
      - A new attempt begins at the check that failed, or at the one whose captured value it used.
    type: float
    default: 0
  variables:
    description:
      - The table of the env's variables, as for M(christmas.selfheal.secrets_validate). Values that it does not call
        secret are not masked in the output.
    type: list
    elements: dict
    default: []
  app:
    description: Name of the app, for the default of O(directory).
    type: str
  directory:
    description: Where the app's C(.env) is; C(/opt/<app>) when O(app) is given.
    type: path
seealso:
  - module: christmas.selfheal.app_info
"""

EXAMPLES = r"""
- name: Ask the app whether it is there
  christmas.selfheal.health_probe:
    checks:
      - name: health
        url: http://127.0.0.1:8000/health
        proves: health
        json_path: {$.status: ok}

- name: Log in and read data, for up to a minute after a start
  christmas.selfheal.health_probe:
    deadline: 60
    path: /opt/shop/.env
    checks:
      - name: login
        url: http://127.0.0.1:${PORT}/auth/login
        method: POST
        json: {email: "${PROBE_EMAIL}", password: "${PROBE_PASSWORD}"}
        capture: {token: $.access_token}
      - name: gifts
        url: http://127.0.0.1:${PORT}/api/gifts
        headers: {Authorization: "Bearer ${token}"}
        json_path: {"$.gifts[0].id": {exists: true}}
        max_latency: 0.5

- name: Log in with a form and a cookie, as Django, Rails, Laravel, PHP and Express have it
  christmas.selfheal.health_probe:
    path: /opt/shop/.env
    checks:
      - name: form
        url: http://127.0.0.1:${PORT}/login
        capture:
          before: {cookie: sid}
          csrf: {body: 'name="csrf" value="([^"]+)"'}
      - name: login
        url: http://127.0.0.1:${PORT}/login
        method: POST
        headers: {Cookie: "sid=${before}"}
        form: {email: "${PROBE_EMAIL}", password: "${PROBE_PASSWORD}", csrf: "${csrf}"}
        status: 302
        capture: {session: {cookie: sid}}
      - name: gifts
        url: http://127.0.0.1:${PORT}/gifts
        headers: {Cookie: "sid=${session}"}

- name: Look at the front end from the controller
  christmas.selfheal.health_probe:
    checks:
      - name: page
        url: https://shop.example.com/
        proves: frontend
        header: {Content-Type: {matches: ^text/html}}
        contains: Sign in
        tls_days_left: 14
  delegate_to: localhost
"""

RETURN = r"""
ok:
  description: Whether every check passed.
  returned: always, unless an argument is wrong
  type: bool
  sample: false
passed:
  description: How many checks passed.
  returned: always, unless an argument is wrong
  type: int
  sample: 2
total:
  description: How many checks there are.
  returned: always, unless an argument is wrong
  type: int
  sample: 3
summary:
  description: The result in one line; it is the message of a failure too.
  returned: always, unless an argument is wrong
  type: str
  sample: "2 of 3 checks passed; `login` got 401 in 34 ms: expected 200"
seconds:
  description: How long all attempts took together.
  returned: always, unless an argument is wrong
  type: float
  sample: 0.08
latency:
  description: Seconds that an answer took, over all answers of all attempts; null when nothing answered.
  returned: always, unless an argument is wrong
  type: dict
  contains:
    min:
      description: The shortest.
      type: float
    median:
      description: The median.
      type: float
    p95:
      description: The 95th percentile.
      type: float
results:
  description: One entry for each check, in order, with its last attempt.
  returned: always, unless an argument is wrong
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
    ok:
      description: Whether it passed.
      type: bool
    proves:
      description: What it shows when it passes.
      type: str
    kind:
      description:
        - What kind of failure it is, null when it passed.
        - One of V(refused), V(unreachable), V(timeout), V(reset), V(dns), V(tls), V(answer) (the answer is not HTTP),
          V(status), V(header), V(body), V(latency), V(skipped) (it was not sent, because a value that it needs is
          missing).
      type: str
    status:
      description: The HTTP status, null when there was no answer.
      type: int
    seconds:
      description: How long it took.
      type: float
    reason:
      description: What was seen, and what was expected.
      type: str
    attempts:
      description: How often it was tried.
      type: int
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log
from ansible_collections.christmas.selfheal.plugins.module_utils.env import dotenv
from ansible_collections.christmas.selfheal.plugins.module_utils.env.variables import is_secret
from ansible_collections.christmas.selfheal.plugins.module_utils.probe import run as probe

SPEC = {
    "checks": {"type": "list", "elements": "dict", "required": True},
    "values": {"type": "dict", "no_log": True},
    "path": {"type": "path"},
    "deadline": {"type": "float", "default": 0.0},
    "variables": {"type": "list", "elements": "dict", "default": []},
    "app": {"type": "str"},
    "directory": {"type": "path"},
}


def env_values(path: str | None, directory: str | None) -> dict[str, str]:
    """The values of the env file that was named, or of the app's own when it has one."""
    if path is None and (directory is None or not os.path.exists(os.path.join(directory, ".env"))):
        return {}
    path = path or os.path.join(directory or "", ".env")
    try:
        with open(path, "rb") as stream:
            return dotenv.parse(stream.read().decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"path: {path} is not UTF-8 text. Fix: write it again from the vault") from None
    except dotenv.DotenvError as error:
        raise ValueError(f"path: {path}: {error}. Fix: write it again from the vault") from None
    except OSError as error:
        raise ValueError(f"path: {path}: {error.strerror}. Fix: name an env file that is on this host") from None


def ask(module: AnsibleModule) -> dict[str, Any]:
    """Run the checks."""
    given = module.params
    ansible_no_log.unmask(module, given["variables"], given["values"] or {})
    directory = given["directory"] or (f"/opt/{given['app']}" if given["app"] else None)
    own = env_values(given["path"], directory if given["values"] is None else None)
    values = {**own, **{name: str(value) for name, value in (given["values"] or {}).items()}}
    checks = probe.parse_checks(given["checks"], known=values)
    shown = {entry["name"] for entry in given["variables"] if "name" in entry and not is_secret(entry)}
    result = probe.run_checks(checks, values, given["deadline"], shown=shown)
    if not result["ok"]:
        raise ansible_no_log.Failed(result["summary"], **result)
    return {"changed": False, **result}


def main() -> None:
    """Probe, exit."""
    # CheckError is a ValueError, too.
    ansible_no_log.run(AnsibleModule, SPEC, ask, (ValueError,))


if __name__ == "__main__":
    main()
