#!/bin/sh
# Tells the town square: announce.sh begins, ends or failed. CHAT_WEBHOOK is an incoming webhook there.
set -eu
case $1 in
  begins) text="Mattermost goes from $WEIR_VERSION_OLD to $WEIR_VERSION now. You may have to reload the page once." ;;
  ends)   text="Mattermost is $WEIR_VERSION now. What is new: https://docs.mattermost.com/about/mattermost-changelog.html" ;;
  failed) text="Mattermost stays at $WEIR_VERSION_OLD; the change to $WEIR_VERSION did not work out." ;;
  *)      echo "say begins, ends or failed, not $1"; exit 2 ;;
esac
curl --fail --silent --show-error --max-time 20 --header 'content-type: application/json' \
  --data "{\"text\": \"$text\"}" "$CHAT_WEBHOOK" >/dev/null
echo "$text"
