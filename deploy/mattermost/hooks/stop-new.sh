#!/bin/sh
# Stops the new version; users are back on the old one already.
set -eu
docker compose stop --timeout 60 "mattermost-$WEIR_VERSION"
