#!/bin/sh
# Restores the dump into a database of its own and looks whether anybody is in it.
set -eu
dump=${BACKUPS:-/var/backups/mattermost}/before_$WEIR_VERSION.dump
in_db() { docker compose exec -T db "$@"; }
in_db dropdb --username=mmuser --if-exists trial
in_db createdb --username=mmuser trial
trap 'in_db dropdb --username=mmuser --if-exists trial' EXIT
in_db pg_restore --username=mmuser --exit-on-error --dbname=trial <"$dump"
users=$(in_db psql --username=mmuser --no-psqlrc --tuples-only --no-align --command='select count(*) from users' trial)
echo "$dump restores, with $users users"
[ "$users" -gt 0 ]
