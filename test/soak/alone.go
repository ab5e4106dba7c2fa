// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// Variables of the environment.
const (
	seedVariable     = "SPACE_TEST_SEED"
	durationVariable = "SPACE_SOAK_DURATION"

	defaultDuration = 10 * time.Minute
)

// Clients and standing pods, as many as two cores can bear.
const (
	DefaultClients  = 10
	DefaultStanding = 4
)

// Seed is what SPACE_TEST_SEED says, else a new one each time.
func Seed() (uint64, error) {
	text := os.Getenv(seedVariable)
	if text == "" {
		return rand.Uint64(), nil //nolint:gosec // nothing is kept secret with it
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is to be a number that is not negative: %w", seedVariable, err)
	}
	return seed, nil
}

// Duration is what SPACE_SOAK_DURATION says, else ten minutes.
func Duration() (time.Duration, error) {
	text := os.Getenv(durationVariable)
	if text == "" {
		return defaultDuration, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%s is to be a duration such as 10m: %w", durationVariable, err)
	}
	if d <= 0 {
		return 0, fmt.Errorf("%s is %s, must be longer than nothing", durationVariable, d)
	}
	return d, nil
}

// Alone runs on a cluster of its own for as long as the environment says.
func Alone(ctx context.Context, out io.Writer) (err error) {
	seed, err := Seed()
	if err != nil {
		return err
	}
	duration, err := Duration()
	if err != nil {
		return err
	}
	start := time.Now()
	log := func(format string, args ...any) {
		fmt.Fprintf(out, "%7s  "+format+"\n", append([]any{time.Since(start).Round(time.Second)}, args...)...)
	}
	log("%s=%d %s=%s", seedVariable, seed, durationVariable, duration)

	cfg := cluster.DefaultConfig()
	cfg.Name = "space-soak"
	cfg.Kubeconfig = filepath.Join(cfg.BuildDir, "soak.kubeconfig")
	cfg.Log = log
	if err := cluster.Delete(ctx, cfg); err != nil {
		return fmt.Errorf("delete the cluster of an earlier run: %w", err)
	}
	c, err := cluster.Create(ctx, cfg)
	if err != nil {
		return fmt.Errorf("create the cluster: %w", err)
	}
	defer func() {
		if deleteErr := c.Delete(context.WithoutCancel(ctx)); deleteErr != nil && err == nil {
			err = fmt.Errorf("delete the cluster: %w", deleteErr)
		}
	}()
	env, err := framework.NewEnv(c)
	if err != nil {
		return err
	}
	if err := env.InstallDriver(ctx, filepath.Dir(cfg.BuildDir)); err != nil {
		return err
	}
	report, err := Run(ctx, Config{Env: env, Seed: seed, Duration: duration, Clients: DefaultClients, Standing: DefaultStanding, Log: log})
	report.Print(log)
	if err != nil {
		logs, logsErr := env.TryKubectl(context.WithoutCancel(ctx), "logs", "-n", framework.DriverNamespace, "-l", "app.kubernetes.io/name=space-dra-driver", "--prefix", "--tail=100")
		log("the driver's logs (error: %v):\n%s", logsErr, logs)
		return fmt.Errorf("with %s=%d: %w", seedVariable, seed, err)
	}
	return nil
}

// Print tells what happened.
func (r Report) Print(log func(format string, args ...any)) {
	var down time.Duration
	for _, o := range r.Outages {
		down += o.End.Sub(o.Begin)
	}
	log("%d pods, %d of them given up; killed: %v; the API server was away %d times, %s in all", r.Pods, r.GaveUp, r.Kills, len(r.Outages), down.Round(time.Second))
	for _, v := range r.Seen {
		log("%s", v)
	}
}
