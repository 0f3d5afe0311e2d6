#!/bin/sh
# Dumps the database. A dump that is not whole has another name, so nobody takes it for one.
set -eu
dump=${BACKUPS:-/var/backups/mastodon}/before_$WEIR_VERSION.dump
pg_dump --format=custom --file="$dump.part" "${DATABASE:-mastodon_production}"
mv "$dump.part" "$dump"
echo "$dump has $(wc -c <"$dump") bytes"
