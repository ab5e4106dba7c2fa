// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build promcheck

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/tsdb"
)

// watch scrapes metrics as Prometheus does, into the directory data. It writes "shown NAME" when all
// queries of that name have returned a number. It returns when this is the case for all names, and the
// other queries are valid for the collected metrics.
func watch(ctx context.Context, p parser.Parser, data string, in io.Reader, out io.Writer) (err error) {
	var input struct {
		// Configuration names the targets.
		Configuration json.RawMessage
		Shown         map[string][]string
		Valid         []string
	}
	if err := json.NewDecoder(in).Decode(&input); err != nil {
		return fmt.Errorf("read the input: %w", err)
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	cfg, err := config.Load(string(input.Configuration), logger)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	registry := prometheus.NewRegistry()
	db, err := tsdb.Open(data, logger, registry, tsdb.DefaultOptions(), nil)
	if err != nil {
		return fmt.Errorf("open the storage: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	scraping, err := scrape.NewManager(&scrape.Options{DiscoveryReloadInterval: 1}, logger, nil, db, nil, registry)
	if err != nil {
		return fmt.Errorf("start scraping: %w", err)
	}
	if err := scraping.ApplyConfig(cfg); err != nil {
		return fmt.Errorf("start scraping: %w", err)
	}
	targets := make(chan map[string][]*targetgroup.Group, 1)
	targets <- targetsOf(cfg)
	go func() { _ = scraping.Run(targets) }() // it never returns an error
	defer scraping.Stop()

	engine := promql.NewEngine(promql.EngineOpts{
		Logger: logger, Reg: registry, MaxSamples: 50_000_000, Timeout: 2 * time.Minute, LookbackDelta: 5 * time.Minute,
		EnableAtModifier: true, EnableNegativeOffset: true, Parser: p,
	})
	from := time.Now()
	hasNumber := func(expr string) bool {
		query, queryErr := engine.NewRangeQuery(ctx, db, nil, expr, from, time.Now(), time.Second)
		if queryErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", expr, queryErr))
			return false
		}
		defer query.Close()
		curves, queryErr := query.Exec(ctx).Matrix()
		if queryErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", expr, queryErr))
		}
		return slices.ContainsFunc(curves, func(s promql.Series) bool {
			// The ratio of two zero rates is not a number.
			return slices.ContainsFunc(s.Floats, func(p promql.FPoint) bool { return !math.IsNaN(p.F) && !math.IsInf(p.F, 0) })
		})
	}
	for err == nil && len(input.Shown) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("these queries returned no number: %v", input.Shown)
		case <-time.After(500 * time.Millisecond):
		}
		for name, queries := range input.Shown {
			if input.Shown[name] = slices.DeleteFunc(queries, hasNumber); len(input.Shown[name]) == 0 {
				delete(input.Shown, name)
				fmt.Fprintln(out, "shown", name)
			}
		}
	}
	for _, expr := range input.Valid {
		hasNumber(expr)
	}
	return err
}

// targetsOf returns the targets of the configuration.
func targetsOf(cfg *config.Config) map[string][]*targetgroup.Group {
	out := map[string][]*targetgroup.Group{}
	for _, job := range cfg.ScrapeConfigs {
		for _, found := range job.ServiceDiscoveryConfigs {
			if static, ok := found.(discovery.StaticConfig); ok {
				out[job.JobName] = append(out[job.JobName], static...)
			}
		}
	}
	return out
}
