#!/bin/sh
# Stops the old version, which nobody uses any more.
set -eu
docker compose stop --timeout 60 "mattermost-$WEIR_VERSION_OLD"
