# shellcheck shell=bash
# Copyright The Space DRA Driver Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Functions of the demo's scripts, which source this file. It sets the variables ROOT, and
# KUBECONFIG for the demo's cluster.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CLUSTER_NAME=${CLUSTER_NAME:-space-dra}
# The caller's kubeconfig, to which kind adds its cluster.
export CALLERS_KUBECONFIG=${CALLERS_KUBECONFIG-${KUBECONFIG-}}
export KUBECONFIG=$ROOT/build/kubeconfig
# After how_to_use, KUBECONFIG is the demo's: kind then uses its default kubeconfig.
[ "$CALLERS_KUBECONFIG" != "$KUBECONFIG" ] || CALLERS_KUBECONFIG=
FLAVOR_FILE=$ROOT/build/cluster/flavor
SPACE_CLUSTER=$ROOT/build/bin/space-cluster

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# as_caller runs a command with the kubeconfig that the caller uses.
as_caller() {
  if [ -n "$CALLERS_KUBECONFIG" ]; then
    env KUBECONFIG="$CALLERS_KUBECONFIG" "$@"
  else
    env -u KUBECONFIG "$@"
  fi
}

container_engine_runs() {
  docker info >/dev/null 2>&1 || podman info >/dev/null 2>&1
}

# cluster_flavor prints kind or embedded: the kind of the running cluster, otherwise CLUSTER,
# otherwise kind if it can work, unless K8S sets a version for the embedded cluster.
cluster_flavor() {
  if [ -s "$FLAVOR_FILE" ]; then
    cat "$FLAVOR_FILE"
    return
  fi
  case ${CLUSTER:-} in
    kind | embedded) echo "$CLUSTER" ;;
    "")
      if [ -z "${K8S:-}" ] && command -v kind >/dev/null && container_engine_runs; then echo kind; else echo embedded; fi
      ;;
    *) fail "CLUSTER is $CLUSTER, must be kind or embedded" ;;
  esac
}

record_flavor() {
  mkdir -p "$(dirname "$FLAVOR_FILE")"
  echo "$1" >"$FLAVOR_FILE"
}

# cluster_running returns whether the demo's cluster exists.
cluster_running() {
  case $(cluster_flavor) in
    kind) kind get clusters 2>/dev/null | grep -qx "$CLUSTER_NAME" ;;
    embedded) [ -x "$SPACE_CLUSTER" ] && (cd "$ROOT" && "$SPACE_CLUSTER" kubeconfig --name "$CLUSTER_NAME") >/dev/null 2>&1 ;;
  esac
}

# space_cluster builds and runs the tool for programs, images and the embedded cluster.
space_cluster() {
  command -v go >/dev/null || fail "missing: go. Install it from https://go.dev/dl and add it to PATH"
  [ -x "$SPACE_CLUSTER" ] || echo "building the tool for the embedded cluster (the first time: a minute or two)" >&2
  (cd "$ROOT/test/cluster" && CGO_ENABLED=0 GOGC=200 go build -trimpath -o "$SPACE_CLUSTER" ./cmd/space-cluster)
  (cd "$ROOT" && "$SPACE_CLUSTER" "$@")
}

# need_tools links installed programs into build/bin, or builds them.
need_tools() {
  local tool installed missing=()
  for tool in "$@"; do
    if [ "$(cluster_flavor)" = embedded ]; then
      # An existing link may be to a program of another version.
      missing+=("$tool")
    elif [ ! -x "$ROOT/build/bin/$tool" ] && installed=$(command -v "$tool"); then
      mkdir -p "$ROOT/build/bin"
      ln -sf "$installed" "$ROOT/build/bin/$tool"
    elif [ ! -x "$ROOT/build/bin/$tool" ]; then
      missing+=("$tool")
    fi
  done
  [ "${#missing[@]}" = 0 ] || space_cluster binaries "${missing[@]}" >/dev/null
}

# use_cluster adds kubectl and helm to PATH.
use_cluster() {
  need_tools kubectl helm
  export PATH=$ROOT/build/bin:$PATH
}

# build_images writes build/images/space-dra-driver.tar and toolbox.tar. TAG is
# the driver's version.
build_images() {
  space_cluster images build ${TAG:+--tag="$TAG"} driver toolbox
}

# load_images loads image archives into every node of the demo's cluster.
load_images() {
  local archive absolute=()
  case $(cluster_flavor) in
    kind)
      for archive in "$@"; do kind load image-archive --name "$CLUSTER_NAME" "$archive"; done
      ;;
    embedded)
      for archive in "$@"; do absolute+=("$(realpath "$archive")"); done
      space_cluster images load --name "$CLUSTER_NAME" "${absolute[@]}"
      ;;
  esac
}

how_to_use() {
  # shellcheck disable=SC2016 # the reader's shell is to expand it
  printf '\nTo use the cluster:\n  export KUBECONFIG=%q\n  export PATH=%q:$PATH\n' "$KUBECONFIG" "$ROOT/build/bin"
}
