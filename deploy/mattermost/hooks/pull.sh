#!/bin/sh
# Pulls the image beforehand, so that nobody waits for it.
set -eu
docker compose pull "mattermost-$WEIR_VERSION"
