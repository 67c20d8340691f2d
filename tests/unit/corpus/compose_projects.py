# Copyright: Contributors to the christmas.selfheal project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compose projects after the shapes of those that people run: {shape: {file: text}}.

All of them were written here. The compose files of each are those that `files` names, or `compose.yaml`.
"""

from __future__ import annotations

ENV = "TOKEN=abc\nPORT=8080\nTAG=1.2\nDATA=./data\n"

PROJECTS: dict[str, dict[str, str]] = {
    # --- databases and what is in front of them -----------------------------------------------------------------------
    "reverse proxy, app and database": {
        "compose.yaml": """
services:
  proxy:
    image: nginx:1.27-alpine
    ports: ["80:80", "443:443"]
    volumes: ["./nginx.conf:/etc/nginx/nginx.conf:ro", "certs:/etc/ssl/private"]
    depends_on: [app]
  app: {image: example/app, environment: {DATABASE_URL: "postgres://app:${TOKEN}@db/app"}, depends_on: {db: {condition: service_healthy}}}
  db:
    image: postgres:16
    environment: {POSTGRES_PASSWORD: "${TOKEN}", POSTGRES_DB: app}
    volumes: [db:/var/lib/postgresql/data]
    healthcheck: {test: [CMD-SHELL, "pg_isready -U postgres"], interval: 5s, timeout: 3s, retries: 10}
volumes: {db: {}, certs: {}}
"""
    },
    "blog with a database and a cache": {
        "compose.yaml": """
services:
  wordpress:
    image: wordpress:6-apache
    restart: always
    ports: ["8080:80"]
    environment: [WORDPRESS_DB_HOST=db, WORDPRESS_DB_USER=blog, "WORDPRESS_DB_PASSWORD=${TOKEN}"]
    volumes: [html:/var/www/html, ./uploads.ini:/usr/local/etc/php/conf.d/uploads.ini]
  db:
    image: mysql:8.4
    restart: always
    command: --default-authentication-plugin=caching_sha2_password --max-connections=60
    cap_add: [SYS_NICE]
    environment: {MYSQL_DATABASE: blog, MYSQL_USER: blog, MYSQL_RANDOM_ROOT_PASSWORD: "1"}
    volumes: [data:/var/lib/mysql]
  cache: {image: "memcached:1.6-alpine", command: memcached -m 64}
volumes: {html: , data: }
"""
    },
    "self-hosted analytics with clickhouse": {
        "compose.yaml": """
services:
  events:
    image: clickhouse/clickhouse-server:24.8-alpine
    ulimits: {nofile: {soft: 262144, hard: 262144}, nproc: 65535}
    volumes:
      - type: volume
        source: events
        target: /var/lib/clickhouse
      - {type: bind, source: ./clickhouse/logs.xml, target: /etc/clickhouse-server/config.d/logs.xml, read_only: true}
    deploy: {resources: {limits: {memory: 4G}, reservations: {memory: 1G}}}
  db: {image: "postgres:16-alpine", volumes: [db:/var/lib/postgresql/data], environment: {POSTGRES_PASSWORD: x}}
  web:
    image: ghcr.io/example/analytics:v2
    command: sh -c "sleep 5 && /entrypoint.sh db migrate && /entrypoint.sh run"
    depends_on: [db, events]
    ports: ["127.0.0.1:8000:8000"]
    env_file: analytics.env
    tmpfs: [/tmp:size=64m]
volumes: {events: {driver: local}, db: {driver: local}}
""",
        "analytics.env": "BASE_URL=http://x\nSECRET=a b c\n",
    },
    "document database with its admin page": {
        "compose.yaml": """
services:
  mongo:
    image: mongo:7
    restart: unless-stopped
    command: ["--replSet", "rs0", "--bind_ip_all"]
    environment: {MONGO_INITDB_ROOT_USERNAME: root, MONGO_INITDB_ROOT_PASSWORD_FILE: /run/secrets/root}
    volumes: [data:/data/db, config:/data/configdb]
    secrets: [root]
  admin: {image: mongo-express, ports: [8081:8081], depends_on: [mongo], links: ["mongo:database"]}
secrets: {root: {file: ./root.txt}}
volumes: {data: , config: }
""",
        "root.txt": "x",
    },
    "message broker and workers": {
        "compose.yaml": """
services:
  broker:
    image: rabbitmq:3-management-alpine
    hostname: broker
    ports: ["5672:5672", "15672:15672"]
    healthcheck: {test: rabbitmq-diagnostics -q ping, interval: 30s, timeout: 30s, retries: 3}
  worker: &worker
    image: example/worker
    command: celery -A app worker -l info
    depends_on: {broker: {condition: service_healthy, restart: true}}
    deploy: {replicas: 3}
  beat: {<<: *worker, command: celery -A app beat, deploy: {replicas: 1}}
"""
    },
    "search engine with old limits": {
        "compose.yaml": """
services:
  es01:
    image: docker.elastic.co/elasticsearch/elasticsearch:8.15.0
    environment: [node.name=es01, discovery.type=single-node, bootstrap.memory_lock=true, "ES_JAVA_OPTS=-Xms512m -Xmx512m"]
    mem_limit: 1073741824
    ulimits: {memlock: {soft: -1, hard: -1}}
    volumes: [esdata01:/usr/share/elasticsearch/data]
    ports: ["${PORT}:9200"]
    healthcheck: {test: ["CMD-SHELL", "curl -s localhost:9200 | grep -q tagline"], interval: 10s, timeout: 10s, retries: 120}
  kibana: {image: "docker.elastic.co/kibana/kibana:8.15.0", mem_limit: 1g, depends_on: {es01: {condition: service_healthy}}}
