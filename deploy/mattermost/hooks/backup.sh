#!/bin/sh
# Dumps the database. A dump that is not whole has another name, so nobody takes it for one.
set -eu
dump=${BACKUPS:-/var/backups/mattermost}/before_$WEIR_VERSION.dump
docker compose exec -T db pg_dump --username=mmuser --format=custom mattermost >"$dump.part"
mv "$dump.part" "$dump"
echo "$dump has $(wc -c <"$dump") bytes"
