// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/kubectl/pkg/cmd/get"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// listed returns what kubectl space list prints of a snapshot.
func listed(t *testing.T, s *snapshot, flags ...string) (string, error) {
	t.Helper()
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	l := &list{options: &options{streams: streams}, flags: get.NewGetPrintFlags()}
	cmd := &cobra.Command{}
	l.flags.AddFlags(cmd)
	if err := cmd.ParseFlags(flags); err != nil {
		t.Fatal(err)
	}
	printer, err := l.printer()
	if err != nil {
		t.Fatal(err)
	}
	err = l.print(printer, s, s.spaces(""))
	return out.String(), err
}

func TestList_sortsByAJSONPath(t *testing.T) {
	old, young := ready(t, "old"), ready(t, "a-young")
	young.CreationTimestamp = metav1.NewTime(now.Add(-time.Minute))
	s := snapshotOf(old, young, quota(spaceName(old)))
	for by, want := range map[string][]string{
		"": {"a-young", "old"}, ".metadata.creationTimestamp": {"old", "a-young"}, "{.metadata.uid}": {"a-young", "old"}, ".quota[*].percent": {"a-young", "old"},
	} {
		for _, format := range []string{"", "wide", "name", "json"} {
			out, err := listed(t, s, "--sort-by", by, "-o", format)
			if first, second := strings.Index(out, want[0]), strings.Index(out, want[1]); err != nil || first < 0 || second < first {
				t.Errorf("-o %q by %q: want %v, error %v, got\n%s", format, by, want, err, out)
			}
		}
	}
	for _, by := range []string{".colour", "{"} {
		if _, err := listed(t, s, "--sort-by", by); err == nil {
			t.Errorf("by %q: got no error", by)
		}
	}
}

func TestList_acceptsNamesAndSelectors(t *testing.T) {
	a, b, deprovisioned := ready(t, "a"), ready(t, "b"), namespace(ready(t, "deprovisioned"))
	a.Labels, b.Labels = map[string]string{"team": "ci"}, map[string]string{"team": "web"}
	url := serve(t, []runtime.Object{a, b, deprovisioned, claim("gpu", "gpu"), class(driver, ""), namespace(a), namespace(b)})
	for args, test := range map[string]struct {
		names, errOut string
		code          int
	}{
		"":                     {"a b deprovisioned", "", 0},
		"a":                    {"a", "", 0},
		"b resourceclaim/a":    {"a b", "", 0},
		"deprovisioned":        {"deprovisioned", "", 0},
		"a nope":               {"a", `Error from server (NotFound): resourceclaims.resource.k8s.io "nope" not found` + "\n", 1},
		"gpu":                  {"", "error: ResourceClaim gpu requests no space\n", 1},
		"nope -w":              {"", `Error from server (NotFound): resourceclaims.resource.k8s.io "nope" not found` + "\n", 1},
		"-l team=ci":           {"a", "", 0},
		"-l team!=ci":          {"b deprovisioned", "", 0},
		"--selector=team=none": {"", "", 0},
	} {
		out, errOut, code := run(t, "kubectl-space", url, append([]string{"list", "-n", "team", "-o", "jsonpath={.items[*].metadata.name}"}, strings.Fields(args)...)...)
		if out != test.names || errOut != test.errOut || code != test.code {
			t.Errorf("list %s: exit code %d, output %q, errors %q, want %+v", args, code, out, errOut, test)
		}
	}
	if out, errOut, code := run(t, "kubectl-space", url, "list", "-n", "team", "-l", "team=none"); out != "" || errOut != "No resources found\n" || code != 0 {
		t.Errorf("exit code %d, output %q, errors %q", code, out, errOut)
	}
}

func TestList_namesEachClaimOnce(t *testing.T) {
	deprovisioned := namespace(ready(t, "a"))
	deprovisioned.Name, deprovisioned.Labels[keys.AllocationID] = "ephemeral-ns-deprovisioned", "deprovisioned"
	out, err := listed(t, snapshotOf(ready(t, "a"), deprovisioned, ready(t, "b")), "-o", "name")
	if want := "resourceclaim.resource.k8s.io/a\nresourceclaim.resource.k8s.io/b\n"; err != nil || out != want {
		t.Errorf("got error %v and\n%s", err, out)
	}
}

func TestList_printsObjectsForPrograms(t *testing.T) {
	out, err := listed(t, snapshotOf(ready(t, "a", "pod")), "-o", "jsonpath={.kind} {.items[0].kind} {.items[0].metadata.name} {.items[0].metadata.uid} {.items[0].state} {.items[0].pods}")
	if want := `List Space a uid-a Ready ["pod"]`; err != nil || out != want {
		t.Errorf("got %s, error %v, want %s", out, err, want)
	}
}