volumes: {esdata01: {driver: local}}
"""
    },
    "object storage with a bucket job": {
        "compose.yaml": """
services:
  minio:
    image: quay.io/minio/minio
    command: server /data --console-address ":9001"
    ports: ["9000:9000", "9001:9001"]
    volumes: [./data:/data]
    healthcheck: {test: [CMD, mc, ready, local], interval: 5s, timeout: 5s, retries: 5}
  buckets:
    image: minio/mc
    depends_on: {minio: {condition: service_healthy}}
    entrypoint: >
      /bin/sh -c "mc alias set m http://minio:9000 a b && mc mb --ignore-existing m/files; exit 0;"
  app: {image: example/app, depends_on: {buckets: {condition: service_completed_successfully}}}
"""
    },
    "time series and dashboards": {
        "compose.yaml": """
services:
  prometheus:
    image: prom/prometheus
    user: "65534:65534"
    command: [--config.file=/etc/prometheus/prometheus.yml, --storage.tsdb.retention.time=30d]
    volumes: ["./prometheus.yml:/etc/prometheus/prometheus.yml:ro", "prom:/prometheus"]
    expose: [9090]
  node: {image: prom/node-exporter, pid: host, network_mode: host, volumes: ["/:/host:ro,rslave"], command: --path.rootfs=/host}
  cadvisor:
    image: gcr.io/cadvisor/cadvisor
    privileged: true
    devices: [/dev/kmsg]
    volumes: [/:/rootfs:ro, /var/run:/var/run:ro, /sys:/sys:ro, /var/lib/docker/:/var/lib/docker:ro]
  grafana: {image: grafana/grafana-oss, user: "472", ports: ["3000:3000"], volumes: [grafana:/var/lib/grafana]}
volumes: {prom: , grafana: }
"""
    },
    "two databases of one image": {
        "compose.yaml": """
x-db: &db
  image: mariadb:11
  restart: unless-stopped
  environment: &dbenv {MARIADB_RANDOM_ROOT_PASSWORD: "yes"}
services:
  shop-db: {<<: *db, volumes: ["shop:/var/lib/mysql"]}
  forum-db: {<<: *db, volumes: ["forum:/var/lib/mysql"], environment: {<<: *dbenv, MARIADB_DATABASE: forum}}
volumes: {shop: , forum: }
"""
    },
    "valkey by its own configuration": {
        "compose.yaml": """
services:
  cache:
    image: valkey/valkey:8-alpine
    command: [valkey-server, /etc/valkey/valkey.conf]
    configs: [{source: conf, target: /etc/valkey/valkey.conf}]
    sysctls: {net.core.somaxconn: 1024}
configs: {conf: {file: ./valkey.conf}}
""",
        "valkey.conf": "maxmemory 100mb\n",
    },
    # --- proxies ------------------------------------------------------------------------------------------------------
    "traefik by labels": {
        "compose.yaml": """
services:
  traefik:
    image: traefik:v3.1
    command: [--providers.docker=true, --entrypoints.web.address=:80, --ping=true]
    ports: [{target: 80, published: "80", mode: host}, {target: 443, published: "443", protocol: tcp, mode: host}]
    volumes: ["/var/run/docker.sock:/var/run/docker.sock:ro", "./acme.json:/acme.json"]
    labels: [traefik.enable=true]
  whoami:
    image: traefik/whoami
    labels:
      traefik.http.routers.w.rule: "Host(`w.example.com`) && PathPrefix(`/a$$b`)"
      traefik.enable: "true"
"""
    },
    "caddy and a site": {
        "compose.yaml": """
services:
  caddy:
    image: caddy:2
    ports: ["80:80", "443:443", "443:443/udp"]
    volumes: [./Caddyfile:/etc/caddy/Caddyfile, ./site:/srv, caddy_data:/data, caddy_config:/config]
    restart: unless-stopped
volumes: {caddy_data: {external: true}, caddy_config: }
"""
    },
    "nginx with templates": {
        "compose.yaml": """
services:
  web:
    image: nginx
    volumes: [./templates:/etc/nginx/templates]
    ports: ["${PORT}:80"]
    environment: [NGINX_HOST=example.com, NGINX_PORT=80]
"""
    },
    "apache and php": {
        "compose.yaml": """
services:
  web: {image: "php:8.3-apache", volumes: [./src:/var/www/html], ports: ["8000:80"]}
  fpm: {image: "php:8.3-fpm", volumes: [./src:/var/www/html], working_dir: /var/www/html}
  httpd: {image: "httpd:2.4", volumes: ["./htdocs:/usr/local/apache2/htdocs/"], ports: ["8081:80"]}
"""
    },
    "tunnel without ports": {
        "compose.yaml": """
services:
  tunnel: {image: cloudflare/cloudflared, command: tunnel run, environment: ["TUNNEL_TOKEN=${TOKEN}"], restart: always}
  app: {image: example/app}
"""
    },
    "haproxy in the host's network": {
        "compose.yaml": """
services:
  lb: {image: "haproxy:3.0", network_mode: host, volumes: ["./haproxy.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro"], sysctls: [net.ipv4.ip_unprivileged_port_start=0]}
