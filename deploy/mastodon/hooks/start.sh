#!/bin/sh
# Starts web and streaming of the new version beside the old ones, and asks web which version it is.
set -eu
hooks/mastodon.sh "$WEIR_VERSION" up --detach web streaming
port=30$(echo "$WEIR_VERSION" | cut -d. -f1,2 | tr -d .)
for _ in $(seq "${SECONDS_MAX:-300}"); do
  said=$(curl --fail --silent --max-time 5 --header 'x-forwarded-proto: https' --header "host: ${HOST:-example.org}" \
    "http://127.0.0.1:$port/api/v1/instance" | sed -n 's/.*"version":"\([^"]*\)".*/\1/p')
  case $said in
    "$WEIR_VERSION") echo "it is $said"; exit 0 ;;
    "") sleep 1 ;;
    *) echo "it says $said, not $WEIR_VERSION"; exit 1 ;;
  esac
done
hooks/mastodon.sh "$WEIR_VERSION" logs --tail 50 web
exit 1
