// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"
)

func perNode(limit int64) Set {
	return Set{Pools: []Pool{{Name: "spaces", PerNode: &PerNode{Limit: ptr.To(limit)}}}}
}

func TestPoolsThatChangeAreThoseThatComeGoOrAreDifferent(t *testing.T) {
	a, b, c := Node{Name: "a"}, Node{Name: "b"}, Node{Name: "c"}
	for name, test := range map[string]struct {
		before, after Set
		was, is       []Node
		want          []string
	}{
		"nothing":           {perNode(2), perNode(2), []Node{a, b}, []Node{b, a}, nil},
		"a node joins":      {perNode(2), perNode(2), []Node{a}, []Node{a, b}, []string{"spaces/b"}},
		"a node leaves":     {perNode(2), perNode(2), []Node{a, b}, []Node{b}, []string{"spaces/a"}},
		"one for another":   {perNode(2), perNode(2), []Node{a, b}, []Node{b, c}, []string{"spaces/a", "spaces/c"}},
		"all are different": {perNode(2), perNode(3), []Node{a, b}, []Node{a, b}, []string{"spaces/a", "spaces/b"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := changing(test.before.resources(test.was, lacks{}), test.after.resources(test.is, lacks{}))
			if !got.Equal(sets.New(test.want...)) {
				t.Errorf("got %v, want %v", sets.List(got), test.want)
			}
		})
	}
}

func TestAnUpdateAddsOnlyWhatChanges(t *testing.T) {
	q := newSelective()
	defer q.ShutDown()
	q.update(sets.New("b"), func() {
		for _, pool := range []string{"a", "b", "c"} {
			q.Add(pool)
		}
	})
	if pool, _ := q.Get(); pool != "b" || q.Len() != 0 {
		t.Errorf("got %q and %d more, want only b", pool, q.Len())
	}
	q.Add("a")
	if pool, _ := q.Get(); pool != "a" {
		t.Errorf("got %q after the update, want a", pool)
	}
}

func TestNodesThatComeAndGoTakeTheirSlicesAlong(t *testing.T) {
	client, nodes := fake.NewClientset(), metadataClient(t, node("a", "ssd"), node("b", "ssd"))
	var made atomic.Int64
	var watched atomic.Bool
	client.PrependWatchReactor("resourceslices", func(clienttesting.Action) (bool, watch.Interface, error) {
		watched.Store(true)
		return false, nil, nil
	})
	client.PrependReactor("create", "resourceslices", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create := action.(clienttesting.CreateActionImpl)
		slice := create.Object.(*resourceapi.ResourceSlice)
		if len(create.CreateOptions.DryRun) > 0 {
			return true, slice, nil
		}
		if !watched.Load() {
			// It would be lost on the publisher: this API server replays nothing.
			return true, nil, errors.New("not before it is watched")
		}
		// As an API server does.
		slice.Name = fmt.Sprint(slice.GenerateName, made.Add(1))
		slice.ResourceVersion = fmt.Sprint(made.Load())
		return false, nil, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	publisher := Publisher{Driver: "d.example.com", Client: client, Metadata: nodes, Pools: perNode(2)}
	go func() { ended <- publisher.Run(ctx) }()
	await := func(want ...string) {
		t.Helper()
		var got []string
		if err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			list, err := client.ResourceV1().ResourceSlices().List(ctx, metav1.ListOptions{})
			if err != nil {
				return false, err
			}
			got = nil
			for _, slice := range list.Items {
				got = append(got, slice.Spec.Pool.Name)
			}
			slices.Sort(got)
			return slices.Equal(got, want), nil
		}); err != nil {
			t.Fatalf("there are pools %v, want %v: %v", got, want, err)
		}
	}
	awaitWatch(t, nodes)
	await("spaces/a", "spaces/b")
	api := nodes.Resource(nodeResource).(metadatafake.MetadataClient)
	if _, err := api.CreateFake(node("c", "ssd"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await("spaces/a", "spaces/b", "spaces/c")
	if err := api.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await("spaces/b", "spaces/c")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
