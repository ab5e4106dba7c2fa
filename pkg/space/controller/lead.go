// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// errLostLease ends the process: whatever a former leader still remembers is
// best forgotten.
var errLostLease = errors.New("lost the leader election lease")

// lead does the work while this process holds the lease. When the process is told
// to end, it gives the lease up after the work has ended. When it loses the lease,
// the next leader may find work in flight, which does no harm: all that is written
// is made sure of by names, UIDs and resource versions.
//
// The client must not wait for an answer for long: what never comes would look like
// an election that has come to a halt.
func (o *Options) lead(ctx context.Context, api kubernetes.Interface, pulse *pulse, work func(context.Context) error) error {
	if !o.LeaderElect {
		return work(ctx)
	}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find a name for leader election: %w", err)
	}
	identity := hostname + "_" + string(uuid.NewUUID())
	logger := klog.FromContext(ctx)

	holding, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	var leading atomic.Bool
	result := make(chan error, 1)
	pulse.silence = o.LeaseDuration + electionTolerance
	pulse.Interface = &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: o.LeaseNamespace, Name: o.LeaseName},
		Client:     api.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            pulse,
		Name:            o.LeaseName,
		LeaseDuration:   o.LeaseDuration,
		RenewDeadline:   o.RenewDeadline,
		RetryPeriod:     o.RetryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) {
				leading.Store(true)
				defer release()
				logger.Info("Leading", logkeys.Identity, identity)
				held, cancel := context.WithCancel(held)
				defer cancel()
				defer context.AfterFunc(ctx, cancel)()
				result <- work(held)
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(leader string) {
				if leader != identity {
					logger.Info("Standing by", "leader", leader)
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("set up leader election: %w", err)
	}
	defer context.AfterFunc(ctx, func() {
		if !leading.Load() {
			release()
		}
	})()
	elector.Run(holding)

	if leading.Load() {
		if err := <-result; err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		return errLostLease
	}
	return nil
}
