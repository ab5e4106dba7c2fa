#!/usr/bin/env bash
# Copyright The Space DRA Driver Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Builds the release of the commit that is checked out in two clones, compares them byte
# by byte, and installs the kubectl plugin for each platform with krew, which checks the
# manifest and the checksums. "make release-test" runs it, with the programs in BIN.
set -euo pipefail
version=v0.1.1 # not the default of the Makefile
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for clone in one two; do
  git clone --quiet . "$work/$clone"
  make -C "$work/$clone" release VERSION=$version BIN="$BIN"
done
release=$work/one/build/release
diff --recursive "$release" "$work/two/build/release"
(cd "$release" && sha256sum --check --quiet SHA256SUMS)
mkdir "$work/image"
tar --extract --file "$release/space-dra-driver-$version.oci.tar" --directory "$work/image"
diff --recursive "$release/image" "$work/image"

export KREW_ROOT=$work/krew KREW_NO_UPGRADE_CHECK=1 KREW_OS KREW_ARCH
for platform in windows-amd64 darwin-amd64 darwin-arm64 linux-arm64 linux-amd64; do
  IFS=- read -r KREW_OS KREW_ARCH <<<"$platform"
  rm -rf "$KREW_ROOT"
  "$BIN/krew" install --manifest "$release/space.yaml" --archive "$release/kubectl-space-$platform.tar.gz"
  test -s "$KREW_ROOT/store/space/$version/LICENSE"
done
if [ "$(uname --machine)" = x86_64 ]; then
  "$KREW_ROOT/bin/kubectl-space" --version | grep --fixed-strings $version
  # As the manifest's caveats describe.
  ln -s kubectl-space "$KREW_ROOT/bin/kubectl_complete-space"
  "$KREW_ROOT/bin/kubectl_complete-space" li | grep '^list'
fi