func TestTable_wideNamesAllPods(t *testing.T) {
	s := snapshotOf(ready(t, "used", "a", "b", "c", "d", "e"))
	for wide, want := range map[bool]string{false: "a,b,c + 2 more...", true: "a,b,c,d,e"} {
		if got := s.table(s.spaces(""), false, wide).Rows[0].Cells[3]; got != want {
			t.Errorf("wide %t: got %v, want %s", wide, got, want)
		}
	}
}

// When the namespace of a deprovisioned space is deleted, its claim does not change.
func TestList_watchesNamespaces(t *testing.T) {
	keys := spaceapi.KeysFor(driver)
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "ephemeral", Labels: map[string]string{keys.ClaimUID: "uid"}, Annotations: map[string]string{keys.ClaimNamespace: "team", keys.ClaimName: "deleted"},
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watches := 0
	client.PrependWatchReactor("namespaces", func(clienttesting.Action) (bool, watch.Interface, error) {
		w := watch.NewRaceFreeFake()
		if watches++; watches > 1 {
			cancel()
			return true, w, nil
		}
		w.Delete(&corev1.Namespace{})
		return true, w, client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("namespaces"), "", "ephemeral")
	})
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	l := &list{options: &options{streams: streams}, flags: get.NewGetPrintFlags(), watch: true}
	if err := l.run(ctx, &reader{client: client, driver: driver, namespace: "team", clock: clock.RealClock{}}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if got := strings.Fields(out.String()); !slices.Contains(got, "CLAIM") || !slices.Contains(got, stateDeprovisioning) || !slices.Contains(got, stateDeleted) || strings.Count(out.String(), "CLAIM") != 1 {
		t.Errorf("got\n%s", out)
	}
}

func TestAwait_worksWithoutPermissionToWatchNamespaces(t *testing.T) {
	client := fake.NewClientset()
	client.PrependWatchReactor("namespaces", func(clienttesting.Action) (bool, watch.Interface, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("namespaces"), "", nil)
	})
	client.PrependWatchReactor("resourceclaims", func(clienttesting.Action) (bool, watch.Interface, error) {
		w := watch.NewRaceFreeFake()
		w.Modify(claim("c", driver))
		return true, w, nil
	})
	r := &reader{client: client, driver: driver, namespace: "team", clock: clock.RealClock{}}
	if err := r.await(t.Context(), &snapshot{}); err != nil {
		t.Error(err)
	}
}

// statesOf joins the states of spaces.
func statesOf(spaces []spaceSummary) string {
	var out []string
	for _, space := range spaces {
		out = append(out, space.State)
	}
	return strings.Join(out, ",")
}

func TestChanged_reportsNoAllocatedClaimAsDeleted(t *testing.T) {
	shown := map[string]spaceSummary{}
	pending := spaceSummary{ObjectMeta: metav1.ObjectMeta{UID: "a"}, State: statePending}
	ready := spaceSummary{ObjectMeta: metav1.ObjectMeta{UID: "a"}, State: stateReady, AllocationID: "one", Request: "space", Space: "ephemeral"}
	for i, step := range []struct {
		spaces []spaceSummary
		want   string
	}{{[]spaceSummary{pending}, "Pending"}, {[]spaceSummary{ready}, "Ready"}, {[]spaceSummary{ready}, ""}, {[]spaceSummary{pending}, "Pending,Deleted"}, {nil, "Deleted"}} {
		if got := statesOf(changed(shown, step.spaces)); got != step.want {
			t.Errorf("step %d shows %q, want %q", i, got, step.want)
		}
	}
}

func TestChanged_distinguishesSpacesOfOneRequest(t *testing.T) {
	c := allocated(claim("two", driver), "spaces")
	devices := &c.Status.Allocation.Devices
	devices.Results = append(devices.Results, devices.Results[0])
	devices.Results[1].ShareID = ptr.To(types.UID("other"))
	first, second := namespace(c), namespace(c)
	second.Name = allocation.FromClaim(c, driver).Results[1].NamespaceName("ephemeral-ns-")
	shown := map[string]spaceSummary{}
	for i, step := range []struct {
		snapshot *snapshot
		want     string
	}{
		{snapshotOf(c), "Provisioning,Provisioning"}, {snapshotOf(c), ""}, {snapshotOf(c, first), "Provisioning"}, {snapshotOf(c, first, second), "Provisioning"},
		{snapshotOf(first, second), "Deprovisioning,Deprovisioning"}, {snapshotOf(second), "Deleted"}, {snapshotOf(), "Deleted"},
	} {
		if got := statesOf(changed(shown, step.snapshot.spaces(""))); got != step.want {
			t.Errorf("step %d shows %q, want %q", i, got, step.want)
		}
	}
}
