// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// mutator is an admission plugin of the cluster, which changes objects of spaces.
type mutator struct {
	framework.Mutator
	// probe is the path of the kind in a namespace, and an object of it.
	probe func(namespace string) (path, object string)
	// mark is a part of each changed object.
	mark string
	// reported is a part of an event about an accepted change, and denied of one about a denied change.
	reported, denied string
}

func labelledNamespace(namespace string) (path, object string) {
	return namespacePath(""), fmt.Sprintf(`{"metadata":{"name":"%s-more"}}`, namespace)
}

func probeOf(kind func(namespace string) string, fields string) func(namespace string) (path, object string) {
	return func(namespace string) (path, object string) {
		return kind(namespace), `{"metadata":{"name":"space"}` + fields + `}`
	}
}

// mutators change what the controller writes, differently each time where that is possible.
var mutators = map[string]mutator{
	"annotation": {Mutator: framework.Mutators["annotation"], probe: labelledNamespace, mark: "policy.example.com/last"},
	"label":      {Mutator: framework.Mutators["label"], probe: labelledNamespace, mark: "cost-center"},
	"driver": {
		Mutator: framework.Mutators["driver"], probe: labelledNamespace, mark: "pod-security.kubernetes.io/warn",
		denied: "labels of a space: pod-security.kubernetes.io/warn",
	},
	"accounts": {
		Mutator: framework.Mutators["accounts"], mark: "policy.example.com/last",
		probe: probeOf(func(ns string) string { return core(ns, "serviceaccounts") }, ""),
	},
	"quota": {
		Mutator: framework.Mutators["quota"], mark: "count/secrets",
		probe:    probeOf(func(ns string) string { return core(ns, "resourcequotas") }, `,"spec":{"hard":{"pods":"1"}}`),
		reported: `ResourceQuota`,
	},
	"egress": {
		Mutator: framework.Mutators["egress"], mark: "198.51.100.0/24",
		probe:    probeOf(func(ns string) string { return framework.NetworkPolicyPath(ns, "") }, `,"spec":{"podSelector":{},"egress":[{}]}`),
		reported: `NetworkPolicy`,
	},
	"subjects": {
		Mutator: framework.Mutators["subjects"], mark: "eve",
		probe: func(ns string) (string, string) {
			return framework.RBACPath(ns, "rolebindings"), framework.BindingBody("RoleBinding", "space", "view", ns, "space")
		},
		denied: "User eve",
	},
}

// install creates the mutator for objects in namespaces with a prefix, waits until it is in effect, and
// returns a function that removes it.
func (m mutator) install(t *testing.T, prefix string) (remove func()) {
	t.Helper()
	name := prefix + "mutator"
	remove = func() {
		if err := env.RemoveMutator(context.WithoutCancel(t.Context()), name); err != nil {
			t.Error(err)
		}
	}
	if err := env.InstallMutator(t.Context(), name, prefix, m.Mutator); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	probe := createNamespace(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: prefix + "probe"}}).Name
	path, object := m.probe(probe)
	client := env.Client.CoreV1().RESTClient()
	var created metav1.PartialObjectMetadata
	raw, err := client.Post().AbsPath(path).Body([]byte(object)).DoRaw(t.Context())
	if err == nil {
		err = json.Unmarshal(raw, &created)
	}
	if err != nil {
		t.Fatalf("create %s: %v", object, err)
	}
	framework.AwaitAllowed(t, "a request that the mutator changes", func(ctx context.Context) error {
		raw, err := client.Patch(types.MergePatchType).AbsPath(path+"/"+created.Name).Param("dryRun", "All").
			Body([]byte(`{"metadata":{"annotations":{"example.com/probe":"x"}}}`)).DoRaw(ctx)
		if err == nil && !strings.Contains(string(raw), m.mark) {
			return fmt.Errorf("the object is unchanged: %s", raw)
		}
		return err
	})
	t.Cleanup(func() {
		for _, name := range []string{probe, probe + "-more"} {
			_ = env.Client.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
		}
	})
	return remove
}

