#!/bin/sh
# Of both packages, after an installation and after an upgrade. The conflist is the admin's: `tollgate install` writes it.
set -e
# In place of the old ones while these run: a call finds a whole plugin at every moment.
/usr/bin/tollgate install --no-conflist >/dev/null
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # Calls wait at the socket, or for the agent's return, while it is replaced; rules stay.
  systemctl try-restart tollgate-agent.service tollgate-kubernetes-agent.service
fi
# dpkg says that it is new by naming no version before, rpm by how many there are.
case $1:${2:-} in configure: | 1:) echo 'What to do next: tollgate verify' ;; esac
