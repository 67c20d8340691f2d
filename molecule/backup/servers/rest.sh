# shellcheck shell=sh
# Serves repositories over HTTP, on port 8000, for $KEPT_USER with $KEPT_PASSWORD.
set -eu
apt-get -qq update
apt-get -qq install -y --no-install-recommends rclone
mkdir -p /srv/http
systemctl stop keeper 2>/dev/null || true
systemd-run -q --collect --unit=keeper rclone serve restic --addr :8000 --user "$KEPT_USER" --pass "$KEPT_PASSWORD" /srv/http
