// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/test/framework/readme"
)

// writeChart writes a chart with the files, and returns its directory.
func writeChart(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "chart")
	files["Chart.yaml"] = "apiVersion: v2\nname: chart\nversion: 1.0.0\n"
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// docs/tools.md describes the result.
func TestHelm_needsTheRolesThatItsChartNeeds(t *testing.T) {
	t.Parallel()
	const (
		configMap = `
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name | quote }}}
data: {answer: {{ .Values.answer | default 42 | quote }}}
`
		role = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: {{ .Release.Name | quote }}}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: {{ .Release.Name | quote }}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ .Release.Name | quote }}}
subjects: [{kind: ServiceAccount, name: default}]
`
		clusterRole = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: {{ .Release.Name | quote }}}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
`
		crd = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.tools.example.com}
spec:
  group: tools.example.com
  names: {kind: Thing, plural: things}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
`
	)
	plain := writeChart(t, map[string]string{"templates/configmap.yaml": configMap})
	withRole := writeChart(t, map[string]string{"templates/role.yaml": role})
	withClusterRole := writeChart(t, map[string]string{"templates/clusterrole.yaml": clusterRole})
	withCRD := writeChart(t, map[string]string{"crds/crd.yaml": crd, "templates/configmap.yaml": configMap})

	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("claim"), framework.NewPod("pod", "claim"))
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	env.WriteKubeconfigOf(t, s.Namespace, spaceapi.ServiceAccountName, kubeconfig)
	helm := func(args ...string) (string, error) {
		return env.Tool(t.Context(), "helm", append(args, "--kubeconfig", kubeconfig, "--namespace", s.Namespace)...)
	}
	works := func(args ...string) {
		t.Helper()
		if out, err := helm(args...); err != nil {
			t.Errorf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	denied := func(resource string, args ...string) {
		t.Helper()
		out, err := helm(args...)
		if err == nil || !strings.Contains(out, "forbidden") || !strings.Contains(out, fmt.Sprintf("resource %q", resource)) {
			t.Errorf("helm %s should be denied %s, but: error %v, output %s", strings.Join(args, " "), resource, err, out)
		}
	}

	// With the default role, edit.
	works("upgrade", "--install", "app", plain, "--wait")
	works("upgrade", "app", plain, "--set", "answer=43")
	works("rollback", "app", "1")
	works("list")
	works("uninstall", "app")
	denied("secrets", "list", "--all-namespaces")
	denied("namespaces", "upgrade", "--install", "create-namespace", plain, "--create-namespace")
	denied("roles", "install", "role-with-edit", withRole)

	env.Kubectl(t, "create", "rolebinding", "tools", "--clusterrole=admin", "--serviceaccount="+s.Namespace+":"+spaceapi.ServiceAccountName, "-n", s.Namespace)
	framework.Eventually(t, "the RoleBinding to be in effect", func(ctx context.Context) error {
		_, err := env.TryKubectl(ctx, "auth", "can-i", "create", "roles", "-n", s.Namespace, "--as=system:serviceaccount:"+s.Namespace+":"+spaceapi.ServiceAccountName)
		return err
	})
	works("install", "role-with-admin", withRole)
	denied("namespaces", "install", "create-namespace-with-admin", plain, "--create-namespace")
	denied("clusterroles", "install", "clusterrole", withClusterRole)
	denied("customresourcedefinitions", "install", "crd", withCRD)
	works("install", "without-crd", withCRD, "--skip-crds")
}

// docs/tools.md describes the result.
func TestKubectl_inASpaceReadsOneNamespace(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("claim"), framework.NewPod("pod", "claim"))
	s.Kubectl(t, ns, "pod", "get", "namespace", s.Namespace)
	s.Kubectl(t, ns, "pod", "create", "configmap", "one")
	s.Kubectl(t, ns, "pod", "wait", "--for=jsonpath={.metadata.name}=one", "configmap/one")
	s.Kubectl(t, ns, "pod", "api-resources")
	s.Kubectl(t, ns, "pod", "explain", "deployment.spec")
	s.CheckForbidden(t, ns, "pod", "get", "namespaces")
	s.CheckForbidden(t, ns, "pod", "get", "configmaps", "--all-namespaces")
	s.CheckForbidden(t, ns, "pod", "create", "namespace", "one")
	s.CheckForbidden(t, ns, "pod", "create", "role", "one", "--verb=get", "--resource=configmaps")
	env.Exec(t, ns, "pod", "sh", "-c", `printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n' | kubectl --kubeconfig=/etc/claim/kubeconfig apply --server-side -f -`)
}

