// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package hostinit

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"net/rpc/jsonrpc"
	"net/url"
	"strings"
	"time"
)

const serviceName = "Init"

// service has the methods that a host's init serves.
type service struct {
	processes *processTable
	probes    *http.Client
}

// none is the argument of methods that need none, and the reply of those that
// only succeed or fail.
type none = struct{}

// serve answers requests until the listener fails.
func serve(listener net.Listener, processes *processTable) error {
	server := rpc.NewServer()
	err := server.RegisterName(serviceName, &service{processes, &http.Client{
		Timeout: 2 * time.Second,
		Transport: &http.Transport{
			// It asks "are you there?" over the host's own loopback.
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			DisableKeepAlives: true,
		},
	}})
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("accepting a request: %w", err)
		}
		go server.ServeCodec(jsonrpc.NewServerCodec(conn))
	}
}

// Start starts a process unless it runs already.
func (s *service) Start(p Process, _ *none) error { return s.processes.start(p) }

// Kill ends a process with SIGKILL and returns when it is gone.
func (s *service) Kill(name string, _ *none) error { return s.processes.kill(name) }

// List returns every process that was started since the host was booted.
func (s *service) List(_ none, all *[]Status) error {
	*all = s.processes.list()
	return nil
}

// WipeRun kills every process that the init didn't start itself, containers
// above all, and replaces /run with an empty one.
func (s *service) WipeRun(none, *none) error {
	if err := s.processes.killOthers(); err != nil {
		return err
	}
	return remountRun()
}

// Probe asks a URL of the host whether it answers.
func (s *service) Probe(target string, _ *none) error {
	u, err := url.Parse(target)
	if err != nil {
		return fmt.Errorf("probing %q: %w", target, err)
	}
	if u.Scheme == "unix" {
		conn, err := net.DialTimeout("unix", u.Path, s.probes.Timeout)
		if err != nil {
			return fmt.Errorf("probing %s: %w", target, err)
		}
		return conn.Close()
	}
	resp, err := s.probes.Get(target)
	if err != nil {
		return fmt.Errorf("probing %s: %w", target, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("probing %s: %s: %s", target, resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}
