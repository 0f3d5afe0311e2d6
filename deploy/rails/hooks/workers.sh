#!/bin/sh
# Switches the workers one at a time: forward to the new version, or back to the old one.
#   WORKERS   their names, "1 2 3" by default; shop-work@NAME runs under systemd
# /srv/shop/workers/NAME leads to the version that a worker runs. The unit's stop lets jobs end.
set -eu
case $1 in
  forward) version=$WEIR_VERSION ;;
  back)    version=$WEIR_VERSION_OLD ;;
  *)       echo "say forward or back, not $1"; exit 2 ;;
esac
for name in ${WORKERS:-1 2 3}; do
  if [ "$(readlink "/srv/shop/workers/$name")" = "/srv/shop/$version" ]; then
    echo "worker $name has $version"
    continue
  fi
  systemctl stop "shop-work@$name"
  ln -sfn "/srv/shop/$version" "/srv/shop/workers/$name"
  systemctl start "shop-work@$name"
  sleep "${SETTLE:-10}"
  systemctl is-active --quiet "shop-work@$name" || { echo "worker $name is down on $version"; exit 1; }
  echo "worker $name has $version now"
done
