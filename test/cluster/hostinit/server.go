// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package hostinit

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// serve answers requests, one a connection, until the listener fails.
func serve(listener net.Listener, table *processTable) error {
	s := &server{
		table: table,
		probes: &http.Client{
			Timeout: 2 * time.Second,
			Transport: &http.Transport{
				// It asks "are you there?" over the host's own loopback.
				TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
				DisableKeepAlives: true,
			},
		},
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("accepting a request: %w", err)
		}
		go s.handle(conn)
	}
}

type server struct {
	table  *processTable
	probes *http.Client
}

func (s *server) handle(conn net.Conn) {
	defer conn.Close()
	var req request
	if err := json.NewDecoder(conn).Decode(&req); err != nil {
		return // the client went away
	}
	var resp response
	if err := s.do(req); err != nil {
		resp.Error = err.Error()
	} else if req.Op == opList {
		resp.Processes = s.table.list()
	}
	// If the client went away, nobody is left to tell.
	_ = json.NewEncoder(conn).Encode(resp)
}

func (s *server) do(req request) error {
	switch req.Op {
	case opStart:
		if req.Process == nil || len(req.Process.Argv) == 0 {
			return fmt.Errorf("starting %q: no command line", req.Name)
		}
		return s.table.start(*req.Process)
	case opStop:
		return s.table.stop(req.Name, req.Grace)
	case opKill:
		return s.table.kill(req.Name, req.Signal, req.Wait)
	case opList:
		return nil
	case opProbe:
		return s.probe(req.URL)
	case opWipeRun:
		if err := s.table.killOthers(); err != nil {
			return err
		}
		return remountRun()
	default:
		return fmt.Errorf("unknown operation %q", req.Op)
	}
}

func (s *server) probe(target string) error {
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
