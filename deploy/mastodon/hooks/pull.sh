#!/bin/sh
# Pulls the images beforehand.
set -eu
hooks/mastodon.sh "$WEIR_VERSION" pull
