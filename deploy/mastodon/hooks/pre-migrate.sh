#!/bin/sh
# The migrations that the old version bears: the new version's, without the post-deployment ones.
# Not through PgBouncer: name the database itself in .env.production.
set -eu
exec hooks/mastodon.sh "$WEIR_VERSION" run --rm -e SKIP_POST_DEPLOYMENT_MIGRATIONS=true shell \
  bundle exec rails db:migrate
