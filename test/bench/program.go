// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/component-base/metrics/testutil"

	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	mebibyte = 1 << 20
	// restWindow is how long a program has to be idle to be at rest.
	restWindow = 2 * time.Second
	// quickly is the interval between polls of a program that should be done soon.
	quickly = 5 * time.Millisecond
)

// program is a running program.
type program struct {
	name string
	cmd  *exec.Cmd
	log  *framework.Output
	// health, address and profiles are where it serves /readyz, /metrics and /debug/pprof.
	health, address, profiles string
	// ended is closed when the process has ended, with err.
	ended chan struct{}
	err   error
}

// startProgram starts a program of the driver, which serves metrics and profiles at free ports.
func startProgram(ctx context.Context, path string, args ...string) (*program, error) {
	var health, address, profiles string
	for _, to := range []*string{&health, &address, &profiles} {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a port for %s: %w", filepath.Base(path), err)
		}
		*to = listener.Addr().String()
		if err := listener.Close(); err != nil {
			return nil, err
		}
	}
	serve := []string{"--pprof-bind-address=" + profiles, "--metrics-bind-address=" + address, "--health-probe-bind-address=" + health}
	if filepath.Base(path) == "space-kubeletplugin" {
		health = address
		serve = []string{"--pprof-bind-address=" + profiles, "--http-bind-address=" + address}
	}
	p, err := launch(path, append(serve, args...)...)
	if err != nil {
		return nil, err
	}
	p.health, p.address, p.profiles = health, address, profiles
	return p, nil
}

// launch starts a program without metrics and profiles.
func launch(path string, args ...string) (*program, error) {
	p := &program{name: filepath.Base(path), log: &framework.Output{}, ended: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (`make bench` makes it): %w", p.name, err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// end terminates the program and waits until it has ended.
func (p *program) end() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	if p.err != nil {
		return fmt.Errorf("%s ended: %w\n%s", p.name, p.err, tail(p.log.String()))
	}
	return nil
}

// tail is the end of a log.
func tail(log string) string { return log[max(0, len(log)-4000):] }

// get reads from one of a program's ports.
func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers: %s", url, answer.Status)
	}
	return body, nil
}

// await polls until is returns true.
func (p *program) await(ctx context.Context, what string, every time.Duration, is func(ctx context.Context) (bool, error)) error {
	err := wait.PollUntilContextTimeout(ctx, every, patience, true, func(ctx context.Context) (bool, error) {
		select {
		case <-p.ended:
			return false, fmt.Errorf("it ended: %w", p.err)
		default:
			return is(ctx)
		}
	})
	if err != nil {
		return fmt.Errorf("wait for %s to %s: %w\n%s", p.name, what, err, tail(p.log.String()))
	}
	return nil
}

// awaitReady waits until the program is ready.
func (p *program) awaitReady(ctx context.Context) error {
	return p.await(ctx, "be ready", quickly, func(ctx context.Context) (bool, error) {
		// Until it listens, connections fail.
		_, err := get(ctx, "http://"+p.health+"/readyz")
		return err == nil, nil
	})
}

// awaitRest waits until the program has been idle for a while.
func (p *program) awaitRest(ctx context.Context) error {
	var last time.Duration
	return p.await(ctx, "be at rest", restWindow, func(context.Context) (bool, error) {
		cpu, err := p.cpu()
		rests := last > 0 && cpu-last <= restWindow/50
		last = cpu
		return rests, err
	})
}

// cpu is the CPU time of the program so far.
func (p *program) cpu() (time.Duration, error) {
	process, err := procfs.NewProc(p.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	stat, err := process.Stat()
	return time.Duration(stat.CPUTime() * float64(time.Second)), err
}

// load is how many cores the program uses on average for some time.
func (p *program) load(ctx context.Context, during time.Duration) (float64, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	select {
	case <-time.After(during):
	case <-p.ended:
		return 0, fmt.Errorf("%s ended: %w\n%s", p.name, p.err, tail(p.log.String()))
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	after, err := p.cpu()
	return (after - before).Seconds() / time.Since(begin).Seconds(), err
}

// peak is the most memory that the program has had so far, in MiB.
func (p *program) peak() (float64, error) {
	process, err := procfs.NewProc(p.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	status, err := process.NewStatus()
	return float64(status.VmHWM) / mebibyte, err
}

// live is how much memory objects take that are in use, in MiB.
func (p *program) live(ctx context.Context) (float64, error) {
	// Not the metric, which includes what a scrape needs.
	body, err := get(ctx, "http://"+p.profiles+"/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		return 0, fmt.Errorf("read the heap profile of %s: %w", p.name, err)
	}
	return heapOf(string(body))
}

// heapOf reads a heap profile in text form.
func heapOf(profile string) (float64, error) {
	for line := range strings.Lines(profile) {
		if rest, ok := strings.CutPrefix(line, "# HeapAlloc = "); ok {
			bytes, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return bytes / mebibyte, err
		}
	}
	return 0, errors.New("the heap profile has no HeapAlloc")
}

// metrics reads the program's metrics.
func (p *program) metrics(ctx context.Context) (testutil.Metrics, error) {
	body, err := get(ctx, "http://"+p.address+"/metrics")
	if err != nil {
		return nil, fmt.Errorf("read the metrics of %s: %w", p.name, err)
	}
	return parseMetrics(string(body))
}

func parseMetrics(text string) (testutil.Metrics, error) {
	metrics := testutil.NewMetrics()
	if err := testutil.ParseMetrics(text, &metrics); err != nil {
		return nil, fmt.Errorf("parse metrics: %w", err)
	}
	return metrics, nil
}
