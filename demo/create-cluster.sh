#!/usr/bin/env bash
# Copyright The Space DRA Driver Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Creates the demo's cluster: a control plane and two nodes. It can be run again.
#
#   CLUSTER=kind|embedded  which kind; default: kind where it is installed and a
#                          container engine answers, else embedded
#   KIND_IMAGE, KIND_ARGS  node image, and more arguments, of kind create cluster
set -euo pipefail
# shellcheck source=demo/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

create_kind() {
  command -v kind >/dev/null || fail "missing: kind. Install it from https://kind.sigs.k8s.io, or use CLUSTER=embedded"
  container_engine_answers || fail "neither docker nor podman answers. Start one, or use CLUSTER=embedded"
  record_flavor kind
  if kind get clusters 2>/dev/null | grep -qx "$CLUSTER_NAME"; then
    echo "kind cluster $CLUSTER_NAME is running already"
  else
    local arguments=()
    read -ra arguments <<<"${KIND_ARGS:-}"
    # kind adds the cluster to the kubeconfig that the caller uses.
    as_caller kind create cluster --name "$CLUSTER_NAME" --config "$ROOT/demo/kind-config.yaml" --wait 3m \
      ${KIND_IMAGE:+--image "$KIND_IMAGE"} ${arguments[@]+"${arguments[@]}"}
  fi
  mkdir -p "$ROOT/build"
  kind export kubeconfig --name "$CLUSTER_NAME" --kubeconfig "$KUBECONFIG"
  wait_for_kind_nodes || fail "the cluster is not complete. Delete it first: demo/delete-cluster.sh"
}

# wait_for_kind_nodes waits for the workers too. It fails for what an interrupted
# creation left, which kind lists as a cluster.
wait_for_kind_nodes() {
  local nodes
  mapfile -t nodes < <(kind get nodes --name "$CLUSTER_NAME")
  need_tools kubectl
  "$ROOT/build/bin/kubectl" wait --for=condition=Ready --timeout=3m "${nodes[@]/#/node/}" >/dev/null
}

flavor=$(cluster_flavor)
if [ -n "${CLUSTER:-}" ] && [ "$CLUSTER" != "$flavor" ]; then
  fail "a cluster of the kind $flavor is running. Delete it first: demo/delete-cluster.sh"
fi
# What is going to run is recorded before anything is created, so that what an
# interrupted creation leaves behind is deleted as what it is.
case $flavor in
  kind) create_kind ;;
  embedded)
    record_flavor embedded
    space_cluster create --name "$CLUSTER_NAME" --kubeconfig "$KUBECONFIG" >/dev/null
    ;;
esac
need_tools kubectl helm
how_to_use
