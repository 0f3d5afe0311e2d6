#!/bin/sh
# The migrations that both versions bear: columns are added, none is dropped or renamed.
# A statement that would wait behind others' locks gives up before it holds up users.
set -eu
cd "/srv/shop/$WEIR_VERSION"
PGOPTIONS='-c lock_timeout=5s' RAILS_ENV=production bundle exec rake db:migrate
