#!/bin/sh
# Runs one version on one port, with its own part of the cache: serve.sh 4.2.11:4200
set -eu
version=${1%%:*}
port=${1##*:}
cd "/srv/shop/$version"
variables=$(weir cache env "$version" --config /etc/weir/weir.toml)
cache=$(echo "$variables" | sed -n 's/^WEIR_CACHE_RAILS=//p')
CACHE_URL=redis://$cache/0 exec bundle exec puma --bind "tcp://127.0.0.1:$port"
