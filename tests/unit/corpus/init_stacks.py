# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Projects as people have them before an inventory: {name: Stack}. All of them were written here.

`make bench-init` runs those whose images are there: all that are built here run on the lab's base image for Python apps.
"""

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


# Answers 200 when the database and the cache do, and the folder takes a file. `worker` and `migrate` are its other lives.
APP = """\
import http.server, os, sys, time

def healthy():
    if os.environ.get("DATABASE_URL"):
        import psycopg2
        psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=2).close()
    if os.environ.get("REDIS_URL"):
        import redis
        redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=2).ping()
    if os.environ.get("DATA"):
        with open(os.path.join(os.environ["DATA"], "requests.txt"), "a") as file:
            file.write("one\\n")

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            healthy()
            status, text = 200, b"ok"
        except Exception as error:
            status, text = 503, repr(error).encode()
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text)

if sys.argv[1:] == ["migrate"]:
    healthy()
elif sys.argv[1:] == ["worker"]:
    while True:
        time.sleep(1)
else:
    port = int(os.environ.get("PORT", "8000"))
    http.server.ThreadingHTTPServer(("", port), Handler).serve_forever()
"""
DOCKERFILE = 'FROM selfheal-lab/python\nCOPY app.py /app.py\nENTRYPOINT ["python3", "/app.py"]\n'

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
            "Dockerfile": DOCKERFILE,
            "app.py": APP,
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
    image: unleashorg/unleash-server:7
    ports: ["4242:4242"]
    env_file: .env
    depends_on: [db]
  db: {image: "postgres:17", environment: {POSTGRES_PASSWORD: "${DATABASE_PASSWORD}", POSTGRES_USER: unleash}}
""",
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
  worker: {<<: *app, command: worker}
  migrate: {<<: *app, command: migrate, restart: "no"}
  broker: {image: "rabbitmq:4", environment: {RABBITMQ_DEFAULT_USER: site, RABBITMQ_DEFAULT_PASS: "${RABBITMQ_DEFAULT_PASS}"}}
""",
            "Dockerfile": f"{DOCKERFILE}COPY curl /usr/local/bin/\n",
            # The lab's base image has no curl.
            "curl": "#!/bin/sh\nexec python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[-1])' \"$@\"\n",
            "app.py": APP,
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
  api: {build: ., env_file: [{path: api.env}, {path: local.env, required: false}], ports: ["3000:3000"], depends_on: [db]}
  db: {image: "postgres:17", env_file: db.env}
""",
            "api.env": f"PORT=3000\nDATABASE_URL=postgres://api:{secret('pg')}@db:5432/api\nCACHE_TTL=300\n",
            "db.env": f"POSTGRES_USER=api\nPOSTGRES_PASSWORD={secret('pg')}\n",
            "Dockerfile": DOCKERFILE,
            "app.py": APP,
        },
        ["compose.yaml"],
        {},
        ["http://127.0.0.1:3000/"],
        ["api"],
    ),
    "an override file and a profile": Stack(
        {
            "compose.yaml": "services: {web: {build: ., image: 'acme/web:${TAG:-1}', ports: ['80:8000']}, debug: {image: x, profiles: [debug], ports: ['80:80']}}",
            "Dockerfile": DOCKERFILE,
            "app.py": APP,
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
            "Dockerfile": DOCKERFILE,
            "app.py": APP,
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
  app: {build: {context: .., dockerfile: docker/Dockerfile}, env_file: .env, ports: ["8000:8000"], volumes: ["../data:/data"]}
""",
            "docker/Dockerfile": DOCKERFILE,
            "app.py": APP,
            "data/seed.txt": "a first one\n",
            "docker/.env": (
                f'PRIVATE_KEY="{KEY.strip()}"\n'
                f"API_SECRET='{secret('signs')}{{{{x}}}}: #\"%'\n"
                'GREETING="Hello {{ name }}: \\"you\\" 한글 \\u263a"\n'
                "EMPTY=\nEMPTY_TOKEN=\nVERSION=1.10\nZERO=007\nON=yes\nDATA=/data\n"
            ),
        },
        ["docker/compose.yaml"],
        {"PRIVATE_KEY": KEY.strip(), "API_SECRET": secret("signs") + '{{x}}: #"%', "EMPTY_TOKEN": ""},
        ["http://127.0.0.1:8000/"],
        ["app"],
        {
            "GREETING": 'Hello {{ name }}: "you" 한글 \\u263a',
            "EMPTY": "",
            "VERSION": "1.10",
            "ZERO": "007",
            "ON": "yes",
        },
    ),
    "a queue with a worker and a job": Stack(
        {
            "compose.yaml": """
x-app: &app {build: ., image: queue, environment: {REDIS_URL: "redis://:${QUEUE_PASSWORD}@queue:6379/0"}, depends_on: [queue]}
services:
  web: {<<: *app, ports: ["${WEB_PORT:-8000}:8000"]}
  worker: {<<: *app, command: worker, stop_grace_period: 2s}
  migrate: {<<: *app, command: migrate, restart: "no"}
  queue: {image: "redis:8", command: "redis-server --requirepass ${QUEUE_PASSWORD} --appendonly yes", volumes: ["queue:/data"]}
volumes: {queue: }
""",
            "Dockerfile": DOCKERFILE,
            "app.py": APP,
            ".env": f"QUEUE_PASSWORD={secret('queue')}\n",
        },
        ["compose.yaml"],
        {"QUEUE_PASSWORD": secret("queue")},
        ["http://127.0.0.1:8000/"],
        ["web"],
    ),
    "secrets in files, and two networks": Stack(
        {
            "compose.yaml": """
services:
  front: {image: "nginx:1", ports: ["127.0.0.1:8081:80"], networks: [outside], volumes: ["./html:/usr/share/nginx/html:ro"]}
  api:
    build: .
    user: "1000:1000"
    ports: ["8082:8000"]
    environment: {DATABASE_URL: "postgresql://postgres:${PG}@db/postgres"}
    networks: [outside, inside]
    restart: always
  db:
    image: postgres:17
    environment: {POSTGRES_PASSWORD_FILE: /run/secrets/pg}
    secrets: [pg]
    networks: [inside]
    volumes: ["db:/var/lib/postgresql/data"]
networks: {outside: , inside: {internal: true}}
volumes: {db: }
secrets: {pg: {environment: PG}}
""",
            "html/index.html": "<h1>hello</h1>\n",
            "Dockerfile": DOCKERFILE,
            "app.py": APP,
            ".env": f"PG={secret('file')}\n",
        },
        ["compose.yaml"],
        {"PG": secret("file")},
        ["http://127.0.0.1:8081/", "http://127.0.0.1:8082/"],
        ["api"],
    ),
}
