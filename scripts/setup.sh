#!/usr/bin/env bash
# Installs what the tests need and this machine lacks. Installs nothing when nothing is missing.
set -euo pipefail

# command, the Debian package it is in, and the service that the package would run
needs=(
  "sshd openssh-server ssh"
  "ssh openssh-client"
  "sftp-server openssh-sftp-server"
  "systemd-analyze systemd"
  "strace strace"
  "promtool prometheus prometheus"
)

has() {
  command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/usr/lib/openssh/$1" ] || [ -x "/usr/libexec/openssh/$1" ]
}

missing=()
services=()
for need in "${needs[@]}"; do
  read -r command package service <<<"$need"
  has "$command" && continue
  missing+=("$package")
  [ -z "$service" ] || services+=("$service")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: nothing is missing"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! sudo -n true 2>/dev/null; then
    echo "setup: please install ${missing[*]} (this user may not: neither root nor sudo without a password)" >&2
    exit 1
  fi
  as_root=(sudo -n)
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "setup: please install ${missing[*]} with this system's package manager" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
# The tests start their own servers: none is to be started by the installation (invoke-rc.d asks this file), nor at the next boot.
policy=/usr/sbin/policy-rc.d
if ! [ -e "$policy" ]; then
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
fi
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
for service in "${services[@]}"; do
  "${as_root[@]}" systemctl disable "$service" >/dev/null 2>&1 || "${as_root[@]}" update-rc.d "$service" disable >/dev/null 2>&1 || true
done
echo "setup: installed ${missing[*]}"