"""
    },
    # --- jobs ---------------------------------------------------------------------------------------------------------
    "migration job": {
        "compose.yaml": """
services:
  migrate: {image: "example/app:${TAG}", command: [rails, "db:migrate"], depends_on: {db: {condition: service_healthy}}}
  web: {image: "example/app:${TAG}", depends_on: {migrate: {condition: service_completed_successfully}}, ports: ["3000:3000"]}
  db: {image: postgres, environment: {POSTGRES_HOST_AUTH_METHOD: trust}}
"""
    },
    "jobs in a chain": {
        "compose.yaml": """
services:
  volumes: {image: busybox, command: chown -R 1000 /data, volumes: ["data:/data"], user: root}
  seed: {image: example/seed, restart: on-failure, depends_on: {volumes: {condition: service_completed_successfully}}}
  app: {image: example/app, user: "1000", volumes: ["data:/data"], depends_on: {seed: {condition: service_completed_successfully, required: false}}}
volumes: {data: }
"""
    },
    "job by its mode": {
        "compose.yaml": """
services:
  report: {image: example/report, deploy: {mode: replicated-job, restart_policy: {condition: none}}}
  sweep: {image: example/sweep, deploy: {mode: global-job}}
"""
    },
    "job that is never restarted": {
        "compose.yaml": """
services:
  once: {image: example/once, restart: "no"}
  retry: {image: example/once, restart: "on-failure:5"}
  unquoted: {image: example/once, restart: no}
"""
    },
    "backup loop of a database's image": {
        "compose.yaml": """
services:
  db: {image: "postgres:16", environment: {POSTGRES_PASSWORD: x}}
  backup:
    image: postgres:16
    entrypoint: ["sh", "-c", "while true; do pg_dump -h db -U postgres > /b/$$(date +%s).sql; sleep 86400; done"]
    volumes: [./backups:/b]
"""
    },
    "scaled to nothing": {
        "compose.yaml": """
services:
  off: {image: example/off, deploy: {replicas: 0}}
  off-too: {image: example/off, scale: 0}
  on: {image: example/on, deploy: {replicas: 2}}
"""
    },
    # --- limits -------------------------------------------------------------------------------------------------------
    "one old memory limit": {"compose.yaml": "services: {a: {image: x, mem_limit: 256m}}"},
    "one old cpu limit": {"compose.yaml": "services: {a: {image: x, cpus: 0.25}, b: {image: x, cpus: '1.5'}}"},
    "one old process limit": {
        "compose.yaml": "services: {a: {image: x, pids_limit: 64}, b: {image: x, pids_limit: -1}}"
    },
    "one old reservation": {"compose.yaml": "services: {a: {image: x, mem_reservation: 64m}}"},
    "all old limits": {
        "compose.yaml": """
services:
  a: {image: x, mem_limit: 1g, mem_reservation: 512m, cpus: 1, pids_limit: 100, memswap_limit: 2g, mem_swappiness: 10, cpu_shares: 512}
  b: {image: x, cpu_quota: 50000, cpu_period: 100000, cpuset: "0", oom_score_adj: -500, oom_kill_disable: true, memswap_limit: -1, mem_limit: 100m}
"""
    },
    "old and new limits that agree": {
        "compose.yaml": """
services:
  a: {image: x, mem_limit: 256m, cpus: 0.5, deploy: {resources: {limits: {memory: 256M, cpus: "0.5"}}}}
"""
    },
    "limits under deploy": {
        "compose.yaml": """
services:
  a: {image: x, deploy: {resources: {limits: {cpus: "0.50", memory: 50M, pids: 1}, reservations: {cpus: "0.25", memory: 20M}}}}
  b: {image: x, deploy: {resources: {reservations: {memory: 1G}}}}
  c: {image: x, deploy: {resources: {limits: {memory: 128M}}}}
"""
    },
    "graphics cards": {
        "compose.yaml": """
services:
  llm:
    image: ollama/ollama
    volumes: [models:/root/.ollama]
    deploy: {resources: {reservations: {devices: [{driver: nvidia, count: all, capabilities: [gpu]}]}}}
  train:
    image: example/train
    runtime: nvidia
    shm_size: 8gb
    ipc: host
    deploy: {resources: {limits: {memory: 16G}, reservations: {devices: [{driver: nvidia, device_ids: ["0"], capabilities: [gpu, utility]}]}}}
volumes: {models: }
"""
    },
    "deploy of a swarm": {
        "compose.yaml": """
services:
  a:
    image: x
    deploy:
      mode: replicated
      replicas: 2
      endpoint_mode: vip
      labels: {a: b}
      update_config: {parallelism: 1, delay: 10s, order: start-first, failure_action: rollback}
      rollback_config: {parallelism: 0, order: stop-first}
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 120s}
      placement: {constraints: [node.role == manager], preferences: [{spread: node.labels.zone}], max_replicas_per_node: 1}
"""
    },
    # --- hardened already, or the opposite ----------------------------------------------------------------------------
    "hardened by hand": {
        "compose.yaml": """
services:
  a:
    image: x
    read_only: true
    tmpfs: ["/tmp:size=16m,mode=1777", /run]
    cap_drop: [ALL]
    cap_add: [NET_BIND_SERVICE]
    security_opt: ["no-new-privileges:true"]
    user: "1000:1000"
    init: true
    pids_limit: 50