// versions returns the resource versions of the objects of a space that only the controller writes.
func versions(t *testing.T, space string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(env.Kubectl(t, "get", "serviceaccounts,rolebindings,limitranges,networkpolicies", "-n", space, "-o",
		`jsonpath={range .items[?(@.metadata.name=="space")]}{.kind} {.metadata.uid} {.metadata.resourceVersion}{"\n"}{end}`)) {
		kind, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		out[kind] = version
	}
	return out
}

// TestMutators_doNotStopSpaces has admission plugins that change what the controller writes, installed
// before or after a space is provisioned. Pods get tokens on their nodes, and retained namespaces are
// deleted. Where a policy denies the change, events name it.
func TestMutators_doNotStopSpaces(t *testing.T) {
	env.Requires(t, "1.36", "mutating admission policies in version v1")
	const driver = "mutators.example.com"
	keys := spaceapi.KeysFor(driver)
	releaseNamespace := env.Namespace(t)
	startController(t, env, releaseOf(t, "mutators", releaseNamespace, map[string]string{"driverName": driver},
		"rbac-controller.yaml", "admission-controller.yaml", "admission-space-metadata.yaml", "admission-spaces.yaml")...)
	// A mutator can take effect before the policies, which would then not deny its first change.
	denied(t, env.As(t, releaseNamespace, "mutators-space-dra-driver-controller"), denial{"a RoleBinding in another namespace",
		post(framework.RBACPath(releaseNamespace, "rolebindings"), framework.BindingBody("RoleBinding", "space", "edit", releaseNamespace, "space")),
		"write in namespaces of spaces"})
	const nodeA, nodeB = "mutators-a", "mutators-b"
	newNode(t, env, nodeA, nil)
	newNode(t, env, nodeB, nil)
	for name, m := range mutators {
		for _, when := range []string{"before", "after"} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				ns, prefix := env.Namespace(t), name+"-"+when+"-"
				class := framework.WithClassConfig(fmt.Sprintf(`"namespacePrefix":%q,"network":{"mode":"Isolated"},"resourceQuota":{"hard":{"pods":"4"}},"retention":{"period":"1s"}`, prefix))
				a := bind(t, createPod(t, ns, framework.NewPod("a")), nodeA)
				b := bind(t, createPod(t, ns, framework.NewPod("b")), nodeB)
				var remove func()
				if when == "before" {
					remove = m.install(t, prefix)
				}
				env.CreateClaim(t, ns, framework.NewClaim("claim"))
				allocateTo(t, driver, ns, "claim", class, reservedFor(a))
				if when == "before" && m.denied != "" && !m.OnlyUpdates {
					awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonProvisioningFailed, m.denied)
					awaitEvent(t, ns, "Pod", "a", spaceapi.ReasonProvisioningFailed, m.denied)
					remove()
				}
				space := readySpace(t, ns, "claim")
				if when == "before" && m.reported != "" {
					awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonChangedByAdmission, m.reported)
				}
				if when == "after" {
					awaitNodesRecorded(t, keys, space, a)
					remove = m.install(t, prefix)
				}
				before := versions(t, space)
				reserve(t, "claim", b)
				if m.denied != "" && m.OnlyUpdates {
					awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonNodesNotRecorded, m.denied)
					awaitEvent(t, ns, "Pod", "b", spaceapi.ReasonNodesNotRecorded, m.denied)
					remove()
				}
				awaitNodesRecorded(t, keys, space, a, b)
				release(t, "claim", b)
				awaitNodesRecorded(t, keys, space, a)
				if now := versions(t, space); !maps.Equal(before, now) {
					t.Errorf("objects of the space were written again: before %v, now %v", before, now)
				}
				if when == "after" && m.reported == "ResourceQuota" {
					env.Kubectl(t, "patch", "resourcequota", "space", "-n", space, "--type=merge", "-p", `{"spec":{"hard":{"pods":"400"}}}`)
					awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonRestored, "ResourceQuota")
					awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonChangedByAdmission, "ResourceQuota")
				}
				deallocate(t, env, ns, "claim")
				env.AwaitNamespaceDeleted(t, space)
			})
		}
	}
}
