#!/bin/sh
# What no page showed once: uploads were dead (no ImageMagick), and federation (jobs failed unseen).
# Jobs that died before are no news: those that die meanwhile are counted.
#   MASTODON_TOKEN   an access token of a test account, with read and write
set -eu
site=${SITE:-https://example.org}
call() { curl --fail --silent --show-error --max-time 60 --header "authorization: Bearer $MASTODON_TOKEN" "$@"; }
dead() { redis-cli ${REDIS_URL:+-u "$REDIS_URL"} zcard dead; }
before=$(dead)
picture=$(mktemp)
trap 'rm -f "$picture"' EXIT
echo 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==' |
  base64 -d >"$picture"
call --form "file=@$picture;type=image/png;filename=smoke.png" "$site/api/v1/media" | grep -q '"preview_url"'
echo "an image was uploaded"
# An account of another server is fetched anew: ActivityPub goes out and comes back.
call --get --data 'resolve=true' --data 'limit=1' --data-urlencode "q=${FAR:-@Mastodon@mastodon.social}" \
  "$site/api/v2/search" | grep -q '"acct"'
echo "another server answers"
# Time for the jobs that this has begun to fail for good.
sleep "${SETTLE:-30}"
dead=$(($(dead) - before))
echo "$dead jobs died meanwhile"
[ "$dead" -le "${DEAD_MAX:-0}" ]
