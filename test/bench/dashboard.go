// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/space-dra/space-dra-driver/test/bench/picture"
	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/test/framework/dashboard"
	"github.com/space-dra/space-dra-driver/test/framework/prometheus"
	"github.com/space-dra/space-dra-driver/test/framework/readme"
)

// shownExamples are what happens while the dashboard is looked at, besides the demo's pods.
var shownExamples = []string{"four-spaces", "limited-pool", "shared-by-pods", "pool-per-node", "ci-job"}

// Dashboard draws the dashboard while the demo's pods and some of the examples come and go.
func Dashboard(ctx context.Context, s Settings, out io.Writer) error {
	return s.onCluster(ctx, 2, nil, func(env *framework.Env) error {
		root := filepath.Dir(cluster.DefaultConfig().BuildDir)
		if err := env.InstallDriver(ctx, root, "demo/examples/values.yaml"); err != nil {
			return err
		}
		return s.dashboard(ctx, env, root, out)
	})
}

func (s Settings) dashboard(ctx context.Context, env *framework.Env, root string, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "prometheus-")
	if err != nil {
		return fmt.Errorf("make a directory for Prometheus: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := prometheus.Start(ctx, dir, env, []any{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	from := time.Now()
	if err := s.demo(ctx, env, root); err != nil {
		return err
	}
	to := time.Now()
	shown, err := dashboard.Load(root)
	if err != nil {
		return err
	}
	var panels []picture.Panel
	for _, panel := range shown.Panels {
		drawn := picture.Panel{Panel: panel}
		for _, target := range panel.Targets {
			curves, err := server.QueryRange(ctx, target.Query("30s"), from, to, time.Second)
			if err != nil {
				return err
			}
			for _, curve := range curves {
				drawn.Curves = append(drawn.Curves, drawnCurve(target, curve, from))
			}
		}
		panels = append(panels, drawn)
	}
	return picture.Draw(out, panels, to.Sub(from))
}

func drawnCurve(target dashboard.Target, curve prometheus.Curve, from time.Time) picture.Curve {
	out := picture.Curve{Name: target.Legend(curve.Labels)}
	for _, point := range curve.Points {
		out.Points = append(out.Points, picture.Point{After: point.Time.Sub(from), Value: point.Value})
	}
	return out
}

// demo does what the demo does with its pods, and runs the examples.
func (s Settings) demo(ctx context.Context, env *framework.Env, root string) error {
	manifest := "--filename=" + filepath.Join(root, "demo/namespace-test.yaml")
	for range 3 {
		for _, args := range [][]string{
			{"apply", manifest},
			{"wait", "--for=condition=Ready", "-n", "namespace-test", "pod/pod0", "pod/pod1", "--timeout=3m"},
			{"exec", "-n", "namespace-test", "pod0", "--", "sh", "-c", "KUBECONFIG=/etc/test-claim/kubeconfig kubectl create configmap greeting --from-literal=from=pod0"},
			{"delete", manifest},
		} {
			s.logf("kubectl %s", strings.Join(args, " "))
			if said, err := env.TryKubectl(ctx, args...); err != nil {
				return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, said)
			}
		}
	}
	runner := readme.Runner{Dir: root, Timeout: framework.Patience, Env: append(os.Environ(), "KUBECONFIG="+env.Cluster.Kubeconfig(),
		"PATH="+strings.Join([]string{filepath.Dir(env.Cluster.Binary("kubectl")), os.Getenv("PATH")}, ":"))}
	for _, example := range shownExamples {
		s.logf("example %s", example)
		path := filepath.Join(root, "demo/examples", example, "README.md")
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read example %s: %w", example, err)
		}
		page, err := readme.Parse(path, string(text))
		if err != nil {
			return err
		}
		if err := runner.Run(ctx, page); err != nil {
			return fmt.Errorf("run example %s: %w", example, err)
		}
	}
	return nil
}
