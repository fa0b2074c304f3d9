#!/usr/bin/env bash
# Installs what the tests need and this machine lacks. Installs nothing when nothing is missing.
set -euo pipefail

# command -> Debian package
needs=(
  "sshd openssh-server"
  "ssh openssh-client"
  "sftp-server openssh-sftp-server"
)

has() {
  command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/usr/lib/openssh/$1" ] || [ -x "/usr/libexec/openssh/$1" ]
}

missing=()
for need in "${needs[@]}"; do
  has "${need% *}" || missing+=("${need#* }")
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
# The tests start their own servers: none is to be started by the installation.
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
echo "setup: installed ${missing[*]}"
