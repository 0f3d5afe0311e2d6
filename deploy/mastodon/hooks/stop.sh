#!/bin/sh
# Stops a version that nobody uses any more: old or new.
set -eu
case $1 in
  old) version=$WEIR_VERSION_OLD ;;
  new) version=$WEIR_VERSION ;;
  *)   echo "say old or new, not $1"; exit 2 ;;
esac
exec hooks/mastodon.sh "$version" stop --timeout 60
