// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/component-base/metrics/testutil"

	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	mebibyte = 1 << 20
	// restWindow is the time for which a process at rest must be idle.
	restWindow = 2 * time.Second
)

// process is a running program. If it cannot be measured, the benchmark fails.
type process struct {
	b    *testing.B
	name string
	cmd  *exec.Cmd
	log  framework.Output
	// ctx is done when the process exits.
	ctx context.Context
	// metrics and profiles are clients for /metrics and /debug/pprof/.
	metrics, profiles framework.HTTPClient
}

// start starts a program, and stops it at the end of the benchmark.
func start(b *testing.B, path string, args ...string) *process {
	b.Helper()
	p := &process{b: b, name: filepath.Base(path), cmd: exec.Command(path, args...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		b.Fatalf("start %s, which make bench builds: %v", p.name, err)
	}
	ctx, exited := context.WithCancelCause(context.Background())
	p.ctx = ctx
	go func() { exited(fmt.Errorf("%s has exited, error: %w", p.name, p.cmd.Wait())) }()
	b.Cleanup(func() {
		p.stop()
		if b.Failed() {
			text := p.log.String()
			b.Logf("the end of the log of %s:\n%s", p.name, text[max(0, len(text)-4000):])
		}
	})
	return p
}

// stop terminates the process, and waits until it exits.
func (p *process) stop() {
	// It may have exited already.
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.ctx.Done()
	if !p.cmd.ProcessState.Success() {
		p.b.Error(context.Cause(p.ctx))
	}
}

// await polls until is returns true.
func (p *process) await(what string, every time.Duration, is func() bool) {
	p.b.Helper()
	if err := wait.PollUntilContextTimeout(p.ctx, every, patience, true, func(context.Context) (bool, error) { return is(), nil }); err != nil {
		p.b.Fatalf("wait for %s to %s: %v", p.name, what, err)
	}
}

// awaitRest waits until the process has been idle for a while.
func (p *process) awaitRest() {
	p.b.Helper()
	var last float64
	p.await("be at rest", restWindow, func() bool {
		cpu := p.cpu()
		rests := last > 0 && cpu-last <= restWindow.Seconds()/50
		last = cpu
		return rests
	})
}

// proc returns the kernel's information about the process.
func (p *process) proc() procfs.Proc {
	p.b.Helper()
	proc, err := procfs.NewProc(p.cmd.Process.Pid)
	if err != nil {
		p.b.Fatal(err)
	}
	return proc
}

// cpu returns the CPU time of the process so far, in seconds.
func (p *process) cpu() float64 {
	p.b.Helper()
	stat, err := p.proc().Stat()
	if err != nil {
		p.b.Fatal(err)
	}
	return stat.CPUTime()
}

// load returns how many cores the process uses on average for some time.
func (p *process) load(during time.Duration) float64 {
	p.b.Helper()
	before, begin := p.cpu(), time.Now()
	select {
	case <-time.After(during):
	case <-p.ctx.Done():
	}
	return (p.cpu() - before) / time.Since(begin).Seconds()
}

// peak returns the peak memory of the process, in MiB.
func (p *process) peak() float64 {
	p.b.Helper()
	status, err := p.proc().NewStatus()
	if err != nil {
		p.b.Fatal(err)
	}
	return float64(status.VmHWM) / mebibyte
}

var heapAlloc = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)

// live returns the memory of objects in use, in MiB.
func (p *process) live() float64 {
	p.b.Helper()
	// The metric would include the memory for a scrape.
	match := heapAlloc.FindStringSubmatch(p.get(p.profiles, "/debug/pprof/heap?gc=1&debug=1"))
	if match == nil {
		p.b.Fatalf("the heap profile of %s has no HeapAlloc", p.name)
	}
	bytes, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		p.b.Fatal(err)
	}
	return bytes / mebibyte
}

// get reads from one of the ports of the process.
func (p *process) get(from framework.HTTPClient, path string) string {
	p.b.Helper()
	code, text, err := from.Get(p.ctx, path)
	if err != nil || code != http.StatusOK {
		p.b.Fatalf("get %s of %s: %d, error %v", path, p.name, code, err)
	}
	return text
}

// scrape reads the metrics of the process.
func (p *process) scrape() testutil.Metrics {
	p.b.Helper()
	return parseMetrics(p.b, p.get(p.metrics, "/metrics"))
}

func parseMetrics(b *testing.B, text string) testutil.Metrics {
	b.Helper()
	metrics := testutil.NewMetrics()
	if err := testutil.ParseMetrics(text, &metrics); err != nil {
		b.Fatalf("parse metrics: %v", err)
	}
	return metrics
}