// TestTools_workBeforeAndAfterARenewal revokes the token while programs that use client-go run.
func TestTools_workBeforeAndAfterARenewal(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	pod := framework.NewPod("pod", "claim")
	framework.AddContainer(pod, "kubeconfig", "exec repeat-client $CLAIM_NAMESPACE /etc/claim/kubeconfig")
	framework.AddContainer(pod, "in-cluster", "exec repeat-client $CLAIM_NAMESPACE")
	env.MountHelm(pod)
	s := env.Use(t, ns, withClaimConfig(framework.NewClaim("claim"), `,"inCluster":true,"kubeconfigEnv":true`), pod)
	use := func(after map[string]int) {
		t.Helper()
		env.Exec(t, ns, "pod/ctr", "sh", "-ec", "PATH=$PATH:/helm"+framework.Tools)
		for container, requests := range after {
			framework.Repeater{Env: env, Namespace: ns, Pod: "pod", Container: container}.AwaitOK(t, requests, framework.Timeout)
		}
	}
	requests := map[string]int{"kubeconfig": 0, "in-cluster": 0}
	use(requests)
	s.ReplaceToken(t, ns, "pod")
	for container := range requests {
		requests[container] = framework.Repeater{Env: env, Namespace: ns, Pod: "pod", Container: container}.Requests(t)
	}
	use(requests)
}

// docs/tools.md prints the configuration, and describes the result.
func TestKustomize_prefixesClaimsAndTheirReferences(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	page, err := os.ReadFile(filepath.Join(framework.Root(), "docs/tools.md"))
	if err != nil {
		t.Fatal(err)
	}
	printed, err := readme.Parse("docs/tools.md", string(page))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, block := range printed.YAML {
		if strings.HasPrefix(block, "# claims.yaml\n") {
			write("claims.yaml", block)
		}
	}
	write("resources.yaml", `
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: claim}
spec: {devices: {requests: [{name: space, exactly: {deviceClassName: space.resource.example.com}}]}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: template}
spec: {spec: {devices: {requests: [{name: space, exactly: {deviceClassName: space.resource.example.com}}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: pod}
spec:
  terminationGracePeriodSeconds: 1
  resourceClaims: [{name: reference, resourceClaimName: claim}]
  containers: [{name: ctr, image: `+framework.Toolbox+`, imagePullPolicy: IfNotPresent, command: [sleep, infinity], resources: {claims: [{name: reference}]}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: deployment}
spec:
  selector: {matchLabels: {app: deployment}}
  template:
    metadata: {labels: {app: deployment}}
    spec:
      terminationGracePeriodSeconds: 1
      resourceClaims: [{name: reference, resourceClaimTemplateName: template}]
      containers: [{name: ctr, image: `+framework.Toolbox+`, imagePullPolicy: IfNotPresent, command: [sleep, infinity], resources: {claims: [{name: reference}]}}]
`)
	kustomization := "namePrefix: mine-\nnamespace: " + ns + "\nresources: [resources.yaml]\n"
	write("kustomization.yaml", kustomization)
	if out := env.Kubectl(t, "kustomize", dir); !strings.Contains(out, "name: mine-claim") || strings.Contains(out, "resourceClaimName: mine-claim") {
		t.Errorf("without the configuration, kustomize changes references, too: %s", out)
	}
	write("kustomization.yaml", kustomization+"configurations: [claims.yaml]\n")
	env.Kubectl(t, "apply", "--kustomize", dir)
	framework.Await(t, framework.Pod(env.Client, ns, "mine-pod"), framework.PodReady())
	env.Kubectl(t, "wait", "--for=condition=Available", "-n", ns, "deployment/mine-deployment", "--timeout="+framework.Timeout.String())
	env.SpaceOf(t, ns, "mine-pod", "mine-claim")
	if space := env.Kubectl(t, "exec", "-n", ns, "deployment/mine-deployment", "--", "printenv", "REFERENCE_NAMESPACE"); !strings.HasPrefix(space, "ephemeral-ns-") {
		t.Errorf("a pod with a claim from a template has the space %q", space)
	}
}
