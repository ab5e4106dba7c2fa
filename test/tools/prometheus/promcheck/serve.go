// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build promcheck

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/tsdb"
)

// serve is Prometheus as its own main makes it of these packages, for targets that the
// configuration names. It writes its address to standard output, and ends with a signal.
func serve(p parser.Parser, file, data string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	cfg, err := config.LoadFile(file, false, logger)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	registry := prometheus.NewRegistry()
	db, err := tsdb.Open(data, logger, registry, tsdb.DefaultOptions(), nil)
	if err != nil {
		return fmt.Errorf("open the storage: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	engine := promql.NewEngine(promql.EngineOpts{
		Logger: logger, Reg: registry, MaxSamples: 50_000_000, Timeout: 2 * time.Minute, LookbackDelta: 5 * time.Minute,
		EnableAtModifier: true, EnableNegativeOffset: true, Parser: p,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Duration(cfg.GlobalConfig.EvaluationInterval).Milliseconds() },
	})

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

	evaluation := rules.NewManager(&rules.ManagerOptions{
		Context: ctx, Logger: logger, Registerer: registry, Parser: p, Appendable: db, Queryable: db,
		ExternalURL: &url.URL{Scheme: "http", Host: "localhost"}, QueryFunc: rules.EngineQueryFunc(engine, db),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
	})
	if err := evaluation.Update(time.Duration(cfg.GlobalConfig.EvaluationInterval), cfg.RuleFiles, labels.EmptyLabels(), "", nil); err != nil {
		return fmt.Errorf("read the rules: %w", err)
	}
	go evaluation.Run()
	defer evaluation.Stop()

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: api{engine, db, evaluation}.handler(), ReadHeaderTimeout: time.Minute}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	fmt.Println("listening on", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// targetsOf are those that the configuration names.
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
