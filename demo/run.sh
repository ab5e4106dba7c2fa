#!/usr/bin/env bash
# Copyright The Space DRA Driver Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Runs docs/quickstart.md on a new cluster: two pods share a space, use it, and
# the space is deleted with their claim. It prints every command before it runs, and stops at
# the first unexpected output.
#
# KEEP=1 keeps the cluster. CLUSTER=kind|embedded selects the kind of cluster.
set -euo pipefail
# shellcheck source=demo/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

KEEP=${KEEP:-}
scratch=$(mktemp -d)
start=$SECONDS
step="create the cluster"
existed=
cluster_running && existed=1

finish() {
  local code=$?
  trap - EXIT
  rm -rf "$scratch"
  if [ "$code" != 0 ]; then
    printf '\nDEMO FAILED at the step: %s\n' "$step" >&2
    diagnose >&2 || true
  fi
  if [ -n "$KEEP" ] || [ -n "$existed" ]; then
    if [ -z "$KEEP" ]; then printf '\nThe cluster existed before the demo, so it is not deleted.\n'; fi
    how_to_use
    printf 'Continue with: kubectl apply --filename=demo/namespace-test.yaml\nDelete the cluster with: demo/delete-cluster.sh\n'
  else
    demo/delete-cluster.sh || code=1
  fi
  if [ "$code" = 0 ]; then printf '\nThe demo took %ss: all outputs are as expected.\n' "$((SECONDS - start))"; fi
  exit "$code"
}
trap finish EXIT

# diagnose prints the state of the cluster after a failure.
diagnose() {
  [ -s "$KUBECONFIG" ] || return 0
  kubectl get pods -A -o wide
  kubectl get resourceclaims,resourceslices -A
  kubectl get events -A --sort-by=.lastTimestamp | tail -n 30
  kubectl logs -n space-dra-driver -l app.kubernetes.io/name=space-dra-driver --prefix --tail=30
}

title() { step=$1; printf '\n### %s\n' "$1"; }

# run prints the command and runs it; the output is also in $output.
run() {
  printf '$ %s\n' "$(quoted "$@")"
  output=$("$@" 2>&1) || { local code=$?; printf '%s\n' "$output"; return "$code"; }
  printf '%s\n' "$output"
}

# must_be_denied runs a command that must fail with an error that matches a pattern.
must_be_denied() {
  local words=$1
  shift
  printf '$ %s\n' "$(quoted "$@")"
  if output=$("$@" 2>&1); then
    printf '%s\nThe API server should have denied this request.\n' "$output" >&2
    return 1
  fi
  printf '%s\n' "$output"
  must_match "$words"
}

must_match() {
  grep -Eq -- "$1" <<<"$output" || { printf 'Expected output that matches: %s\n' "$1" >&2; return 1; }
}

quoted() {
  local word out=()
  for word in "$@"; do
    case $word in
      *[[:space:]\$\;\|\&\<\>\(\)\*]*) out+=("'$word'") ;;
      *) out+=("$word") ;;
    esac
  done
  printf '%s' "${out[*]}"
}

title "Create a cluster"
demo/create-cluster.sh
use_cluster

title "Build the driver and load it into the cluster"
demo/build-driver.sh

title "Install the driver"
run helm upgrade -i --create-namespace --namespace space-dra-driver space-dra-driver deployments/helm/space-dra-driver
run kubectl rollout status -n space-dra-driver deployment,daemonset --timeout=3m
run kubectl get pod -n space-dra-driver
must_match 'space-dra-driver-kubeletplugin.* 1/1 +Running'

title "Deploy two pods that share a claim"
run kubectl apply --filename=demo/namespace-test.yaml
run kubectl wait --for=condition=Ready -n namespace-test pod/pod0 pod/pod1 --timeout=2m
run kubectl get pods -n namespace-test -o wide

title "List the namespaces: the one with the prefix ephemeral-ns- is the space"
run kubectl get namespaces
must_match '^ephemeral-ns-'

title "Print the environment variables of the containers"
run kubectl exec -n namespace-test pod0 -- printenv
must_match '^DRA_RESOURCE_DRIVER_NAME=space.resource.example.com$'
must_match '^TEST_CLAIM_CLUSTER=https://'
must_match '^TEST_CLAIM_KUBECONFIG=/var/run/claim-artifacts/.*/kubeconfig$'
space=$(sed -n 's/^TEST_CLAIM_NAMESPACE=//p' <<<"$output")
run kubectl exec -n namespace-test pod1 -- printenv
must_match "^TEST_CLAIM_NAMESPACE=$space\$"

title "Print the kubeconfig, by its environment variable and in its directory"
# shellcheck disable=SC2016 # the variable is the container's
run kubectl exec -n namespace-test pod0 -- sh -c 'cat $TEST_CLAIM_KUBECONFIG'
must_match "namespace: \"$space\""
run kubectl exec -n namespace-test pod1 -- cat /etc/test-claim/kubeconfig
must_match 'tokenFile: .*/token'

title "Print the status of the claim"
run kubectl get resourceclaim test-claim -n namespace-test -o 'jsonpath={range .status.devices[*]}{.conditions[0].type}={.conditions[0].status} {.data.namespace}{"\n"}{end}'
must_match "^Ready=True $space\$"

title "Work in the space"
export_kubeconfig='export KUBECONFIG=/etc/test-claim/kubeconfig;'
run kubectl exec -n namespace-test pod0 -- sh -c "$export_kubeconfig kubectl create configmap greeting --from-literal=from=pod0"
must_match 'configmap/greeting created'
run kubectl exec -n namespace-test pod1 -- sh -c "$export_kubeconfig kubectl get configmap greeting -o jsonpath={.data}"
must_match '"from":"pod0"'

title "Try to access objects outside the space"
must_be_denied 'cannot list resource "secrets".* in the namespace "default"' kubectl exec -n namespace-test pod0 -- sh -c "$export_kubeconfig kubectl get secrets -n default"
must_be_denied 'cannot create resource "namespaces"' kubectl exec -n namespace-test pod0 -- sh -c "$export_kubeconfig kubectl create namespace mine"

title "Delete the pods and the claim"
kubectl exec -n namespace-test pod0 -- cat /etc/test-claim/token >"$scratch/token"
kubectl exec -n namespace-test pod0 -- cat /etc/test-claim/ca.crt >"$scratch/ca.crt"
# The kubeconfig has the paths of the other files in the container.
kubectl exec -n namespace-test pod0 -- cat /etc/test-claim/kubeconfig |
  sed "s|/var/run/claim-artifacts/[^/]*|$scratch|" >"$scratch/kubeconfig"
run kubectl delete --filename=demo/namespace-test.yaml
run kubectl wait --for=delete "namespace/$space" --timeout=2m
run kubectl get namespaces
if must_match "^$space " 2>/dev/null; then
  echo "The namespace of the space still exists." >&2
  exit 1
fi

title "Try the token that pod0 had"
server=$(kubectl config view --minify -o 'jsonpath={.clusters[0].cluster.server}')
must_be_denied 'Unauthorized|Forbidden|must be logged in' kubectl --kubeconfig="$scratch/kubeconfig" --server="$server" get configmaps
