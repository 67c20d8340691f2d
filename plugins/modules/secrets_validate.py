#!/usr/bin/python
# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: secrets_validate
short_description: Validate the values of an app's env before anything is touched
version_added: 1.0.0
description:
  - Holds the values of environment variables against a table that says of what kind each must be, and fails with one
    line for each value that cannot be right - a placeholder, a truncated or expired key, a key of another project,
    swapped keys, quotes or a line end around a good value, a value that is in two slots, and more.
  - All of that needs no network. With O(online), Supabase is asked as well whether it accepts the keys.
  - Runs on the controller, before a host is touched, with O(values), or on a host against the file at O(path).
  - Its result holds no value, only names, reasons and short SHA-256 fingerprints.
author: Contributors to the christmas.selfheal project (@christmas)
extends_documentation_fragment:
  - christmas.selfheal.attributes
attributes:
  check_mode:
    support: full
    details: It changes nothing anyway.
  diff_mode:
    support: none
options:
  variables:
    description:
      - The table, a list with one entry for each variable.
      - B(name) - Required. The name of the environment variable.
      - "B(kind) - Required. V(supabase_url), V(supabase_anon_key), V(supabase_service_key), V(jwt_secret), V(token),
        V(postgres_dsn), V(mysql_dsn), V(mongodb_dsn), V(redis_url), V(amqp_dsn), V(smtp_dsn), V(stripe_key),
        V(stripe_publishable_key), V(stripe_webhook_secret), V(sendgrid_key), V(aws_access_key_id),
        V(aws_secret_access_key), V(openai_key), V(github_token), V(slack_token), V(slack_webhook), V(telegram_token),
        V(google_service_account), V(private_key), V(certificate), V(fernet_key), V(django_secret_key),
        V(rails_secret_key_base), V(rails_master_key), V(laravel_app_key), V(url), V(port), V(integer), V(boolean),
        V(enum), V(pattern), V(email), V(text)."
      - V(openai_key) is any key that begins with C(sk-), as several providers have them. A store that only speaks the
        protocol of AWS has keys of kind V(token). V(google_service_account) is the JSON file, of Firebase too.
      - A file in PEM format, in V(private_key) and V(certificate), may have its line ends written as C(\\n), or be
        base64 as a whole.
      - B(required) - V(false) for what the app can do without; V(true) when not given.
      - B(source) - Where the value comes from, in one line. Error messages and C(.env.example) show it.
      - B(secret) - Whether the value must never be shown. By default V(supabase_url), V(url), V(port), V(integer),
        V(boolean), V(enum), V(pattern), V(email), V(text), V(certificate) and V(stripe_publishable_key) are not secret,
        and all others are.
      - B(default) - The value when none is given; only for what is not secret.
      - B(pattern) - For kind V(pattern), the regular expression that the whole value must match.
      - B(choices) - For kind V(enum), the list of values that are allowed.
      - B(min), B(max) - For kinds V(integer) and V(port), the lowest and highest value.
      - B(min_length) - For kinds V(token), V(text) and V(jwt_secret), the number of characters at least; V(8) for a
        token and V(32) for a signing secret when not given.
      - B(same_as) - The name of another variable that holds the same value on purpose. Otherwise two secrets with one
        value are refused.
      - B(signs_keys) - For kind V(jwt_secret), V(true) when it is Supabase's own signing secret, so that the legacy
        keys must be signed with it. An app's own secret need not be. Says nothing of keys that a key pair signs.
      - B(private_key) - For kind V(certificate), the name of the variable that holds its private key. They are then
        compared.
    type: list
    elements: dict
    required: true
  values:
    description:
      - The values by name. All must be text; a whole number will do for a variable that is not secret.
      - Names that the table does not list give a warning.
    type: dict
  path:
    description: An env file on the host, read as Compose reads it.
    type: path
  online:
    description:
      - Whether to ask the project at the variable of kind V(supabase_url), too, once the rules have found nothing.
    type: bool
    default: false
  timeout:
    description: Seconds that one such question may take.
    type: float
    default: 5
  report_only:
    description: Return the findings instead of failing.
    type: bool
    default: false
seealso:
  - module: christmas.selfheal.env_file
"""

EXAMPLES = r"""
- name: Validate the values from the vault, before the host is touched
  christmas.selfheal.secrets_validate:
    variables:
      - name: SUPABASE_URL
        kind: supabase_url
        source: "Supabase, Project Settings, Data API: project URL"
      - name: SUPABASE_SERVICE_KEY
        kind: supabase_service_key
        source: "Supabase, Project Settings, API Keys: secret key"
      - name: LOG_LEVEL
        kind: enum
        choices: [debug, info, warning]
        default: info
    values:
      SUPABASE_URL: https://kq3vz7hw2mtd9xjfplnb.supabase.co
      SUPABASE_SERVICE_KEY: "{{ vault_supabase_service_key }}"
    online: true
  delegate_to: localhost

- name: Say what is wrong with the env on the host
  christmas.selfheal.secrets_validate:
    variables: "{{ app_env_variables }}"
    path: /opt/shop/.env
    report_only: true
  register: env_state
"""

RETURN = r"""
findings:
  description: What is wrong, in the order of the table; empty when everything is valid.
  returned: when the table and the file could be read
  type: list
  elements: dict
  contains:
    variable:
      description: The variable's name.
      type: str
    rule:
      description: A word for programs, such as V(placeholder), V(expired) or V(swapped).
      type: str
    reason:
      description: What is wrong with it, without the value.
      type: str
    fix:
      description: What to do about it.
      type: str
  sample:
    - variable: SUPABASE_SERVICE_KEY
      rule: truncated
      reason: "its end is missing: 30 of 43 characters of the signature"
      fix: Copy the whole key again, to its end. It comes from the vault.
proved:
  description: Names of the variables that have a value with which nothing is wrong.
  returned: when the table and the file could be read
  type: list
  elements: str
fingerprints:
  description: Name and short SHA-256 of each value, to tell two of them apart.
  returned: when the table and the file could be read
  type: dict
  sample: {SUPABASE_SERVICE_KEY: "sha256:1a2b3c4d5e6f"}
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.christmas.selfheal.plugins.module_utils.entry import ansible_no_log, env_module

SPEC = {
    "variables": {"type": "list", "elements": "dict", "required": True},
    "values": {"type": "dict", "no_log": True},
    "path": {"type": "path"},
    "online": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 5.0},
    "report_only": {"type": "bool", "default": False},
}


def validate(module: AnsibleModule) -> dict[str, object]:
    """Validate the values, or the file."""
    given = module.params
    ansible_no_log.unmask(module, given["variables"], given["values"] or {})
    result, unlisted = env_module.validate(given, time.time())
    for name in unlisted:
        module.warn(f"{name} has a value, but no entry in the table: nothing validates it, and it is not written.")
    if result["findings"] and not given["report_only"]:
        raise ansible_no_log.Failed(env_module.message(given["values"], result["findings"]), **result)
    return {"changed": False, **result}


def main() -> None:
    """Validate, exit."""
    either = [("values", "path")]
    ansible_no_log.run(
        AnsibleModule, SPEC, validate, env_module.EXPECTED, mutually_exclusive=either, required_one_of=either
    )


if __name__ == "__main__":
    main()
