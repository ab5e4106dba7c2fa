// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// BenchmarkDeallocation deallocates many claims at the same time. It measures when the
// credentials are rejected and when the namespaces are deleted, the latter in turns with plain
// namespaces with the same contents.
func BenchmarkDeallocation(b *testing.B) {
	r := startReport(b, "deallocation")
	for _, configuration := range []struct {
		name string
		args []string
	}{
		{"default configuration", nil},
		{"50 syncs, 200 requests per second", []string{"--concurrent-namespace-syncs=50", "--kube-api-qps=200", "--kube-api-burst=300"}},
	} {
		b.Run(configuration.name, func(b *testing.B) {
			d := &deallocation{b: b, env: controlPlane(b, configuration.args...)}
			framework.StartController(b, d.env)
			d.measure(r, configuration.name)
		})
	}
}

// deallocation measures a cluster.
type deallocation struct {
	b   *testing.B
	env *framework.Env
}

func (d *deallocation) measure(r *report, configuration string) {
	d.b.Helper()
	rates, times := configuration+": deleted per second (1/s)", configuration+": from the first deallocation or deletion (s)"
	const plain, spaces = "plain namespaces", "spaces"
	inTurns(*flags.rounds, 2, func(round, kind int) {
		name, prefix := plain, fmt.Sprintf("d%d-%d", round, kind)
		var deleted, rejected []float64
		if kind == 0 {
			deleted = d.deletePlain(prefix)
		} else {
			name = spaces
			deleted, rejected = d.deallocate(prefix)
		}
		rate := float64(len(deleted)) / slices.Max(deleted)
		d.b.Logf("round %d, %s: %.1f/s", round, name, rate)
		if round > 0 {
			r.add(rates, name, rate)
			r.add(times, name+" deleted", deleted...)
			if rejected != nil {
				r.add(times, "tokens rejected", rejected...)
			}
		}
	})
	r.addRatios(configuration+": to plain namespaces, round by round (ratio)", rates, spaces, plain)
}

// deletePlain creates namespaces with the contents of a space and deletes them, and returns
// after how many seconds each was deleted.
func (d *deallocation) deletePlain(prefix string) []float64 {
	d.b.Helper()
	_, sample := claims{env: d.env, driver: spaceapi.DefaultDriverName}.ready(d.b, prefix, 1, ignored)
	loop := baselineOf(d.b, d.env, sample[0])
	var names []string
	for i := range *flags.spaces {
		names = append(names, fmt.Sprintf("plain-%s-%d", prefix, i))
	}
	each(d.b, len(names), func(ctx context.Context, i int) error { return loop.provision(ctx, names[i]) })
	return d.awaitDeleted(names, func(ctx context.Context, i int) error {
		return d.env.Client.CoreV1().Namespaces().Delete(ctx, names[i], metav1.DeleteOptions{})
	})
}

// deallocate creates spaces and deallocates their claims. It returns after how many seconds each
// namespace was deleted, and each token rejected.
func (d *deallocation) deallocate(prefix string) (deleted, rejected []float64) {
	d.b.Helper()
	_, all := claims{env: d.env, driver: spaceapi.DefaultDriverName}.ready(d.b, prefix, *flags.spaces, ignored)
	var names []string
	tenants := map[string]kubernetes.Interface{}
	for _, claim := range all {
		space := framework.SpaceStatus(d.b, claim, 0)
		names = append(names, space.Namespace)
		tenants[space.Namespace] = d.env.As(d.b, space.Namespace, space.ServiceAccount)
	}
	ctx, cancel := context.WithTimeout(d.b.Context(), patience)
	defer cancel()
	// A token is only used after its RoleBinding is deleted, so that the requests do not slow down the
	// deletions.
	bindings := follow(ctx, d.b, d.env.Client.RbacV1().RESTClient(), "rolebindings", metav1.NamespaceAll,
		fields.OneTermEqualSelector(metav1.ObjectNameField, spaceapi.RoleBindingName))
	group, ctx := errgroup.WithContext(ctx)
	var mutex sync.Mutex
	begin := time.Now()
	group.Go(func() error {
		remaining := len(all)
		return bindings(ctx, func(event watch.Event) bool {
			binding, ok := event.Object.(*rbacv1.RoleBinding)
			if !ok || event.Type != watch.Deleted || tenants[binding.Namespace] == nil {
				return false
			}
			group.Go(func() error {
				err := awaitRejection(ctx, tenants[binding.Namespace], binding.Namespace)
				mutex.Lock()
				defer mutex.Unlock()
				rejected = append(rejected, time.Since(begin).Seconds())
				return err
			})
			remaining--
			return remaining == 0
		})
	})
	deleted = d.awaitDeleted(names, func(ctx context.Context, i int) error {
		_, err := d.env.Client.ResourceV1().ResourceClaims(all[i].Namespace).Patch(ctx, all[i].Name, types.MergePatchType,
			[]byte(`{"status":{"allocation":null,"devices":null}}`), metav1.PatchOptions{}, "status")
		return err
	})
	if err := group.Wait(); err != nil {
		d.b.Fatalf("wait until tokens are rejected: %v", err)
	}
	return deleted, rejected
}

// awaitRejection uses a token until it is rejected.
func awaitRejection(ctx context.Context, tenant kubernetes.Interface, namespace string) error {
	return wait.PollUntilContextCancel(ctx, 5*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		_, err := tenant.CoreV1().ConfigMaps(namespace).Get(ctx, "none", metav1.GetOptions{})
		if framework.IsDenied(err) || apierrors.IsNotFound(err) {
			return framework.IsDenied(err), nil
		}
		return false, err
	})
}

// awaitDeleted calls do for each namespace in parallel, and returns after how many seconds each
// was deleted.
func (d *deallocation) awaitDeleted(names []string, do func(ctx context.Context, i int) error) []float64 {
	d.b.Helper()
	ctx, cancel := context.WithTimeout(d.b.Context(), patience)
	defer cancel()
	follow := follow(ctx, d.b, d.env.Client.CoreV1().RESTClient(), "namespaces", metav1.NamespaceAll, fields.Everything())
	group, ctx := errgroup.WithContext(ctx)
	var seconds []float64
	begin := time.Now()
	group.Go(func() error { return eachUntil(ctx, len(names), parallel, do) })
	group.Go(func() error {
		return follow(ctx, func(event watch.Event) bool {
			if ns, ok := event.Object.(*corev1.Namespace); ok && event.Type == watch.Deleted && slices.Contains(names, ns.Name) {
				seconds = append(seconds, time.Since(begin).Seconds())
			}
			return len(seconds) == len(names)
		})
	})
	if err := group.Wait(); err != nil {
		d.b.Fatalf("wait for namespaces, of which %d of %d are deleted: %v", len(seconds), len(names), err)
	}
	return seconds
}