"""
    },
    "spelled in other ways": {
        "compose.yaml": """
services:
  a: {image: x, cap_drop: [all], cap_add: [CAP_CHOWN], security_opt: [no-new-privileges=true, "apparmor=unconfined"]}
  b: {image: x, security_opt: [no-new-privileges], tmpfs: /run}
  c: {image: x, security_opt: ["no-new-privileges:false", "seccomp:unconfined"]}
"""
    },
    "an init system inside": {
        "compose.yaml": """
services:
  a: {image: example/systemd, init: false, privileged: true, cgroup: host, tmpfs: [/run, /run/lock], volumes: ["/sys/fs/cgroup:/sys/fs/cgroup:rw"], stop_signal: SIGRTMIN+3}
  b: {image: lscr.io/linuxserver/app, environment: [PUID=1000, PGID=1000], volumes: [./config:/config]}
"""
    },
    "capabilities and devices": {
        "compose.yaml": """
services:
  vpn:
    image: example/wireguard
    cap_add: [NET_ADMIN, SYS_MODULE]
    devices: ["/dev/net/tun:/dev/net/tun"]
    sysctls: {net.ipv4.conf.all.src_valid_mark: 1, net.ipv6.conf.all.disable_ipv6: 0}
    volumes: [./config:/config, /lib/modules:/lib/modules:ro]
    ports: ["51820:51820/udp"]
  client: {image: example/client, network_mode: "service:vpn", depends_on: [vpn]}
  usb: {image: example/usb, devices: ["/dev/ttyUSB0:/dev/ttyUSB0:rwm"], group_add: [dialout, "44"], device_cgroup_rules: ["c 188:* rmw"]}
"""
    },
    "namespaces of others": {
        "compose.yaml": """
services:
  a: {image: x, ipc: shareable, uts: host, userns_mode: host}
  b: {image: x, ipc: "service:a", pid: "service:a", network_mode: "service:a"}
  c: {image: x, network_mode: none, isolation: default}
"""
    },
    "a socket proxy": {
        "compose.yaml": """
services:
  proxy: {image: example/socket-proxy, environment: {CONTAINERS: 1}, volumes: ["/var/run/docker.sock:/var/run/docker.sock"], read_only: true, tmpfs: /run}
  watch: {image: example/watch, environment: {DOCKER_HOST: "tcp://proxy:2375"}, depends_on: [proxy]}
"""
    },
    # --- health -------------------------------------------------------------------------------------------------------
    "healthchecks of all kinds": {
        "compose.yaml": """
services:
  a: {image: x, healthcheck: {disable: true}}
  b: {image: x, healthcheck: {test: [NONE]}}
  c: {image: x, healthcheck: {test: "curl -f http://localhost || exit 1", interval: 1m30s, timeout: 10s, retries: 3, start_period: 40s, start_interval: 5s}}
  d: {image: x, healthcheck: {interval: 5m}}
  e: {image: postgres, healthcheck: {disable: true}}
"""
    },
    "every condition": {
        "compose.yaml": """
services:
  a: {image: x, depends_on: {b: {condition: service_started}, c: {condition: service_healthy, restart: true}, d: {condition: service_completed_successfully, required: false}}}
  b: {image: x}
  c: {image: x, healthcheck: {test: [CMD, "true"]}}
  d: {image: x}
"""
    },
    "stopping": {
        "compose.yaml": """
services:
  a: {image: x, stop_grace_period: 1m30s, stop_signal: SIGUSR1}
  b: {image: postgres, stop_grace_period: 5s}
  c: {image: x, stop_grace_period: 0s}
"""
    },
    "restart of all kinds": {
        "compose.yaml": """
services:
  a: {image: x, restart: always}
  b: {image: x, restart: unless-stopped}
  c: {image: x, restart: on-failure}
  d: {image: x, deploy: {restart_policy: {condition: any}}}
"""
    },
    # --- logging ------------------------------------------------------------------------------------------------------
    "logging of all kinds": {
        "compose.yaml": """
x-logging: &logging {driver: json-file, options: {max-size: 5m, max-file: "2"}}
services:
  a: {image: x, logging: *logging}
  b: {image: x, logging: {driver: journald, options: {tag: "{{.Name}}"}}}
  c: {image: x, logging: {driver: none}}
  d: {image: x, logging: {driver: syslog, options: {syslog-address: "tcp://192.0.2.1:514"}}}
  e: {image: x, logging: {options: {max-size: 1m}}}
"""
    },
    # --- ports and networks -------------------------------------------------------------------------------------------
    "a media server with ranges": {
        "compose.yaml": """
services:
  turn: {image: coturn/coturn, ports: ["3478:3478", "3478:3478/udp", "50000-50100:50000-50100/udp"]}
  rtc: {image: x, ports: ["127.0.0.1:7000-7010:7000-7010", "[::1]:7880:7880", "9000-9002"]}
"""
    },
    "ports of all forms": {
        "compose.yaml": """
services:
  a: {image: x, ports: [3000, "8000:8000", "127.0.0.1:8001:8001", "6060:6060/udp", "127.0.0.1::5000", {target: 80, published: "8080-8090", host_ip: 127.0.0.1, app_protocol: http, name: web}]}
"""
    },
    "networks of all kinds": {
        "compose.yaml": """
