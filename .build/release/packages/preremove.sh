#!/bin/sh
# Of both packages, before a removal; an upgrade removes nothing. dpkg says so by a word, rpm by how many will be left.
set -e
case $1 in remove | 0) ;; *) exit 0 ;; esac
if [ -d /run/systemd/system ]; then
  systemctl --quiet disable --now tollgate-agent.socket tollgate-agent.service tollgate-kubernetes-agent.service
fi
# Exit code 1: pods are plugged in. They keep their gates, and the plugin, which their DEL needs.
if ! /usr/bin/tollgate uninstall --no-conflist; then
  echo 'When no pod is left: /opt/cni/bin/tollgate uninstall'
fi
