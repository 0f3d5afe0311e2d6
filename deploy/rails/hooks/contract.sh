#!/bin/sh
# Drops what only the old version needs. Its tasks lie apart (db/contract), so that migrate.sh leaves them.
set -eu
cd "/srv/shop/$WEIR_VERSION"
PGOPTIONS='-c lock_timeout=5s' RAILS_ENV=production bundle exec rake db:contract
