// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestProfiling_isOffByDefaultAndOnTheLoopbackAddressOnly(t *testing.T) {
	for component, template := range templates(t, nil) {
		if args := strings.Join(template.Spec.Containers[0].Args, " "); strings.Contains(args, "pprof") {
			t.Errorf("%s: profiles are enabled by default: %s", component, args)
		}
	}
	for component, template := range templates(t, at("profiling.enabled", true)) {
		if args := template.Spec.Containers[0].Args; !slices.Contains(args, "--pprof-bind-address=127.0.0.1:6060") {
			t.Errorf("%s: profiles are disabled, or not on the loopback address only: %q", component, args)
		}
		for _, port := range template.Spec.Containers[0].Ports {
			if port.ContainerPort == 6060 {
				t.Errorf("%s: profiles have a port", component)
			}
		}
	}
}

// monitor contains the common fields of a PodMonitor and a ServiceMonitor.
type monitor struct {
	Selector                       metav1.LabelSelector
	PodTargetLabels                []string
	PodMetricsEndpoints, Endpoints []endpoint
}

type endpoint struct {
	Port, Path, Scheme, BearerTokenFile string
	TLSConfig, Authorization            values
	Relabelings                         []struct{ TargetLabel string }
}

// secureMetrics returns values for metrics with TLS, and a monitor that may read them.
func secureMetrics(kind string) values {
	return merge(at("metrics.secure.enabled", true), at("metrics."+kind+".enabled", true), at("metrics.secure.token.existingSecret", "of-prometheus"))
}

// monitorOf returns a monitor of the rendered chart and its endpoints.
func monitorOf(t *testing.T, rendered manifests, kind string) (monitor, []endpoint) {
	t.Helper()
	object := rendered[kind+"/rel-space-dra-driver"]
	if object == nil {
		t.Fatalf("the chart has no %s", kind)
	}
	if l := object.GetLabels(); l["app.kubernetes.io/name"] != "space-dra-driver" {
		t.Errorf("the %s has labels %v", kind, l)
	}
	var m monitor
	raw, err := json.Marshal(object.Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.PodTargetLabels, []string{"app.kubernetes.io/component"}) {
		t.Errorf("rules cannot distinguish the components: %v", m.PodTargetLabels)
	}
	return m, append(m.PodMetricsEndpoints, m.Endpoints...)
}

// templates returns the pod templates of both components.
func templates(t *testing.T, v values) map[string]corev1.PodTemplateSpec {
	t.Helper()
	return map[string]corev1.PodTemplateSpec{"controller": controllerOf(t, v).Spec.Template, "kubeletPlugin": pluginOf(t, v).Spec.Template}
}

// portNamed returns a port of a pod.
func portNamed(template corev1.PodTemplateSpec, name string) int32 {
	for _, port := range template.Spec.Containers[0].Ports {
		if port.Name == name {
			return port.ContainerPort
		}
	}
	return 0
}

func TestMonitors_areOffByDefault(t *testing.T) {
	for got := range render(t, nil) {
		if strings.HasPrefix(got, "PodMonitor") || strings.HasPrefix(got, "Service") && !strings.HasPrefix(got, "ServiceAccount") {
			t.Errorf("the chart has %s by default", got)
		}
	}
}

// metricsPorts are the names of the components' ports for metrics. If a pod had both, its metrics would
// be collected twice.
var metricsPorts = map[string]string{"controller": "metrics", "kubeletPlugin": "http"}

func TestPodMonitor_selectsThePodsOfBothComponentsAndTheirPorts(t *testing.T) {
	labeled := at("metrics.podMonitor.labels", values{"release": "prometheus", "app.kubernetes.io/name": "overridden"})
	for _, v := range []values{merge(labeled, at("metrics.podMonitor.enabled", true)), merge(labeled, secureMetrics("podMonitor"))} {
		rendered := render(t, v)
		m, _ := monitorOf(t, rendered, "PodMonitor")
		if l := rendered["PodMonitor/rel-space-dra-driver"].GetLabels(); l["release"] != "prometheus" {
			t.Errorf("%v: it has labels %v", v, l)
		}
		for component, template := range templates(t, v) {
			if !selects(t, &m.Selector, template.Labels) {
				t.Errorf("%v: %v does not select the pods of %s, %v", v, m.Selector, component, template.Labels)
			}
			for _, port := range metricsPorts {
				if got, want := portNamed(template, port) != 0, port == metricsPorts[component]; got != want {
					t.Errorf("%v: pods of %s have port %s: %v, want %v", v, component, port, got, want)
				}
			}
		}
	}
}

func TestServiceMonitor_selectsThePodsByAService(t *testing.T) {
	for _, v := range []values{at("metrics.serviceMonitor.enabled", true), secureMetrics("serviceMonitor")} {
		rendered := render(t, v)
		m, _ := monitorOf(t, rendered, "ServiceMonitor")
		service := object[corev1.Service](t, rendered, "Service/rel-space-dra-driver-metrics")
		if service.Spec.ClusterIP != corev1.ClusterIPNone || !service.Spec.PublishNotReadyAddresses {
			t.Errorf("%v: the Service is not headless, or lacks pods that are not ready: %v", v, service.Spec)
		}
		if !selects(t, &m.Selector, service.Labels) {
			t.Errorf("%v: %v does not select the Service, %v", v, m.Selector, service.Labels)
		}
		for component, template := range templates(t, v) {
			port := metricsPorts[component]
			if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == port && p.TargetPort.StrVal == port }) {
				t.Errorf("%v: the Service has ports %v, without %s", v, service.Spec.Ports, port)
			}
			if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(template.Labels)) || portNamed(template, port) == 0 {
				t.Errorf("%v: the Service does not find the pods of %s", v, component)
			}
		}
	}
}