services:
  a: {image: x, networks: {front: {aliases: [www], ipv4_address: 172.28.0.10, priority: 10}, back: }, mac_address: "02:42:ac:11:65:43"}
  b: {image: x, networks: [back], dns: [192.0.2.53, 192.0.2.54], dns_search: example.com, dns_opt: [use-vc], domainname: example.com}
  c: {image: x, networks: [there], extra_hosts: ["host.docker.internal:host-gateway", "db:192.0.2.9"]}
  d: {image: x, extra_hosts: {somehost: 192.0.2.10}, hostname: d.example.com}
networks:
  front: {driver: bridge, driver_opts: {com.docker.network.bridge.name: br-front}, ipam: {config: [{subnet: 172.28.0.0/16}]}, enable_ipv6: false, labels: {a: b}}
  back: {internal: true, attachable: true}
  there: {external: true, name: shared}
"""
    },
    "links and container names": {
        "compose.yaml": """
services:
  a: {image: x, container_name: my-a, links: [b, "c:cc"], external_links: [old_1:old]}
  b: {image: x, container_name: my-b}
  c: {image: x}
"""
    },
    # --- volumes ------------------------------------------------------------------------------------------------------
    "volumes of all kinds": {
        "compose.yaml": """
services:
  a:
    image: x
    volumes:
      - /anonymous
      - named:/named
      - ./rel:/rel
      - ../up:/up
      - ~/home:/home/x
      - /abs:/abs:ro,z
      - type: volume
        source: named
        target: /long
        volume: {nocopy: true, subpath: sub}
      - {type: bind, source: ./b, target: /b, bind: {propagation: rslave, create_host_path: false}}
      - {type: tmpfs, target: /cache, tmpfs: {size: 100m, mode: 01777}}
  b: {image: x, volumes: [{type: tmpfs, target: /tmp}], volumes_from: ["a:ro"]}
  c: {image: x, volumes: ["t:/tmp"]}
volumes:
  named: {driver: local, driver_opts: {type: nfs, o: "addr=192.0.2.1,rw", device: ":/path"}, labels: [a=b]}
  t: {name: "fixed-${TAG}"}
"""
    },
    "tmpfs of all forms": {
        "compose.yaml": """
services:
  a: {image: x, tmpfs: /run}
  b: {image: x, tmpfs: [/run, "/tmp:size=1m"]}
  c: {image: x, tmpfs: ["/tmp:exec,mode=755,uid=1009,gid=1009"]}
  d: {image: nginx, tmpfs: ["/var/cache/nginx:size=64m", "/run"]}
"""
    },
    "a shared socket folder": {
        "compose.yaml": """
services:
  db: {image: "postgres:17", volumes: ["sock:/var/run/postgresql", "pg:/var/lib/postgresql/data"]}
  app: {image: x, volumes: ["sock:/var/run/postgresql"]}
volumes: {sock: , pg: }
"""
    },
    # --- configs and secrets ------------------------------------------------------------------------------------------
    "configs of all kinds": {
        "compose.yaml": """
services:
  a:
    image: x
    configs: [short, {source: inline, target: /etc/app/inline.conf}, {source: env, target: /env}, {source: short, target: /x, uid: "103", gid: "103", mode: 0440}]
  b: {image: x, configs: [short]}
configs:
  short: {file: ./short.conf}
  inline: {content: "token=${TOKEN}\\n"}
  env: {environment: TOKEN}
  there: {external: true, name: one}
""",
        "short.conf": "a=b\n",
    },
    "secrets of all kinds": {
        "compose.yaml": """
services:
  a: {image: x, secrets: [file, {source: env, target: token, mode: 0400}], environment: {TOKEN_FILE: /run/secrets/token}}
  b: {image: postgres, secrets: [file], environment: {POSTGRES_PASSWORD_FILE: /run/secrets/file}}
secrets:
  file: {file: ./secret.txt}
  env: {environment: TOKEN}
""",
        "secret.txt": "x",
    },
    "secrets of a build": {
        "compose.yaml": """
services:
  a:
    build:
      context: .
      dockerfile_inline: "FROM scratch"
      secrets: [npm]
      ssh: [default]
      args: {A: b, C: }
      target: prod
      cache_from: ["type=local,src=./cache"]
      labels: {a: b}
      shm_size: 1g
      extra_hosts: ["a=192.0.2.1"]
secrets: {npm: {environment: TOKEN}}
"""
    },
    # --- env ----------------------------------------------------------------------------------------------------------
    "env files of all forms": {
        "compose.yaml": """
services:
  a: {image: x, env_file: a.env}
  b: {image: x, env_file: [a.env, b.env], environment: {A: "3"}}
  c: {image: x, env_file: [{path: a.env, required: true}, {path: missing.env, required: false}]}
  d: {image: x, environment: [A=1, B, "C=with = sign", "D=$${NOT} #x"]}
  e: {image: x, environment: {A: , B: "", C: true, D: 1.10, E: 0x1F}}
""",
        "a.env": "A=1\n# comment\nexport Q='single $x'\n",
        "b.env": 'A=2\nM="multi\nline"\n',
    },
    "interpolation of all forms": {
        "compose.yaml": """
services:
  a:
    image: "example/a:${TAG:-latest}"
    command: ["${UNSET:-default}", "${TOKEN:?needed}", "${UNSET2-x}", "${TAG:+set}", "$$HOME", "$PORT"]
    labels: {v: "${TAG}"}
"""
    },
    # --- anchors, extensions, several files ---------------------------------------------------------------------------
    "anchors and extensions": {
        "compose.yaml": """
