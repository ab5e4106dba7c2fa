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

func TestProfilesAreOffUnlessAskedForAndOnNoPort(t *testing.T) {
	containers := func(v values) []corev1.Container {
		return append(slices.Clone(controllerOf(t, v).Spec.Template.Spec.Containers), pluginOf(t, v).Spec.Template.Spec.Containers...)
	}
	for _, c := range containers(nil) {
		if strings.Contains(strings.Join(c.Args, " "), "pprof") {
			t.Errorf("%s: profiles are on by default: %q", c.Name, c.Args)
		}
	}
	for _, c := range containers(at("metrics.pprof", true)) {
		if !slices.Contains(c.Args, "--pprof-address=127.0.0.1:6060") {
			t.Errorf("%s: profiles are not on, or not only for the pod itself: %q", c.Name, c.Args)
		}
		if len(c.Ports) != 1 {
			t.Errorf("%s: has ports %v, want one", c.Name, c.Ports)
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
	if len(places) != 1 || places[0].Path != "/metrics" {
		t.Fatalf("the %s reads %v", kind, places)
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

func TestThereIsNoMonitorByDefault(t *testing.T) {
	for got := range objects(t, render(t, nil)) {
		if strings.HasPrefix(got, "PodMonitor") || strings.HasPrefix(got, "Service") && !strings.HasPrefix(got, "ServiceAccount") {
			t.Errorf("there is %s by default", got)
		}
	}
}

func TestThePodMonitorFindsThePodsOfBothComponentsAndTheirPort(t *testing.T) {
	labeled := at("metrics.podMonitor.labels", values{"release": "prometheus", "app.kubernetes.io/name": "stolen"})
	for name, test := range map[string]struct {
		values values
		port   string
		number int32
	}{
		"plain":   {together(labeled, at("metrics.podMonitor.enabled", true)), "http", 8080},
		"secured": {together(labeled, securely("podMonitor")), "metrics", 8443},
	} {
		m, place := monitorOf(t, test.values, "PodMonitor")
		if l := objects(t, render(t, test.values))["PodMonitor/rel-space-dra-driver"].GetLabels(); l["release"] != "prometheus" {
			t.Errorf("%s: it has labels %v", name, l)
		}
		selector, err := metav1.LabelSelectorAsSelector(&m.Selector)
		if err != nil {
			t.Fatal(err)
		}
		for component, template := range templates(t, test.values) {
			if !selector.Matches(labels.Set(template.Labels)) {
				t.Errorf("%s: %s does not select the pods of %s, %v", name, selector, component, template.Labels)
			}
			if got := portNamed(template, place.Port); place.Port != test.port || got != test.number {
				t.Errorf("%s: it reads port %s, which is %d of %s", name, place.Port, got, component)
			}
		}
	}
}

func TestTheServiceMonitorFindsThePodsByAService(t *testing.T) {
	for name, test := range map[string]struct {
		values values
		port   string
	}{
		"plain":   {at("metrics.serviceMonitor.enabled", true), "http"},
		"secured": {securely("serviceMonitor"), "metrics"},
	} {
		m, place := monitorOf(t, test.values, "ServiceMonitor")
		service := object[corev1.Service](t, render(t, test.values), "Service/rel-space-dra-driver-metrics")
		if service.Spec.ClusterIP != corev1.ClusterIPNone || !service.Spec.PublishNotReadyAddresses {
			t.Errorf("%s: the Service is not a list of all pods: %v", name, service.Spec)
		}
		selector, err := metav1.LabelSelectorAsSelector(&m.Selector)
		if err != nil || !selector.Matches(labels.Set(service.Labels)) {
			t.Errorf("%s: %s does not select the Service, %v; error %v", name, selector, service.Labels, err)
		}
		port := service.Spec.Ports[0]
		if port.Name != place.Port || port.TargetPort.StrVal != test.port {
			t.Errorf("%s: it reads port %s, and the Service has %v", name, place.Port, port)
		}
		for component, template := range templates(t, test.values) {
			if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(template.Labels)) || portNamed(template, test.port) == 0 {
				t.Errorf("%s: the Service does not find the pods of %s", name, component)
			}
		}
	}
}

func TestMonitorsComeWithATokenAndKnowWhomTheyAsk(t *testing.T) {
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

func TestSecuredMetricsAreAtAPortOfTheirOwnWithTheCertificateOfTheValues(t *testing.T) {
	for component, template := range templates(t, nil) {
		if args := strings.Join(template.Spec.Containers[0].Args, " "); strings.Contains(args, "secure") || len(template.Spec.Containers[0].Ports) != 1 {
			t.Errorf("%s: metrics are secured by default: %s", component, args)
		}
	}
	v := together(securely("podMonitor"), at("metrics.secure.port", 9443), at("metrics.secure.certificateSecret", "certificate"), at("networkPolicy.enabled", true))
	rendered := render(t, v)
	for component, template := range templates(t, v) {
		container := template.Spec.Containers[0]
		for _, want := range []string{"--secure-metrics-address=:9443", "--http-address=:8080"} {
			if !slices.Contains(container.Args, want) {
				t.Errorf("%s has no %s: %q", component, want, container.Args)
			}
		}
		if portNamed(template, "metrics") != 9443 || container.ReadinessProbe.HTTPGet.Port.StrVal != "http" || container.ReadinessProbe.HTTPGet.Scheme != "" {
			t.Errorf("%s: ports %v, probe %v", component, container.Ports, container.ReadinessProbe)
		}
		var file string
		for _, volume := range template.Spec.Volumes {
			for _, mount := range container.VolumeMounts {
				if mount.Name == volume.Name && volume.Secret != nil && volume.Secret.SecretName == "certificate" && mount.ReadOnly {
					file = mount.MountPath + "/tls.crt"
				}
			}
		}
		if file == "" || !slices.Contains(container.Args, "--secure-metrics-certificate="+file) {
			t.Errorf("%s: the certificate is at %q, and the arguments are %q", component, file, container.Args)
		}
		policy := object[networkingv1.NetworkPolicy](t, rendered, "NetworkPolicy/rel-space-dra-driver-"+component)
		if ports := policy.Spec.Ingress[0].Ports; len(ports) != 1 || ports[0].Port.IntValue() != 9443 {
			t.Errorf("%s: the network lets in %v", component, ports)
		}
	}
}
