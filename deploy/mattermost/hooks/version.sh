#!/bin/sh
# The server says in a header of each answer what it is: X-Version-Id: 9.11.4.BUILD.CONFIG.LICENSED
set -eu
head=$(curl --fail --silent --show-error --max-time 10 --output /dev/null --dump-header - \
  "${SITE:-http://127.0.0.1:8066}/api/v4/system/ping")
said=$(echo "$head" | tr -d '\r' | sed -n 's/^[Xx]-[Vv]ersion-[Ii]d: *//p')
case $said in
  "$WEIR_VERSION".*) echo "it is $said" ;;
  *) echo "it says \"$said\", not $WEIR_VERSION"; exit 1 ;;
esac
