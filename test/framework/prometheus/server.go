// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package prometheus runs a real Prometheus that collects the metrics of the driver's
// pods, and asks it. It is what Prometheus' own packages make of a configuration: see
// test/tools/prometheus/promcheck.
package prometheus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// Job is what the driver's pods are to Prometheus.
const Job = "space-dra-driver"

// object is a part of Prometheus' configuration, which is in JSON: that is YAML, too.
type object = map[string]any

// Server is a running Prometheus.
type Server struct {
	url string
	log *framework.Output
	cmd *exec.Cmd
	// ended is closed when the process has ended, with err.
	ended chan struct{}
	err   error
}

// Start runs Prometheus, with its files in dir. It collects the metrics of the driver's pods, and evaluates the groups
// of a PrometheusRule.
func Start(ctx context.Context, dir string, env *framework.Env, groups any) (*Server, error) {
	var pods []corev1.Pod
	for _, selector := range []string{framework.ControllerPods, framework.PluginPods} {
		some, err := env.DriverPods(ctx, selector)
		if err != nil {
			return nil, err
		}
		pods = append(pods, some...)
	}
	if err := configure(dir, env, pods, groups); err != nil {
		return nil, fmt.Errorf("configure Prometheus: %w", err)
	}
	s := &Server{log: &framework.Output{}, ended: make(chan struct{})}
	s.cmd = exec.Command(framework.Binary("promcheck"), "serve", filepath.Join(dir, "prometheus.yaml"), filepath.Join(dir, "data"))
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start Prometheus, which make promcheck builds: %w", err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	if err := s.awaitTargets(ctx, len(pods)); err != nil {
		return nil, errors.Join(fmt.Errorf("start Prometheus: %w", err), s.Stop())
	}
	return s, nil
}

// configure writes Prometheus' configuration. Pods can't be reached from everywhere, but the API server
// asks them on behalf of those who may.
func configure(dir string, env *framework.Env, pods []corev1.Pod, groups any) error {
	config, err := env.Cluster.RESTConfig()
	if err != nil {
		return err
	}
	if err := rest.LoadTLSFiles(config); err != nil {
		return fmt.Errorf("read the certificates of the kubeconfig: %w", err)
	}
	for name, content := range map[string][]byte{"ca.crt": config.CAData, "client.crt": config.CertData, "client.key": config.KeyData} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	var targets []object
	for _, pod := range pods {
		port, err := metricsOf(pod)
		if err != nil {
			return err
		}
		targets = append(targets, object{
			"targets": []string{strings.TrimPrefix(config.Host, "https://")},
			"labels": object{
				"__metrics_path__": fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:%d/proxy/metrics", pod.Namespace, pod.Name, port),
				// As the chart's PodMonitor names them.
				"instance": fmt.Sprintf("%s:%d", pod.Status.PodIP, port), "namespace": pod.Namespace, "pod": pod.Name, "node": pod.Spec.NodeName,
			},
		})
	}
	if err := write(filepath.Join(dir, "rules.yaml"), object{"groups": groups}); err != nil {
		return err
	}
	return write(filepath.Join(dir, "prometheus.yaml"), object{
		"global":     object{"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s"},
		"rule_files": []string{"rules.yaml"},
		"scrape_configs": []object{{
			"job_name": Job, "scheme": "https", "static_configs": targets,
			"tls_config": object{"ca_file": "ca.crt", "cert_file": "client.crt", "key_file": "client.key"},
		}},
	})
}

// metricsOf is the port at which a pod serves its metrics.
func metricsOf(pod corev1.Pod) (int32, error) {
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			if port.Name == "metrics" || port.Name == "http" {
				return port.ContainerPort, nil
			}
		}
	}
	return 0, fmt.Errorf("pod %s/%s has no port for metrics", pod.Namespace, pod.Name)
}

func write(file string, content object) error {
	raw, err := json.Marshal(content)
	if err != nil {
		return err
	}
	return os.WriteFile(file, raw, 0o600)
}

// awaitTargets waits until Prometheus has had metrics from so many pods.
func (s *Server) awaitTargets(ctx context.Context, pods int) error {
	answering := 0
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, framework.Patience, true, func(ctx context.Context) (bool, error) {
		select {
		case <-s.ended:
			return false, fmt.Errorf("it ended: %w", s.err)
		default:
		}
		_, rest, _ := strings.Cut(s.log.String(), "listening on ")
		address, _, found := strings.Cut(rest, "\n")
		if !found {
			return false, nil
		}
		s.url = "http://" + address
		up, err := s.Query(ctx, `max_over_time(up[5m]) == 1`)
		if err == nil {
			answering = len(up)
		}
		return answering == pods, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the metrics of %d pods, has those of %d: %w; its log:\n%s", pods, answering, err, s.log)
	}
	return nil
}

// Log is what it wrote.
func (s *Server) Log() string { return s.log.String() }

// Stop ends it.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop Prometheus: %w", err)
	}
	<-s.ended
	if s.err != nil {
		return fmt.Errorf("stop Prometheus: %w", s.err)
	}
	return nil
}
