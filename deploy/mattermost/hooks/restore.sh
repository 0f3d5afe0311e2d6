#!/bin/sh
# Restores the dump that was taken before. Users see a page meanwhile; what was written since is lost.
set -eu
dump=${BACKUPS:-/var/backups/mattermost}/before_$WEIR_VERSION.dump
[ -s "$dump" ] || { echo "there is no $dump: nothing was changed"; exit 1; }
weir maintenance on web --message "We restore a backup." --reason "step $WEIR_STEP"
docker compose stop --timeout 60 "mattermost-$WEIR_VERSION_OLD" "mattermost-$WEIR_VERSION"
docker compose exec -T db dropdb --username=mmuser --if-exists mattermost
docker compose exec -T db createdb --username=mmuser mattermost
docker compose exec -T db pg_restore --username=mmuser --exit-on-error --dbname=mattermost <"$dump"
docker compose start "mattermost-$WEIR_VERSION_OLD"
for _ in $(seq 120); do
  if curl --fail --silent --max-time 5 "${OLD:-http://127.0.0.1:8065}/api/v4/system/ping" >/dev/null; then
    weir maintenance off web --reason "step $WEIR_STEP"
    exit 0
  fi
  sleep 1
done
echo "$WEIR_VERSION_OLD does not answer; users are still kept out (weir maintenance off web)"
exit 1
