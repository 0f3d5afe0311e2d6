#!/bin/sh
# Restores the dump that was taken before. Users see a page meanwhile; what was written since is lost.
set -eu
dump=${BACKUPS:-/var/backups/mastodon}/before_$WEIR_VERSION.dump
database=${DATABASE:-mastodon_production}
[ -s "$dump" ] || { echo "there is no $dump: nothing was changed"; exit 1; }
weir maintenance on --message "We restore a backup." --reason "step $WEIR_STEP"
hooks/mastodon.sh "$WEIR_VERSION" stop --timeout 60
hooks/mastodon.sh "$WEIR_VERSION_OLD" stop --timeout 60
dropdb "$database"
createdb "$database"
pg_restore --exit-on-error --no-owner --dbname="$database" "$dump"
hooks/mastodon.sh "$WEIR_VERSION_OLD" up --detach web streaming sidekiq-1 sidekiq-2 sidekiq-scheduler
echo "restored; when $WEIR_VERSION_OLD serves well: weir maintenance off"