x-common: &common {restart: unless-stopped, logging: {driver: local}, networks: [in], x-note: a}
x-env: &env {A: "1", B: "2"}
name: anchored
services:
  a: {<<: *common, image: x, environment: {<<: *env, B: "3"}, x-own: {deep: [1, 2]}}
  b: {<<: [*common], image: y, environment: *env}
networks: {in: {}}
"""
    },
    "an override file": {
        "compose.yaml": "services: {web: {image: 'example/web:1', ports: ['80:80'], environment: {A: 1}, mem_limit: 100m}}",
        "compose.override.yaml": "services: {web: {environment: {B: 2}, ports: ['443:443'], mem_limit: 200m, restart: always}}",
        "files": "compose.yaml compose.override.yaml",
    },
    "a production file on top": {
        "compose.yaml": "services: {web: {build: ., volumes: ['.:/code'], ports: ['8000:8000'], command: dev}}",
        "compose.prod.yaml": """
services:
  web: {image: "example/web:1", build: !reset null, volumes: !reset [], ports: !override ["127.0.0.1:8000:8000"], command: serve}
""",
        "files": "compose.yaml compose.prod.yaml",
    },
    "included files": {
        "compose.yaml": """
include: [db/compose.yaml, {path: ./cache.yaml, project_directory: ., env_file: cache.env}]
services: {app: {image: x, depends_on: {db: {condition: service_healthy}, cache: {condition: service_started}}}}
""",
        "db/compose.yaml": "services: {db: {image: postgres, env_file: db.env, volumes: ['./data:/var/lib/postgresql/data']}}",
        "db/db.env": "POSTGRES_PASSWORD=x\n",
        "cache.yaml": "services: {cache: {image: 'redis:${REDIS_TAG}', command: redis-server --save 60 1}}",
        "cache.env": "REDIS_TAG=7\n",
    },
    "extended services": {
        "compose.yaml": """
services:
  base: {image: x, environment: {A: 1}, mem_limit: 64m, profiles: [never]}
  a: {extends: base, environment: {B: 2}, profiles: []}
  b: {extends: {file: common.yaml, service: web}, ports: ["81:80"]}
""",
        "common.yaml": "services: {web: {image: 'nginx:1', env_file: common.env, volumes: ['./html:/usr/share/nginx/html:ro']}}",
        "common.env": "A=1\n",
    },
    "profiles": {
        "compose.yaml": """
services:
  app: {image: x}
  debug: {image: y, profiles: [debug], depends_on: [app]}
  tools: {image: z, profiles: [tools, debug], command: sleep infinity, volumes: ["only:/x"]}
volumes: {only: }
"""
    },
    "a compose file in a folder": {
        "docker/compose.yaml": "services: {app: {build: {context: .., dockerfile: docker/Dockerfile}, env_file: ../app.env, volumes: ['../data:/data']}}",
        "app.env": "A=1\n",
        "files": "docker/compose.yaml",
    },
    # --- whole applications -------------------------------------------------------------------------------------------
    "a photo library": {
        "compose.yaml": """
name: photos
services:
  server: {container_name: photos_server, image: "ghcr.io/example/photos-server:${TAG:-release}", volumes: ["${DATA}:/usr/src/app/upload", "/etc/localtime:/etc/localtime:ro"], env_file: [.env], ports: ["2283:2283"], depends_on: [redis, database], restart: always, healthcheck: {disable: false}}
  learning: {image: "ghcr.io/example/photos-ml", volumes: [cache:/cache], env_file: [.env], restart: always, healthcheck: {disable: false}}
  redis: {image: "docker.io/valkey/valkey:8-bookworm", healthcheck: {test: redis-cli ping || exit 1}, restart: always}
  database:
    image: ghcr.io/example/postgres:16
    environment: {POSTGRES_INITDB_ARGS: --data-checksums}
    shm_size: 128mb
    command: >-
      postgres -c shared_preload_libraries=vectors.so -c 'search_path="$$user", public'
    volumes: ["./postgres:/var/lib/postgresql/data"]
volumes: {cache: }
"""
    },
    "a mail server": {
        "compose.yaml": """
services:
  mail:
    image: ghcr.io/example/mailserver
    hostname: mail.example.com
    ports: ["25:25", "143:143", "465:465", "587:587", "993:993"]
    volumes: [./mail-data/:/var/mail/, ./mail-state/:/var/mail-state/, /etc/localtime:/etc/localtime:ro]
    cap_add: [NET_ADMIN]
    stop_grace_period: 1m
    restart: always
    healthcheck: {test: "ss --listening --tcp | grep -P 'LISTEN.+:smtp' || exit 1", timeout: 3s, retries: 0}
"""
    },
    "a git forge with runners": {
        "compose.yaml": """
services:
  forge: {image: "gitea/gitea:1", environment: [USER_UID=1000, USER_GID=1000], ports: ["3000:3000", "2222:22"], volumes: [./gitea:/data], depends_on: [db]}
  runner: {image: gitea/act_runner, volumes: [/var/run/docker.sock:/var/run/docker.sock], profiles: [ci]}
  db: {image: "postgres:14", volumes: [./postgres:/var/lib/postgresql/data], env_file: [{path: db.env}]}
""",
        "db.env": "POSTGRES_PASSWORD=x\n",
    },
    "home automation": {
        "compose.yaml": """
