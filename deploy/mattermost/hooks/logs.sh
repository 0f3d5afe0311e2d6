#!/bin/sh
# Looks for errors in what the new version has logged since it started.
set -eu
errors=$(docker compose logs --no-log-prefix "mattermost-$WEIR_VERSION" | grep -c '"level":"\(error\|fatal\)"' || true)
echo "$errors errors in the log; ${ERRORS_MAX:-20} are usual"
[ "$errors" -le "${ERRORS_MAX:-20}" ]
