// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// stuck remembers which namespaces take too long to go, and what was said of them.
type stuck struct {
	after time.Duration

	mutex sync.Mutex
	said  map[types.UID]saying
}

type saying struct {
	words string
	at    time.Time
}

func newStuck(after time.Duration) *stuck {
	return &stuck{after: after, said: map[types.UID]saying{}}
}

// toSay returns what is to be said of a namespace now, or nothing, and when to
// look at it again. The zero time stands for never.
func (s *stuck) toSay(ns *corev1.Namespace, now time.Time) (words string, again time.Time) {
	if ns.DeletionTimestamp == nil {
		return "", time.Time{}
	}
	if due := ns.DeletionTimestamp.Add(s.after); now.Before(due) {
		return "", due
	}
	words = fmt.Sprintf("Namespace %s is being deleted since %s and does not go: %s",
		ns.Name, ns.DeletionTimestamp.UTC().Format(time.RFC3339), whyTerminating(ns))
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if last, known := s.said[ns.UID]; known && last.words == words && now.Before(last.at.Add(s.after)) {
		return "", last.at.Add(s.after)
	}
	s.said[ns.UID] = saying{words, now}
	return words, now.Add(s.after)
}

// stuckTerminating is the number of namespaces that are reported.
func (c *Controller) stuckTerminating() int {
	c.stuck.mutex.Lock()
	defer c.stuck.mutex.Unlock()
	return len(c.stuck.said)
}

// forget is for a namespace that has gone.
func (s *stuck) forget(namespace types.UID) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.said, namespace)
}

// keepOnly forgets all namespaces but those that exist.
func (s *stuck) keepOnly(exists func(types.UID) bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	maps.DeleteFunc(s.said, func(uid types.UID, _ saying) bool { return !exists(uid) })
}

// whyTerminating is the reason that the namespace's own conditions give.
func whyTerminating(ns *corev1.Namespace) string {
	var reasons []string
	for _, condition := range ns.Status.Conditions {
		if condition.Status == corev1.ConditionTrue {
			reasons = append(reasons, fmt.Sprintf("%s: %s", condition.Type, condition.Message))
		}
	}
	if len(reasons) == 0 {
		return "its conditions give no reason"
	}
	return strings.Join(reasons, "; ")
}

// reportStuck says, on the namespace and on the claim that it was for, when its
// deletion takes too long. It says so again from time to time, and when the
// reason changes. More is not for the driver to do: finalizers are somebody's
// wish to be waited for.
func (c *Controller) reportStuck(ctx context.Context, ns *corev1.Namespace) {
	words, again := c.stuck.toSay(ns, c.Clock.Now())
	if !again.IsZero() {
		c.queue.AddAfter(c.claimOf(ns), again.Sub(c.Clock.Now()))
	}
	if words == "" {
		return
	}
	klog.FromContext(ctx).Info("Namespace stuck in termination", logkeys.Namespace, ns.Name, "cause", words)
	c.eventOnSpace(ns, nil, corev1.EventTypeWarning, spaceapi.ReasonStuckTerminating, words)
}
