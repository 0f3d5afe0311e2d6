#!/bin/sh
# Looks at what no error rate shows: an emoji that goes in and comes out, and one job that is done.
set -eu
site=${SITE:-http://127.0.0.1:8080}
said=$(curl --fail --silent --show-error --max-time 20 --data-urlencode 'text=🌍' "$site/smoke/echo")
[ "$said" = "🌍" ] || { echo "an emoji came back as: $said"; exit 1; }
curl --fail --silent --show-error --max-time 60 --request POST "$site/smoke/job" >/dev/null
echo "the emoji is whole, and a job was done"