services:
  hub: {image: example/home, privileged: true, network_mode: host, volumes: ["./config:/config", "/run/dbus:/run/dbus:ro"], restart: unless-stopped}
  mqtt: {image: "eclipse-mosquitto:2", user: "1883:1883", ports: [1883:1883], volumes: ["./mosquitto:/mosquitto"]}
  zigbee: {image: example/zigbee, devices: ["/dev/serial/by-id/usb:/dev/ttyACM0"], group_add: [dialout]}
"""
    },
    "error tracking with many services of one image": {
        "compose.yaml": """
x-app: &app
  image: example/errors:24
  depends_on: &deps {redis: {condition: service_healthy}, kafka: {condition: service_healthy}, postgres: {condition: service_healthy}}
  environment: &env {KAFKA: "kafka:9092", REDIS: redis}
  entrypoint: /etc/app/entrypoint.sh
  command: [run, web]
  volumes: [data:/data, "./app:/etc/app"]
  ulimits: {nofile: 4096}
  restart: unless-stopped
services:
  web: {<<: *app, healthcheck: {test: [CMD, /bin/bash, -c, "exec 3<>/dev/tcp/127.0.0.1/9000"]}}
  cron: {<<: *app, command: run cron}
  worker: {<<: *app, command: run worker}
  consumer: {<<: *app, command: run consumer --group a}
  cleanup: {<<: *app, command: run cleanup, depends_on: {<<: *deps, web: {condition: service_started}}}
  redis: {image: "redis:6.2-alpine", healthcheck: {test: redis-cli ping}, volumes: ["redis:/data"], ulimits: {nofile: {soft: 10032, hard: 10032}}}
  postgres: {image: "postgres:14", healthcheck: {test: [CMD-SHELL, "pg_isready -U $${POSTGRES_USER:-postgres}"]}, command: [postgres, -c, wal_level=logical], environment: {POSTGRES_HOST_AUTH_METHOD: trust}}
  kafka: {image: "confluentinc/cp-kafka:7", healthcheck: {test: [CMD-SHELL, "nc -z localhost 9092"]}, environment: {KAFKA_NODE_ID: "1001"}, volumes: ["kafka:/var/lib/kafka/data"]}
volumes: {data: {external: true}, redis: , kafka: }
"""
    },
    "a backend platform": {
        "compose.yaml": """
name: platform
services:
  kong: {image: "kong:2.8.1", ports: ["${PORT}:8000/tcp"], volumes: ["./kong.yml:/home/kong/temp.yml:ro,z"], entrypoint: bash -c 'eval "echo \\"$$(cat ~/temp.yml)\\"" > ~/kong.yml && /docker-entrypoint.sh kong docker-start'}
  auth: {image: example/auth, depends_on: {db: {condition: service_healthy}, vector: {condition: service_healthy}}, healthcheck: {test: [CMD, wget, --spider, "http://localhost:9999/health"], timeout: 5s, interval: 5s, retries: 3}}
  vector: {image: "timberio/vector:0.28.1-alpine", volumes: ["/var/run/docker.sock:/var/run/docker.sock:ro,z"], security_opt: ["label=disable"], healthcheck: {test: [CMD, wget, "http://vector:9001/health"]}}
  db: {image: example/postgres, healthcheck: {test: pg_isready -U postgres -h localhost}, volumes: ["./init.sql:/docker-entrypoint-initdb.d/init.sql:Z", "db-config:/etc/postgresql-custom"], command: [postgres, -c, config_file=/etc/postgresql/postgresql.conf]}
volumes: {db-config: }
"""
    },
    "a chat server in four languages": {
        "compose.yaml": """
services:
  api: {build: {context: ./api}, image: example/api, environment: {NODE_ENV: production}, command: npm start, expose: ["4000"]}
  front: {image: "node:22", working_dir: /app, volumes: [./front:/app, /app/node_modules], command: npm run serve, user: node}
  bot: {image: "python:3.13-slim", volumes: ["./bot:/bot:ro"], command: python /bot/main.py, environment: [PYTHONUNBUFFERED=1]}
  jvm: {image: "eclipse-temurin:21-jre", command: java -Xmx256m -jar /app.jar, volumes: ["./app.jar:/app.jar:ro"]}
""",
    },
    "a build farm": {
        "compose.yaml": """
services:
  a: {build: ., platform: linux/arm64, pull_policy: build}
  b: {build: {context: "https://github.com/example/x.git#main", platforms: [linux/amd64], no_cache: true, pull: true, network: host, tags: ["example/x:1"]}}
  c: {image: "example/c@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", pull_policy: missing}
  d: {image: x, pull_policy: never, platform: linux/amd64}
"""
    },
    "developer's watch": {
        "compose.yaml": """
services:
  a: {build: ., develop: {watch: [{action: sync, path: ./src, target: /app/src, ignore: [node_modules/]}, {action: rebuild, path: package.json}]}, stdin_open: true, tty: true, attach: false}
"""
    },
    "annotations and storage": {
        "compose.yaml": """
services:
  a: {image: x, annotations: {com.example.a: b}, storage_opt: {size: 1G}, credential_spec: {file: spec.json}, cgroup_parent: m-executor, blkio_config: {weight: 300, device_write_bps: [{path: /dev/sdb, rate: 12mb}]}}
""",
        "spec.json": "{}",
    },
    "labels and label lists": {
        "compose.yaml": """
