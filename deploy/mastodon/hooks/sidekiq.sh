#!/bin/sh
# Switches Sidekiq: forward to the new version, or back. One process at a time has the queue
# `scheduler`, so the one that leaves is gone before the other begins; its jobs go back into their queues.
set -eu
case $1 in
  forward) from=$WEIR_VERSION_OLD to=$WEIR_VERSION ;;
  back)    from=$WEIR_VERSION to=$WEIR_VERSION_OLD ;;
  *)       echo "say forward or back, not $1"; exit 2 ;;
esac
hooks/mastodon.sh "$from" stop --timeout 60 sidekiq
hooks/mastodon.sh "$to" up --detach sidekiq
sleep "${SETTLE:-20}"
running=$(hooks/mastodon.sh "$to" ps --status running --quiet sidekiq)
[ -n "$running" ] || { echo "Sidekiq of $to is down"; exit 1; }
echo "Sidekiq is $to now"
