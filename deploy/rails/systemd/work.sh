#!/bin/sh
# Runs one worker on the version that its link leads to. Queues are in Redis itself; only the cache is apart.
set -eu
cd -P "/srv/shop/workers/$1"
version=${PWD##*/}
variables=$(weir cache env "$version" --config /etc/weir/weir.toml)
cache=$(echo "$variables" | sed -n 's/^WEIR_CACHE_RAILS=//p')
CACHE_URL=redis://$cache/0 REDIS_URL=redis://127.0.0.1:6379/1 exec bundle exec sidekiq --timeout 50