services:
  a: {image: x, labels: ["a=b", c]}
  b: {image: x, labels: {watchtower.enable: "false", n: 1, t: true}}
  job: {image: x, labels: [mine=1], deploy: {mode: replicated-job}}
"""
    },
    "names that yaml misreads": {
        "compose.yaml": """
services:
  "on": {image: x}
  "1e3": {image: x}
  "007": {image: x, hostname: "0x1F"}
  a.b-c_d: {image: x}
"""
    },
    "words and signs in commands": {
        "compose.yaml": """
services:
  a: {image: x, command: 'sh -c "echo \\"quoted\\" # not a comment; printf ''%s'' $$1"', entrypoint: [/bin/sh, -c]}
  b: {image: x, command: [], entrypoint: []}
  c: {image: x, entrypoint: "", command: ["", " ", "\\t", "é연말"]}
"""
    },
    "users of all kinds": {
        "compose.yaml": """
services:
  a: {image: nginx, user: "101:101"}
  b: {image: redis, user: redis}
  c: {image: postgres, user: "70:70", volumes: ["/etc/passwd:/etc/passwd:ro"]}
  d: {image: x, user: root, group_add: ["999"]}
"""
    },
    "official images by other names": {
        "compose.yaml": """
services:
  a: {image: docker.io/library/redis}
  b: {image: "public.ecr.aws/docker/library/postgres:16"}
  c: {image: "registry.example.com:5000/library/postgres:16"}
  d: {image: "bitnami/postgresql:16"}
  e: {image: "${REGISTRY:-docker.io}/library/nginx"}
"""
    },
    "one service and nothing else": {"compose.yaml": "services: {a: {image: x}}"},
    "an old version line": {
        "compose.yaml": 'version: "3.8"\nservices: {a: {image: x, deploy: {resources: {limits: {memory: 64M}}}}}'
    },
    "a database in the project's folder": {
        "compose.yaml": """
services:
  db: {image: "mariadb:10.6", volumes: ["${DATA}/db:/var/lib/mysql", "./my.cnf:/etc/mysql/conf.d/my.cnf:ro"], environment: {MYSQL_ROOT_PASSWORD: "${TOKEN}"}, command: --transaction-isolation=READ-COMMITTED --log-bin=binlog}
  cloud: {image: "nextcloud:30-apache", volumes: ["./html:/var/www/html"], links: [db], ports: ["8080:80"]}
  cron: {image: "nextcloud:30-apache", volumes_from: [cloud], entrypoint: /cron.sh}
"""
    },
    "geodata and vectors": {
        "compose.yaml": """
services:
  gis: {image: "postgis/postgis:16-3.4", environment: {POSTGRES_PASSWORD: x}, shm_size: 256m}
  vec: {image: "pgvector/pgvector:pg16", environment: {POSTGRES_PASSWORD: x, PGPORT: "5433"}}
"""
    },
    "a queue of jobs with limits in both places": {
        "compose.yaml": """
services:
  q: {image: "redis:7-alpine", command: [redis-server, --appendonly, "yes", --maxmemory, 200mb], mem_limit: 300m, deploy: {restart_policy: {condition: any}}}
  w: {image: x, cpus: 2, deploy: {replicas: 4}, depends_on: [q]}
  m: {image: x, pids_limit: 20, depends_on: {q: {condition: service_started}}, deploy: {mode: replicated-job}}
"""
    },
    "game servers": {
        "compose.yaml": """
services:
  game: {image: example/minecraft, tty: true, stdin_open: true, ports: ["25565:25565", "19132:19132/udp"], environment: {EULA: "TRUE", MEMORY: 4G}, volumes: ["./data:/data"], deploy: {resources: {limits: {memory: 5G}}}, stop_grace_period: 2m}
  voice: {image: example/voice, ports: ["9987:9987/udp", "30033:30033", "10011:10011"], ulimits: {core: 0}}
"""
    },
    "a library and its converters": {
        "compose.yaml": """
services:
  paper: {image: "ghcr.io/example/paperless", depends_on: [broker, gotenberg, tika], ports: ["8000:8000"], env_file: paper.env, volumes: [data:/usr/src/data, media:/usr/src/media, ./export:/usr/src/export, ./consume:/usr/src/consume]}
  gotenberg: {image: "gotenberg/gotenberg:8", command: [gotenberg, --chromium-disable-javascript=true]}
  tika: {image: apache/tika}
  broker: {image: "docker.io/library/redis:8", volumes: ["redis:/data"]}
volumes: {data: , media: , redis: }
""",
        "paper.env": "URL=https://x\n",
    },
    "everything at once": {
        "compose.yaml": """
services:
  a:
    image: nginx:1
    restart: on-failure:2
    init: false
    read_only: true
    user: "101"
    tmpfs: ["/tmp:size=1m"]
    cap_drop: [NET_RAW]
    cap_add: [SYS_TIME]
    security_opt: ["no-new-privileges:false"]
    mem_limit: 128m
    mem_reservation: 64m
    cpus: 0.5
    pids_limit: 40
    memswap_limit: 256m
    stop_grace_period: 7s
    healthcheck: {test: [CMD, "true"], interval: 3s}
    logging: {driver: local}
    labels: {a: b}
    secrets: [s]
    configs: [c]
    depends_on: {b: {condition: service_completed_successfully}}
  b: {image: x, restart: on-failure, mem_limit: 64m}
secrets: {s: {environment: TOKEN}}
configs: {c: {content: x}}
"""
    },
}
