#!/bin/sh
# Restores the dump into a database of its own and looks whether anybody is in it.
set -eu
dump=${BACKUPS:-/var/backups/mastodon}/before_$WEIR_VERSION.dump
trial=mastodon_trial
dropdb --if-exists "$trial"
createdb "$trial"
trap 'dropdb --if-exists "$trial"' EXIT
pg_restore --exit-on-error --no-owner --dbname="$trial" "$dump"
users=$(psql --no-psqlrc --tuples-only --no-align --command='select count(*) from users' "$trial")
echo "$dump restores, with $users users"
[ "$users" -gt 0 ]
