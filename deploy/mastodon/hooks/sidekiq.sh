#!/bin/sh
# One process of Sidekiq: sidekiq.sh switch NAME VERSION, sidekiq.sh well NAME VERSION. One at a time may have the queue
# `scheduler`, so the one that leaves is gone before the other begins; its jobs go back into their queues.
set -eu
service=sidekiq-$2
to=$3
case $1 in
  switch)
    if [ "$to" = "$WEIR_VERSION" ]; then from=$WEIR_VERSION_OLD; else from=$WEIR_VERSION; fi
    hooks/mastodon.sh "$from" stop --timeout 60 "$service"
    hooks/mastodon.sh "$to" up --detach "$service"
    ;;
  well)
    running=$(hooks/mastodon.sh "$to" ps --status running --quiet "$service")
    [ -n "$running" ] || { echo "$service of $to is down"; exit 1; }
    ;;
  *)
    echo "say switch or well, not $1"
    exit 2
    ;;
esac
