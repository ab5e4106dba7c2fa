// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestPprof_isOffByDefaultAndOnTheLoopbackAddressOnly(t *testing.T) {
	for component, template := range templates(t, nil) {
		if args := strings.Join(template.Spec.Containers[0].Args, " "); strings.Contains(args, "pprof") {
			t.Errorf("%s: profiles are on by default: %s", component, args)
		}
	}
	flags := map[string]string{"controller": "--pprof-bind-address", "kubeletplugin": "--pprof-bind-address"}
	for component, template := range templates(t, at("metrics.pprof", true)) {
		if args := template.Spec.Containers[0].Args; !slices.Contains(args, flags[component]+"=127.0.0.1:6060") {
			t.Errorf("%s: profiles are off, or not on the loopback address only: %q", component, args)
		}
		for _, port := range template.Spec.Containers[0].Ports {
			if port.ContainerPort == 6060 {
				t.Errorf("%s: profiles have a port", component)
			}
		}
	}
}

// monitor is what a PodMonitor and a ServiceMonitor have in common.
type monitor struct {
	Selector            metav1.LabelSelector `json:"selector"`
	PodTargetLabels     []string             `json:"podTargetLabels"`
	PodMetricsEndpoints []endpoint           `json:"podMetricsEndpoints"`
	Endpoints           []endpoint           `json:"endpoints"`
}

type endpoint struct {
	Port, Path, Scheme, BearerTokenFile string
	TLSConfig, Authorization            values
	Relabelings                         []struct{ TargetLabel string }
}

// securely are values for secured metrics and a monitor that may read them.
func securely(kind string) values {
	return together(at("metrics.secure.enabled", true), at("metrics."+kind+".enabled", true), at("metrics.secure.tokenSecret.name", "of-prometheus"))
}

// monitorOf returns a monitor of the rendered chart and the only place that it reads.
func monitorOf(t *testing.T, v values, kind string) (monitor, endpoint) {
	t.Helper()
	object := objects(t, render(t, v))[kind+"/rel-space-dra-driver"]
	if object == nil {
		t.Fatalf("there is no %s", kind)
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
	places := append(slices.Clone(m.PodMetricsEndpoints), m.Endpoints...)
	if len(places) != 2 || places[0].Port != "metrics" || places[0].Path != "/metrics" || places[1].Port != "http" || places[1].Path != "/metrics" {
		t.Fatalf("the %s reads %v", kind, places)
	}
	// The kubelet plugin's metrics are always plain.
	if plugin := places[1]; plugin.Scheme != "" || plugin.TLSConfig != nil || plugin.Authorization != nil || plugin.BearerTokenFile != "" {
		t.Errorf("the %s reads the plugin's metrics with %+v", kind, plugin)
	}
	if !slices.Equal(m.PodTargetLabels, []string{"app.kubernetes.io/component"}) {
		t.Errorf("rules can't tell the components apart: %v", m.PodTargetLabels)
	}
	return m, places[0]
}

// templates are those of both components' pods.
func templates(t *testing.T, v values) map[string]corev1.PodTemplateSpec {
	t.Helper()
	return map[string]corev1.PodTemplateSpec{"controller": controllerOf(t, v).Spec.Template, "kubeletplugin": pluginOf(t, v).Spec.Template}
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
	for got := range objects(t, render(t, nil)) {
		if strings.HasPrefix(got, "PodMonitor") || strings.HasPrefix(got, "Service") && !strings.HasPrefix(got, "ServiceAccount") {
			t.Errorf("there is %s by default", got)
		}
	}
}

// metricsPorts are the names of the components' ports for metrics. No pod may have both: its
// metrics would be collected twice.
var metricsPorts = map[string]string{"controller": "metrics", "kubeletplugin": "http"}

func TestPodMonitor_selectsThePodsOfBothComponentsAndTheirPorts(t *testing.T) {
	labeled := at("metrics.podMonitor.labels", values{"release": "prometheus", "app.kubernetes.io/name": "stolen"})
	for name, v := range map[string]values{
		"plain":   together(labeled, at("metrics.podMonitor.enabled", true)),
		"secured": together(labeled, securely("podMonitor")),
	} {
		m, _ := monitorOf(t, v, "PodMonitor")
		if l := objects(t, render(t, v))["PodMonitor/rel-space-dra-driver"].GetLabels(); l["release"] != "prometheus" {
			t.Errorf("%s: it has labels %v", name, l)
		}
		selector, err := metav1.LabelSelectorAsSelector(&m.Selector)
		if err != nil {
			t.Fatal(err)
		}
		for component, template := range templates(t, v) {
			if !selector.Matches(labels.Set(template.Labels)) {
				t.Errorf("%s: %s does not select the pods of %s, %v", name, selector, component, template.Labels)
			}
			for _, port := range metricsPorts {
				if got, want := portNamed(template, port) != 0, port == metricsPorts[component]; got != want {
					t.Errorf("%s: pods of %s have port %s: %v, want %v", name, component, port, got, want)
				}
			}
		}
	}
}

func TestServiceMonitor_selectsThePodsByAService(t *testing.T) {
	for name, v := range map[string]values{
		"plain":   at("metrics.serviceMonitor.enabled", true),
		"secured": securely("serviceMonitor"),
	} {
		m, _ := monitorOf(t, v, "ServiceMonitor")
		service := object[corev1.Service](t, render(t, v), "Service/rel-space-dra-driver-metrics")
		if service.Spec.ClusterIP != corev1.ClusterIPNone || !service.Spec.PublishNotReadyAddresses {
			t.Errorf("%s: the Service is not a list of all pods: %v", name, service.Spec)
		}
		selector, err := metav1.LabelSelectorAsSelector(&m.Selector)
		if err != nil || !selector.Matches(labels.Set(service.Labels)) {
			t.Errorf("%s: %s does not select the Service, %v; error %v", name, selector, service.Labels, err)
		}
		for component, template := range templates(t, v) {
			port := metricsPorts[component]
			if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == port && p.TargetPort.StrVal == port }) {
				t.Errorf("%s: the Service has ports %v, without %s", name, service.Spec.Ports, port)
			}
			if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(template.Labels)) || portNamed(template, port) == 0 {
				t.Errorf("%s: the Service does not find the pods of %s", name, component)
			}
		}
	}
}

