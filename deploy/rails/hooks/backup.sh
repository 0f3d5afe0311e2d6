#!/bin/sh
# Dumps the database. A dump that is not whole has another name, so nobody takes it for one.
set -eu
folder=${BACKUPS:-/var/backups/shop}
dump=$folder/before_$WEIR_VERSION.dump
pg_dump --format=custom --file="$dump.part" "${DATABASE:-shop}"
mv "$dump.part" "$dump"
echo "$dump has $(wc -c <"$dump") bytes"
