#!/bin/sh
# Starts the new version beside the old one; it migrates the schema as it starts.
set -eu
docker compose up --detach --no-deps "mattermost-$WEIR_VERSION"
for _ in $(seq "${SECONDS_MAX:-300}"); do
  if curl --fail --silent --max-time 5 "${SITE:-http://127.0.0.1:8066}/api/v4/system/ping" >/dev/null; then
    echo "$WEIR_VERSION answers"
    exit 0
  fi
  sleep 1
done
docker compose logs --tail 50 "mattermost-$WEIR_VERSION"
exit 1