func TestMonitors_authenticateAndVerifyTheServer(t *testing.T) {
	for _, kind := range []string{"PodMonitor", "ServiceMonitor"} {
		key := strings.ToLower(kind[:1]) + kind[1:]
		_, place := monitorOf(t, at("metrics."+key+".enabled", true), kind)
		if place.Scheme != "" || place.TLSConfig != nil || place.Authorization != nil || place.BearerTokenFile != "" {
			t.Errorf("%s: plain metrics are read with %+v", kind, place)
		}
		_, place = monitorOf(t, securely(key), kind)
		credentials, _ := place.Authorization["credentials"].(values)
		if place.Scheme != "https" || place.BearerTokenFile != "" || credentials["name"] != "of-prometheus" || credentials["key"] != "token" || place.TLSConfig["insecureSkipVerify"] != true {
			t.Errorf("%s: secured metrics are read with %+v", kind, place)
		}
		// The dashboard has the nodes' names.
		_, labeled := monitorOf(t, together(securely(key), at("metrics."+key+".relabelings", []any{values{"targetLabel": "zone"}})), kind)
		if r := labeled.Relabelings; len(r) != 2 || r[0].TargetLabel != "node" || r[1].TargetLabel != "zone" {
			t.Errorf("%s: it makes labels %v", kind, r)
		}
		certified := together(securely(key), at("metrics.secure.certificateSecret", "certificate"))
		_, place = monitorOf(t, certified, kind)
		if place.TLSConfig["insecureSkipVerify"] != nil || place.TLSConfig["serverName"] != "rel-space-dra-driver-metrics.driver.svc" {
			t.Errorf("%s: a certificate is checked by %v", kind, place.TLSConfig)
		}
		_, place = monitorOf(t, together(certified, at("metrics.secure.tlsConfig", values{"serverName": "mine"})), kind)
		if len(place.TLSConfig) != 1 || place.TLSConfig["serverName"] != "mine" {
			t.Errorf("%s: what the values say about TLS became %v", kind, place.TLSConfig)
		}
	}
	_, place := monitorOf(t, together(securely("serviceMonitor"), at("metrics.secure.tokenSecret.name", "")), "ServiceMonitor")
	if place.BearerTokenFile != "/var/run/secrets/kubernetes.io/serviceaccount/token" || place.Authorization != nil {
		t.Errorf("without a Secret, the ServiceMonitor comes with %+v", place)
	}
}

func TestControllerMetrics_areSecuredWithTheCertificateOfTheValues(t *testing.T) {
	for component, template := range templates(t, nil) {
		if args := strings.Join(template.Spec.Containers[0].Args, " "); strings.Contains(args, "secure") {
			t.Errorf("%s: metrics are secured by default: %s", component, args)
		}
	}
	v := together(securely("podMonitor"), at("controller.metricsPort", 9443), at("metrics.secure.certificateSecret", "certificate"), at("networkPolicy.enabled", true))
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
		t.Errorf("the network lets in %v", ports)
	}
}
