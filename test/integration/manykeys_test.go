// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// manyKeysDriver is as long as the name of a driver can be: the cost of the expressions grows with it.
const manyKeysDriver = "many-keys-of-a-namespace-cost-the-policies-too-much.example.com"

// keys returns as many short keys of labels as fit into total bytes, with additional bytes for each.
// Their first characters are those of first.
func keys(first string, total, each int) map[string]string {
	const inner = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	out := map[string]string{}
	for a := range strings.SplitSeq(first, "") {
		for _, b := range inner + "-_." {
			for _, c := range inner {
				key := fmt.Sprintf("%s%c%c", a, b, c)
				if total -= len(key) + each; total < 0 {
					return out
				}
				out[key] = ""
			}
		}
	}
	return out
}

// TestPolicies_allowNamespacesWithManyKeys has namespaces with as many labels and annotations as
// the API server stores. A policy whose expressions exceed the limit of their cost, or the timeout
// of the request, would reject all changes of such a namespace, also those by which Kubernetes
// deletes it.
func TestPolicies_allowNamespacesWithManyKeys(t *testing.T) {
	release := env.Namespace(t)
	applyChart(t, "manykeys", release, map[string]string{"driverName": manyKeysDriver}, "admission-space-metadata.yaml", "admission-controller.yaml", "admission-spaces.yaml")
	const all = "zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCBA9876543210"
	// The limit for all keys and values, minus space for one more.
	const annotationsLimit = 256<<10 - 256
	for name, test := range map[string]struct {
		labels, annotations map[string]string
	}{
		// An entry of a map has 6 bytes of protobuf besides its key.
		"labels":      {keys(all, framework.MaxObject-64<<10, 6), nil},
		"annotations": {nil, keys(all, annotationsLimit, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			namespaces := env.Client.CoreV1().Namespaces()
			created, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "many-keys-"}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			ns := namespacePath(created.Name)
			update := func(change func(*corev1.Namespace)) framework.Request {
				return func(ctx context.Context) error {
					current, err := namespaces.Get(ctx, created.Name, metav1.GetOptions{})
					if err != nil {
						return err
					}
					change(current)
					// The managed fields would contain all keys, too.
					current.ManagedFields = []metav1.ManagedFieldsEntry{{}}
					_, err = namespaces.Update(ctx, current, metav1.UpdateOptions{})
					return err
				}
			}
			for range 2 { // The first removes the managed fields.
				framework.AwaitAllowed(t, "set all keys", update(func(ns *corev1.Namespace) { ns.Labels, ns.Annotations = test.labels, test.annotations }))
			}
			t.Logf("a namespace has %d labels and %d annotations", len(test.labels), len(test.annotations))
			own := spaceapi.KeysFor(manyKeysDriver)
			denied(t, env.Client,
				denial{"set a label of the driver", patch(ns, set("labels", own.ClaimUID, "uid")), "namespace labels with prefix " + manyKeysDriver},
				denial{"set an annotation of the driver", patch(ns, set("annotations", own.Nodes, "node=uid")), "namespace annotations with prefix " + manyKeysDriver},
			)
			allowed(t, env.Client, map[string]framework.Call{
				"change a label":         patch(ns, set("labels", "team", "blue")),
				"change an annotation":   patch(ns, set("annotations", "z-Z", "null")),
				"remove all labels":      patch(ns, `{"metadata":{"labels":null}}`),
				"remove all annotations": patch(ns, `{"metadata":{"annotations":null}}`),
				"change the status":      patch(ns+"/status", `{"status":{"conditions":[]}}`),
				"delete the namespace":   remove(ns),
			})
			// kube-controller-manager changes the namespace to delete it.
			if err := namespaces.Delete(t.Context(), created.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			env.AwaitNamespaceDeleted(t, created.Name)
		})
	}
}
