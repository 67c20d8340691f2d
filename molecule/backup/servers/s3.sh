# shellcheck shell=sh
# Serves repositories on port 8001, for $KEPT_USER with $KEPT_PASSWORD, in an object store with S3's API: OpenStack Swift with one
# replica of each object, behind a self-signed certificate for $ADDRESS.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends swift-proxy swift-account swift-container swift-object memcached openssl
mkdir -p /srv/node/one
chown -R swift: /srv/node
cat >/etc/swift/swift.conf <<END
[swift-hash]
swift_hash_path_suffix = records
[storage-policy:0]
name = one
default = yes
END
for server in account:6202 container:6201 object:6200; do
    name=${server%:*} port=${server#*:}
    cat >"/etc/swift/$name-server.conf" <<END
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $port
workers = 1
mount_check = false
[pipeline:main]
pipeline = $name-server
[app:$name-server]
use = egg:swift#$name
END
    builder=/etc/swift/$name.builder
    swift-ring-builder "$builder" create 8 1 0
    swift-ring-builder "$builder" add "r1z1-127.0.0.1:$port/one" 1
    swift-ring-builder "$builder" rebalance
done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -subj /CN=store \
    -addext "subjectAltName=IP:$ADDRESS" -keyout /etc/swift/key.pem -out /etc/swift/certificate.pem
cat >/etc/swift/proxy-server.conf <<END
[DEFAULT]
bind_port = 8001
workers = 1
cert_file = /etc/swift/certificate.pem
key_file = /etc/swift/key.pem
[pipeline:main]
pipeline = catch_errors gatekeeper proxy-logging cache s3api tempauth slo proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:cache]
use = egg:swift#memcache
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_records_$KEPT_USER = $KEPT_PASSWORD .admin
[filter:slo]
use = egg:swift#slo
END
chown -R swift: /etc/swift
# The lab has no IPv6.
sed -i '/^-l ::1$/d' /etc/memcached.conf
systemctl restart memcached swift-account swift-container swift-object swift-proxy
timeout 60 sh -c 'until openssl s_client -connect 127.0.0.1:8001 </dev/null >/dev/null 2>&1; do sleep 0.2; done'
