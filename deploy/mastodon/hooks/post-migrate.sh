#!/bin/sh
# The post-deployment migrations: the old version cannot run after them (3.4.0 broke by those of 3.4.1).
set -eu
exec hooks/mastodon.sh "$WEIR_VERSION" run --rm shell bundle exec rails db:migrate
