#!/bin/sh
# One worker, by the unit shop-work@NAME: worker.sh quiet NAME, worker.sh switch NAME VERSION, worker.sh well NAME.
# /srv/shop/workers/NAME leads to the version that it runs. Each may be done twice.
set -eu
name=$2
case $1 in
  quiet)
    # It takes no more jobs; one that does not run has none.
    systemctl kill --kill-whom=main --signal=TSTP "shop-work@$name" || ! systemctl is-active --quiet "shop-work@$name"
    ;;
  switch)
    # The unit's stop lets jobs end.
    systemctl stop "shop-work@$name"
    ln -sfn "/srv/shop/$3" "/srv/shop/workers/$name"
    systemctl start "shop-work@$name"
    ;;
  well)
    systemctl is-active --quiet "shop-work@$name"
    ;;
  *)
    echo "say quiet, switch or well, not $1"
    exit 2
    ;;
esac
