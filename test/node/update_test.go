// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"syscall"
	"testing"
)

func TestPluginUpdate_oldAndNewRunAtTheSameTime(t *testing.T) {
	t.Parallel()
	first, second := readyClaim(t, "a", "b"), readyClaim(t)
	n := newNode(t)
	older := n.startAs(t, "pod-1", nil)
	n.mustPrepare(t, older, first)
	newer := n.startAs(t, "pod-2", nil)
	n.mustPrepare(t, newer, second, first)

	// Each handles calls for claims that the other has prepared.
	n.mustPrepare(t, newer, first, second)
	n.mustPrepare(t, older, second, first)
	n.mustUnprepare(t, newer, first, second)
	n.mustUnprepare(t, older, second)

	n.mustPrepare(t, older, first)
	if err := older.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-older.exited
	if !older.cmd.ProcessState.Success() {
		t.Errorf("the old kubelet plugin, after SIGTERM: %s", older.cmd.ProcessState)
	}
	n.mustPrepare(t, newer, first)
	n.mustUnprepare(t, newer, first)
}

func TestStop_finishesThePrepareThatIsInProgress(t *testing.T) {
	t.Parallel()
	c, resolve := newConflict(t)
	n := newNode(t)
	p := n.start(t)
	end := n.prepareUntilWaiting(t, p, c)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.awaitExitOrLog(t, "Waiting for calls of the kubelet to end")
	resolve()
	if err := <-end; err != nil {
		t.Errorf("Prepare: %v", err)
	}
	<-p.exited
	if !p.cmd.ProcessState.Success() {
		t.Errorf("the kubelet plugin exited: %s", p.cmd.ProcessState)
	}
	n.checkPaths(t, c)
	n.mustUnprepare(t, n.start(t), c)
}

func TestPluginUpdate_startDoesNotDisturbTheOldPlugin(t *testing.T) {
	t.Parallel()
	c := readyClaim(t, "a", "b")
	n := newNode(t)
	older := n.startAs(t, "pod-1", nil)
	for range 3 {
		newer := n.launch(t, "pod-2", nil)
		registered := make(chan error, 1)
		go func() { registered <- newer.register(t, n.kubelet, "pod-2") }()
		for starting := true; starting; {
			select {
			case err := <-registered:
				if err != nil {
					t.Fatal(err)
				}
				starting = false
			default:
			}
			n.mustPrepare(t, older, c)
			n.mustUnprepare(t, older, c)
		}
		newer.kill()
	}
}
