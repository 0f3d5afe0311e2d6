#!/bin/sh
# Runs docker compose for one version: mastodon.sh 4.3.1 up --detach web
set -eu
VERSION=$1
shift
number=$(echo "$VERSION" | cut -d. -f1,2 | tr -d .)
case $number in
  2?|3?|40|41|42) IMAGE=tootsuite/mastodon:v$VERSION STREAMING_IMAGE=tootsuite/mastodon:v$VERSION ;;
  *) IMAGE=ghcr.io/mastodon/mastodon:v$VERSION STREAMING_IMAGE=ghcr.io/mastodon/mastodon-streaming:v$VERSION ;;
esac
export IMAGE STREAMING_IMAGE
export WEB_PORT="30$number" STREAMING_PORT="40$number" CACHE_PORT="170$number" JOBS_PORT="180$number"
exec docker compose --project-name "mastodon-$number" "$@"
