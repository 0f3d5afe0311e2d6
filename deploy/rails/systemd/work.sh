#!/bin/sh
# Runs one worker on the version that its link leads to. The cache is apart; queues are shared, and reached by the
# version's own port, where Weir sees how its jobs went.
set -eu
cd -P "/srv/shop/workers/$1"
version=${PWD##*/}
variables=$(weir cache env "$version" --config /etc/weir/weir.toml)
cache=$(echo "$variables" | sed -n 's/^WEIR_CACHE_RAILS=//p')
jobs=$(echo "$variables" | sed -n 's/^WEIR_CACHE_JOBS=//p')
CACHE_URL=redis://$cache/0 REDIS_URL=redis://$jobs/1 exec bundle exec sidekiq --timeout 50