func TestMonitors_authenticateAndVerifyTheServer(t *testing.T) {
	token := values{"credentials": values{"name": "of-prometheus", "key": "token"}}
	for _, kind := range []string{"PodMonitor", "ServiceMonitor"} {
		key := strings.ToLower(kind[:1]) + kind[1:]
		secure := secureMetrics(key)
		certified := merge(secure, at("metrics.secure.certificate.existingSecret", "certificate"))
		for _, c := range []struct {
			values values
			want   endpoint
			labels []string
		}{
			{at("metrics."+key+".enabled", true), endpoint{}, nil},
			{secure, endpoint{Scheme: "https", Authorization: token, TLSConfig: values{"insecureSkipVerify": true}}, nil},
			{merge(secure, at("metrics."+key+".relabelings", []any{values{"targetLabel": "zone"}})),
				endpoint{Scheme: "https", Authorization: token, TLSConfig: values{"insecureSkipVerify": true}}, []string{"zone"}},
			{certified, endpoint{Scheme: "https", Authorization: token, TLSConfig: values{
				"serverName": "rel-space-dra-driver-metrics.driver.svc", "ca": values{"secret": values{"name": "certificate", "key": "ca.crt"}},
			}}, nil},
			{merge(certified, at("metrics.secure.tlsConfig", values{"serverName": "custom"})), endpoint{Scheme: "https", Authorization: token, TLSConfig: values{"serverName": "custom"}}, nil},
		} {
			// The kubelet plugin serves metrics without TLS. The dashboard shows the names of nodes.
			plugin := endpoint{Port: "http", Path: "/metrics"}
			c.want.Port, c.want.Path = "metrics", "/metrics"
			for _, label := range append([]string{"node"}, c.labels...) {
				relabeling := struct{ TargetLabel string }{label}
				plugin.Relabelings, c.want.Relabelings = append(plugin.Relabelings, relabeling), append(c.want.Relabelings, relabeling)
			}
			if _, got := monitorOf(t, render(t, c.values), kind); !reflect.DeepEqual(got, []endpoint{c.want, plugin}) {
				t.Errorf("%s with %v reads %+v, want %+v and %+v", kind, c.values, got, c.want, plugin)
			}
		}
	}
	withoutSecret := merge(secureMetrics("serviceMonitor"), at("metrics.secure.token.existingSecret", ""))
	if _, got := monitorOf(t, render(t, withoutSecret), "ServiceMonitor"); got[0].BearerTokenFile != "/var/run/secrets/kubernetes.io/serviceaccount/token" || got[0].Authorization != nil {
		t.Errorf("without a Secret, the ServiceMonitor has the endpoints %+v", got)
	}
}

func TestControllerMetrics_areSecuredWithTheCertificateOfTheValues(t *testing.T) {
	for component, template := range templates(t, nil) {
		if args := strings.Join(template.Spec.Containers[0].Args, " "); strings.Contains(args, "secure") {
			t.Errorf("%s: metrics are secured by default: %s", component, args)
		}
	}
	v := merge(secureMetrics("podMonitor"), at("controller.metricsPort", 9443), at("metrics.secure.certificate.existingSecret", "certificate"), at("networkPolicy.enabled", true))
	template := controllerOf(t, v).Spec.Template
	container := template.Spec.Containers[0]
	for _, want := range []string{"--metrics-bind-address=:9443", "--metrics-secure", "--health-probe-bind-address=:8081"} {
		if !slices.Contains(container.Args, want) {
			t.Errorf("there is no %s: %q", want, container.Args)
		}
	}
	if portNamed(template, "metrics") != 9443 || container.ReadinessProbe.HTTPGet.Port.StrVal != "health" || container.ReadinessProbe.HTTPGet.Scheme != "" {
		t.Errorf("ports %v, probe %v", container.Ports, container.ReadinessProbe)
	}
	var dir string
	for _, volume := range template.Spec.Volumes {
		for _, mount := range container.VolumeMounts {
			if mount.Name == volume.Name && volume.Secret != nil && volume.Secret.SecretName == "certificate" && mount.ReadOnly {
				dir = mount.MountPath
			}
		}
	}
	if dir == "" || !slices.Contains(container.Args, "--tls-cert-file="+dir+"/tls.crt") || !slices.Contains(container.Args, "--tls-private-key-file="+dir+"/tls.key") {
		t.Errorf("the certificate is in %q, and the arguments are %q", dir, container.Args)
	}
	policy := object[networkingv1.NetworkPolicy](t, render(t, v), "NetworkPolicy/"+controllerName)
	if ports := policy.Spec.Ingress[0].Ports; len(ports) != 1 || ports[0].Port.IntValue() != 9443 {
		t.Errorf("the NetworkPolicy allows traffic to %v", ports)
	}
}
