// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"syscall"
	"testing"
)

func TestPluginUpdate_oldAndNewServeSideBySide(t *testing.T) {
	t.Parallel()
	first, second := standing(t, "a", "b"), standing(t)
	n := newNode(t)
	older := n.startAs(t, "pod-1", nil)
	n.wantPrepared(t, older, first)
	newer := n.startAs(t, "pod-2", nil)
	n.wantPrepared(t, newer, second, first)

	// Each accepts calls about what the other has prepared.
	n.wantPrepared(t, newer, first, second)
	n.wantPrepared(t, older, second, first)
	n.wantUnprepared(t, newer, first, second)
	n.wantUnprepared(t, older, second)

	n.wantPrepared(t, older, first)
	if err := older.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-older.ended
	if !older.cmd.ProcessState.Success() {
		t.Errorf("the old plugin, after SIGTERM: %s", older.cmd.ProcessState)
	}
	n.wantPrepared(t, newer, first)
	n.wantUnprepared(t, newer, first)
}

func TestStop_finishesThePrepareThatIsInProgress(t *testing.T) {
	t.Parallel()
	c, give := waiting(t)
	n := newNode(t)
	p := n.start(t)
	end := n.prepareUntilWaiting(t, p, c)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.awaitEndOr(t, "Waiting for calls of the kubelet to end")
	give()
	if err := <-end; err != nil {
		t.Errorf("Prepare: %v", err)
	}
	<-p.ended
	if !p.cmd.ProcessState.Success() {
		t.Errorf("the plugin ended: %s", p.cmd.ProcessState)
	}
	n.checkPaths(t, c)
	n.wantUnprepared(t, n.start(t), c)
}

func TestPluginUpdate_startDoesNotDisturbTheOldPlugin(t *testing.T) {
	t.Parallel()
	c := standing(t, "a", "b")
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
			n.wantPrepared(t, older, c)
			n.wantUnprepared(t, older, c)
		}
		newer.kill()
	}
}
