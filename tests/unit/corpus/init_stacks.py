# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Projects as people have them before an inventory: {name: Stack}. All of them were written here."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .synthetic import HEX, legacy, noise, pem

_BASE64 = string.ascii_letters + string.digits + "+/"

# Every secret holds this, so that a test finds it wherever it gets.
SIGN = "Zq7Xw3Kd"


class Stack(NamedTuple):
    """The files; what is passed as `from`; the secrets by name; the checks' addresses; services with a row."""

    files: Mapping[str, str]
    given: Sequence[str]
    secrets: Mapping[str, str]
    checks: Sequence[str]
    rows: Sequence[str]
    settings: Mapping[str, object] = {}


def secret(seed: str, length: int = 24) -> str:
    """A recognisable secret."""
    return SIGN + noise(seed, length, string.ascii_letters + string.digits)


KEY = pem("PRIVATE KEY", noise(SIGN, 64, _BASE64), noise("key", 64, _BASE64))

STACKS: dict[str, Stack] = {
    "an app with postgres, redis and nginx, official images": Stack(
        {
            "compose.yaml": """
name: shop
services:
  proxy:
    image: nginx:1
    ports: ["${HTTP_PORT:-8080}:80"]
    volumes: ["./nginx.conf:/etc/nginx/conf.d/default.conf:ro"]
    depends_on: [app]
  app:
    build: .
    environment:
      DATABASE_URL: postgres://shop:${POSTGRES_PASSWORD}@db:5432/shop
      REDIS_URL: redis://:${REDIS_PASSWORD}@cache:6379/0
      SECRET_KEY: ${SECRET_KEY:?}
      LOG_LEVEL: ${LOG_LEVEL:-info}
    depends_on: {db: {condition: service_healthy}, cache: {condition: service_started}}
  db:
    image: postgres:17
    environment: {POSTGRES_USER: shop, POSTGRES_PASSWORD: "${POSTGRES_PASSWORD}"}
    volumes: ["db:/var/lib/postgresql/data"]
  cache: {image: "redis:8", command: ["redis-server", "--requirepass", "${REDIS_PASSWORD}"]}
volumes: {db: }
""",
            "nginx.conf": "server { listen 80; location / { proxy_pass http://app:8000; } }\n",
            "Dockerfile": "FROM scratch\n",
            ".env": f"POSTGRES_PASSWORD={secret('pg')}\nREDIS_PASSWORD={secret('redis')}\nSECRET_KEY={secret('key', 50)}\nHTTP_PORT=8081\n",
        },
        ["compose.yaml"],
        {"POSTGRES_PASSWORD": secret("pg"), "REDIS_PASSWORD": secret("redis"), "SECRET_KEY": secret("key", 50)},
        ["http://127.0.0.1:${HTTP_PORT}/"],
        [],
        {"HTTP_PORT": 8081},
    ),
    "a blog": Stack(
        {
            "docker-compose.yml": """
services:
  wordpress:
    image: wordpress:6-apache
    ports: ["8080:80"]
    environment: {WORDPRESS_DB_HOST: db, WORDPRESS_DB_USER: blog, WORDPRESS_DB_PASSWORD: "${DB_PASSWORD}"}
  db:
    image: mysql:8.4
    environment: {MYSQL_DATABASE: blog, MYSQL_USER: blog, MYSQL_PASSWORD: "${DB_PASSWORD}", MYSQL_RANDOM_ROOT_PASSWORD: "1"}
    volumes: ["data:/var/lib/mysql"]
volumes: {data: }
""",
            ".env": f"export DB_PASSWORD='{secret('blog')}$x'\n",
        },
        ["."],
        {"DB_PASSWORD": secret("blog") + "$x"},
        ["http://127.0.0.1:8080/"],
        [],
    ),
    "feature flags from npm": Stack(
        {
            "compose.yaml": """
services:
  unleash:
    build: .
    ports: ["4242:4242"]
    env_file: .env
    depends_on: [db]
  db: {image: "postgres:17", environment: {POSTGRES_PASSWORD: "${DATABASE_PASSWORD}", POSTGRES_USER: unleash}}
""",
            "Dockerfile": "FROM node:22\n",
            ".env": f"""# the database
DATABASE_HOST=db
DATABASE_PORT=5432
DATABASE_NAME=unleash
DATABASE_USERNAME=unleash
DATABASE_PASSWORD={secret("unleash")}
DATABASE_SSL=false
LOG_LEVEL=warn
NODE_ENV=production
INIT_ADMIN_API_TOKENS=*:*.{secret("admin", 40)}
ADMIN_EMAIL=ops@acme.dev
UNLEASH_URL=https://flags.acme.dev
SESSION_DB=true
""",
        },
        ["compose.yaml"],
        {"DATABASE_PASSWORD": secret("unleash"), "INIT_ADMIN_API_TOKENS": f"*:*.{secret('admin', 40)}"},
        ["http://127.0.0.1:4242/"],
        ["unleash"],
        {"DATABASE_PORT": 5432, "DATABASE_SSL": "false", "NODE_ENV": "production", "ADMIN_EMAIL": "ops@acme.dev"},
    ),
    "a site with workers and a broker": Stack(
        {
            "compose.yaml": """
x-app: &app
  build: .
  environment: &env
    DJANGO_SECRET_KEY: ${DJANGO_SECRET_KEY}
    CELERY_BROKER_URL: ${CELERY_BROKER_URL}
    SENTRY_DSN: ${SENTRY_DSN:-}
services:
  web:
    <<: *app
    ports: ["127.0.0.1:8000:8000"]
    healthcheck: {test: ["CMD", "curl", "-f", "http://localhost:8000/healthz"], interval: 10s}
  worker: {<<: *app, command: celery -A app worker}
  migrate: {<<: *app, command: ./manage.py migrate, restart: "no"}
  broker: {image: "rabbitmq:4", environment: {RABBITMQ_DEFAULT_USER: site, RABBITMQ_DEFAULT_PASS: "${RABBITMQ_DEFAULT_PASS}"}}
""",
            ".env": (
                f'DJANGO_SECRET_KEY="{secret("django", 50)}"\n'
                f"RABBITMQ_DEFAULT_PASS={secret('rabbit')}\n"
                "CELERY_BROKER_URL=amqp://site:${RABBITMQ_DEFAULT_PASS}@broker:5672//\n"
            ),
        },
        ["compose.yaml"],
        {
            "DJANGO_SECRET_KEY": secret("django", 50),
            "RABBITMQ_DEFAULT_PASS": secret("rabbit"),
            "CELERY_BROKER_URL": f"amqp://site:{secret('rabbit')}@broker:5672//",
        },
        ["http://127.0.0.1:8000/healthz"],
        ["web"],
    ),
    "env files of its own, and no .env": Stack(
        {
            "compose.yaml": """
services:
  api: {image: "ghcr.io/acme/api:2", env_file: [{path: api.env}, {path: local.env, required: false}], ports: ["3000:3000"]}
  db: {image: "mongo:7", env_file: db.env}
""",
            "api.env": f"API_TOKEN={secret('api')}\nCACHE_TTL=300\n",
            "db.env": f"MONGO_INITDB_ROOT_USERNAME=root\nMONGO_INITDB_ROOT_PASSWORD={secret('mongo')}\n",
        },
        ["compose.yaml"],
        {},
        ["http://127.0.0.1:3000/"],
        ["api"],
    ),
    "an override file and a profile": Stack(
        {
            "compose.yaml": "services: {web: {image: 'ghcr.io/acme/web:${TAG:-1}', ports: ['80:8080']}, debug: {image: x, profiles: [debug], ports: ['80:80']}}",
            "compose.override.yaml": "services: {web: {environment: {API_KEY: '${API_KEY}'}}}",
            ".env": f"API_KEY={secret('override')}\n",
        },
        ["compose.yaml"],
        {"API_KEY": secret("override")},
        ["http://127.0.0.1:80/"],
        ["web"],
    ),
    "included and extended files": Stack(
        {
            "compose.yaml": "include: [db/compose.yaml]\nservices: {web: {extends: {file: base.yaml, service: web}, ports: ['8000:80']}}",
            "base.yaml": "services: {web: {image: 'caddy:2', environment: {TOKEN: '${WEB_TOKEN}'}}}",
            "db/compose.yaml": "services: {db: {image: 'mariadb:11', environment: {MARIADB_ROOT_PASSWORD: '${ROOT_PASSWORD}'}}}",
            ".env": f"WEB_TOKEN={secret('web')}\nROOT_PASSWORD={secret('root')}\n",
        },
        ["compose.yaml"],
        {"WEB_TOKEN": secret("web"), "ROOT_PASSWORD": secret("root")},
        ["http://127.0.0.1:8000/"],
        [],
    ),
    "a backend on Supabase, with Windows line ends and a BOM": Stack(
        {
            "compose.yaml": "services: {backend: {build: ., env_file: [.env], ports: ['${PORT}:8000']}}",
            "Dockerfile": "FROM scratch\n",
            ".env": (
                "\ufeffSUPABASE_URL=https://kq3vz7hw2mtd9xjfplnb.supabase.co\r\n"
                f"SUPABASE_SERVICE_KEY={legacy()}\r\nJWT_SECRET={SIGN}{noise('jwt', 56, HEX)}\r\nPORT=8000\r\n"
            ),
        },
        ["compose.yaml"],
        {"SUPABASE_SERVICE_KEY": legacy(), "JWT_SECRET": SIGN + noise("jwt", 56, HEX)},
        ["http://127.0.0.1:${PORT}/"],
        ["backend"],
        {"PORT": 8000, "SUPABASE_URL": "https://kq3vz7hw2mtd9xjfplnb.supabase.co"},
    ),
    "a site without variables": Stack(
        {"compose.yaml": "services: {www: {image: 'nginx:1', ports: ['80:80', '443:443']}}"},
        ["compose.yaml"],
        {},
        ["http://127.0.0.1:80/"],
        [],
    ),
    "values of all signs, and a compose file in a folder": Stack(
        {
            "docker/compose.yaml": """
name: signs
services:
  app: {build: {context: .., dockerfile: docker/Dockerfile}, env_file: .env, ports: ["8443:8443"], volumes: ["../data:/data"]}
""",
            "docker/Dockerfile": "FROM scratch\n",
            "docker/.env": (
                f'PRIVATE_KEY="{KEY.strip()}"\n'
                f"API_SECRET='{secret('signs')}{{{{x}}}}: #\"%'\n"
                'GREETING="Hello {{ name }}: \\"you\\" 한글 \\u263a"\n'
                "EMPTY=\nEMPTY_TOKEN=\nVERSION=1.10\nZERO=007\nON=yes\n"
            ),
        },
        ["docker/compose.yaml"],
        {"PRIVATE_KEY": KEY.strip(), "API_SECRET": secret("signs") + '{{x}}: #"%', "EMPTY_TOKEN": ""},
        ["https://127.0.0.1:8443/"],
        ["app"],
        {
            "GREETING": 'Hello {{ name }}: "you" 한글 \\u263a',
            "EMPTY": "",
            "VERSION": "1.10",
            "ZERO": "007",
            "ON": "yes",
        },
    ),
}
