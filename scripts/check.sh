#!/usr/bin/env bash
# `npm test`: static checks, then every test. Installs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! [ -x /usr/sbin/sshd ] && ! command -v sshd >/dev/null 2>&1; then
  echo "The tests need a real sshd: run \"npm run setup\" (it installs openssh-server)." >&2
  exit 1
fi

biome check --error-on-warnings .
tsc
knip
redocly lint openapi.yaml
# What Node strips of types and compiles is kept for the next of the test files, each a process of its own.
export NODE_COMPILE_CACHE=$PWD/node_modules/.cache/tests
# One more at once than a small machine has cores: half of them wait for a disk, or for a time limit to pass.
node --test --test-concurrency=3 "test/**/*.test.ts"
