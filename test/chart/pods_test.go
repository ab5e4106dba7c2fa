// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestPluginPods_haveOnlyDirectoriesOfTheNode(t *testing.T) {
	spec := pluginOf(t, nil).Spec.Template.Spec
	if spec.HostNetwork || spec.HostPID || spec.HostIPC {
		t.Error("the kubelet plugin uses namespaces of the host")
	}
	if spec.SecurityContext.SeccompProfile == nil || spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the plugin's pod has no seccomp profile: %v", spec.SecurityContext)
	}
	checkUnprivileged(t, spec.Containers)
	var paths []string
	for _, volume := range spec.Volumes {
		if volume.HostPath == nil {
			if volume.ConfigMap == nil {
				t.Errorf("volume %s is neither of the host nor a ConfigMap", volume.Name)
			}
			continue
		}
		paths = append(paths, volume.HostPath.Path)
	}
	slices.Sort(paths)
	want := []string{
		"/var/lib/kubelet/plugins/space.resource.example.com", "/var/lib/kubelet/plugins_registry",
		"/var/run/cdi", "/var/run/claim-artifacts/space.resource.example.com",
	}
	if !slices.Equal(paths, want) {
		t.Errorf("the kubelet plugin mounts %q of the host, want %q", paths, want)
	}
}

func TestPluginPods_haveTheServerAndTheCAOfTheValues(t *testing.T) {
	configured := func(ca string) corev1.PodTemplateSpec {
		return pluginOf(t, merge(at("space.apiServerURL", "https://api.example.com"), at("space.apiServerCA", ca))).Spec.Template
	}
	first, second := configured("-----BEGIN CERTIFICATE-----\none"), configured("-----BEGIN CERTIFICATE-----\nanother")
	for _, arg := range []string{"--advertise-apiserver-url=https://api.example.com", "--advertise-apiserver-ca-file=/etc/space-dra-driver/ca.crt"} {
		if !slices.Contains(first.Spec.Containers[0].Args, arg) {
			t.Errorf("the plugin's arguments lack %s: %q", arg, first.Spec.Containers[0].Args)
		}
	}
	mounts := first.Spec.Containers[0].VolumeMounts
	i := slices.IndexFunc(mounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/etc/space-dra-driver" })
	if i < 0 || mounts[i].SubPath != "" { // which the kubelet would not update
		t.Errorf("the certificates are not mounted as a directory: %v", mounts)
	}
	if !equality.Semantic.DeepEqual(first, second) {
		t.Error("other certificates restart the kubelet plugin")
	}
}

func TestControllerPods_haveNoAccessToTheNode(t *testing.T) {
	spec := controllerOf(t, nil).Spec.Template.Spec
	if spec.HostNetwork || spec.HostPID || spec.HostIPC || !ptr.Deref(spec.SecurityContext.RunAsNonRoot, false) {
		t.Errorf("the controller runs as root, or uses namespaces of the host: %v", spec.SecurityContext)
	}
	checkUnprivileged(t, spec.Containers)
	for _, volume := range spec.Volumes {
		if volume.ConfigMap == nil {
			t.Errorf("volume %s is not a ConfigMap", volume.Name)
		}
	}
}

// checkUnprivileged fails the test unless containers have no privileges.
func checkUnprivileged(t *testing.T, containers []corev1.Container) {
	t.Helper()
	for _, container := range containers {
		context := container.SecurityContext
		if ptr.Deref(context.Privileged, false) || ptr.Deref(context.AllowPrivilegeEscalation, true) || !ptr.Deref(context.ReadOnlyRootFilesystem, false) ||
			!slices.Equal(context.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(context.Capabilities.Add) > 0 {
			t.Errorf("container %s has privileges: %v", container.Name, context)
		}
	}
}

// TestPods_collectGarbageBeforeTheirMemoryLimit expands variables as the kubelet does.
func TestPods_collectGarbageBeforeTheirMemoryLimit(t *testing.T) {
	for name, limit := range map[string]string{"the defaults": "", "a limit in gigabytes": "2G", "a small limit": "70Mi"} {
		t.Run(name, func(t *testing.T) {
			var v values
			if limit != "" {
				v = merge(at("controller.resources.limits.memory", limit), at("kubeletPlugin.resources.limits.memory", limit))
			}
			for _, container := range []corev1.Container{controllerOf(t, v).Spec.Template.Spec.Containers[0], pluginOf(t, v).Spec.Template.Spec.Containers[0]} {
				most := container.Resources.Limits.Memory().Value()
				variables := map[string]string{}
				for _, variable := range container.Env {
					value := variable.Value
					if from := variable.ValueFrom; from != nil && from.ResourceFieldRef != nil && from.ResourceFieldRef.Resource == "limits.memory" {
						divisor := from.ResourceFieldRef.Divisor.Value()
						value = strconv.FormatInt((most+divisor-1)/divisor, 10)
					}
					for other := range variables {
						value = strings.ReplaceAll(value, "$("+other+")", variables[other])
					}
					variables[variable.Name] = value
				}
				if got, err := strconv.ParseInt(variables["GOMEMLIMIT"], 10, 64); err != nil || got < most*9/10 || got > most*97/100 {
					t.Errorf("container %s has GOMEMLIMIT %q with a limit of %d bytes", container.Name, variables["GOMEMLIMIT"], most)
				}
			}
		})
	}
}

func TestServiceAccounts_mountTokensInThePodsThatNeedThem(t *testing.T) {
	rendered := render(t, nil)
	for _, name := range []string{controllerName, pluginName} {
		account := object[corev1.ServiceAccount](t, rendered, "ServiceAccount/"+name)
		if ptr.Deref(account.AutomountServiceAccountToken, true) {
			t.Errorf("the token of ServiceAccount %s is mounted into all its pods", name)
		}
	}
	for _, spec := range []corev1.PodSpec{controllerOf(t, nil).Spec.Template.Spec, pluginOf(t, nil).Spec.Template.Spec} {
		if !ptr.Deref(spec.AutomountServiceAccountToken, false) {
			t.Errorf("pods of %s have no token", spec.ServiceAccountName)
		}
	}
}

func TestPluginPods_mountTheDirectoriesOfTheValues(t *testing.T) {
	plugin := pluginOf(t, merge(at("kubeletPlugin.kubeletRootDir", "/data/kubelet"), at("kubeletPlugin.cdiRoot", "/data/cdi"))).Spec.Template.Spec
	container := plugin.Containers[0]
	mounts := map[string]string{}
	for _, mount := range container.VolumeMounts {
		mounts[mount.Name] = mount.MountPath
	}
	for _, volume := range plugin.Volumes {
		if volume.HostPath == nil {
			continue
		}
		if mounts[volume.Name] != volume.HostPath.Path {
			t.Errorf("volume %s is %s on the host and %s in the kubelet plugin", volume.Name, volume.HostPath.Path, mounts[volume.Name])
		}
		if !strings.HasPrefix(volume.HostPath.Path, "/data/") && volume.Name != "artifacts" {
			t.Errorf("volume %s is still %s", volume.Name, volume.HostPath.Path)
		}
	}
	for _, want := range []string{"--kubelet-root-dir=/data/kubelet", "--cdi-root=/data/cdi"} {
		if !slices.Contains(container.Args, want) {
			t.Errorf("the plugin has no %s in %q", want, container.Args)
		}
	}
}

func TestPluginPods_restartForPoolsPerNodeOnly(t *testing.T) {
	checksum := func(pools ...any) string {
		t.Helper()
		return pluginOf(t, values{"pools": pools}).Spec.Template.Annotations["checksum/pools"]
	}
	pool, limited := values{"name": "a"}, values{"name": "a", "limit": 3}
	one, two := values{"name": "b", "perNode": values{"limit": 1}}, values{"name": "b", "perNode": values{"limit": 2}}
	if checksum(pool) != checksum(limited) || checksum(pool, one) != checksum(limited, one) {
		t.Error("a changed pool for the cluster restarts the kubelet plugins")
	}
	if checksum(pool) == checksum(pool, one) || checksum(one) == checksum(two) {
		t.Error("a changed pool per node does not restart the kubelet plugins")
	}
}

func TestImage_digestOverridesTag(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	image := controllerOf(t, merge(at("image.tag", "v9"), at("image.digest", digest))).Spec.Template.Spec.Containers[0].Image
	if want := "registry.example.com/space-dra-driver/space-dra-driver@" + digest; image != want {
		t.Errorf("the image is %s, want %s", image, want)
	}
}

func TestControllerPods_areSpreadAndHaveABudget(t *testing.T) {
	rendered := render(t, nil)
	deployment := object[appsv1.Deployment](t, rendered, "Deployment/"+controllerName)
	budget := object[policyv1.PodDisruptionBudget](t, rendered, "PodDisruptionBudget/"+controllerName)
	constraint := deployment.Spec.Template.Spec.TopologySpreadConstraints[0]
	for what, selector := range map[string]*metav1.LabelSelector{"the budget": budget.Spec.Selector, "the constraint": constraint.LabelSelector, "the Deployment": deployment.Spec.Selector} {
		if !selects(t, selector, deployment.Spec.Template.Labels) {
			t.Errorf("%s does not select the controller's pods: %v", what, selector)
		}
	}
	if *deployment.Spec.Replicas != 2 || !slices.Contains(deployment.Spec.Template.Spec.Containers[0].Args, "--leader-elect-resource-name="+controllerName) {
		t.Errorf("%d controllers, with %q", *deployment.Spec.Replicas, deployment.Spec.Template.Spec.Containers[0].Args)
	}

	own := values{"matchLabels": values{"a": "b"}}
	spread := []any{values{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": own}}
	constraint = controllerOf(t, at("controller.topologySpreadConstraints", spread)).Spec.Template.Spec.TopologySpreadConstraints[0]
	if constraint.MaxSkew != 2 || constraint.LabelSelector.MatchLabels["a"] != "b" || len(constraint.LabelSelector.MatchLabels) != 1 {
		t.Errorf("a constraint with a selector became %v", constraint)
	}
	if render(t, at("controller.podDisruptionBudget.enabled", false))["PodDisruptionBudget/"+controllerName] != nil {
		t.Error("the chart has a disabled PodDisruptionBudget")
	}
}

func TestNetworkPolicies_allowTheAPIServerOnly(t *testing.T) {
	v := merge(at("networkPolicy.enabled", true), at("networkPolicy.apiServerCIDRs", []any{"10.0.0.1/32"}),
		at("networkPolicy.metricsFrom", []any{values{"namespaceSelector": values{}}}), at("controller.metricsPort", 9000))
	rendered := render(t, v)
	for name, port := range map[string]int{controllerName: 9000, pluginName: 8080} {
		policy := object[networkingv1.NetworkPolicy](t, rendered, "NetworkPolicy/"+name)
		if len(policy.Spec.PolicyTypes) != 2 || len(policy.Spec.Ingress) != 1 || len(policy.Spec.Egress) != 1 {
			t.Fatalf("NetworkPolicy %s: %v", name, policy.Spec)
		}
		in, out := policy.Spec.Ingress[0], policy.Spec.Egress[0]
		if in.Ports[0].Port.IntValue() != port || len(in.From) != 1 || in.From[0].NamespaceSelector == nil {
			t.Errorf("NetworkPolicy %s allows traffic from %v", name, in)
		}
		if len(out.Ports) != 2 || len(out.To) != 1 || out.To[0].IPBlock.CIDR != "10.0.0.1/32" {
			t.Errorf("NetworkPolicy %s allows traffic to %v", name, out)
		}
	}
	plugin := object[appsv1.DaemonSet](t, rendered, "DaemonSet/"+pluginName)
	policy := object[networkingv1.NetworkPolicy](t, rendered, "NetworkPolicy/"+pluginName)
	if !selects(t, &policy.Spec.PodSelector, plugin.Spec.Template.Labels) {
		t.Errorf("the policy does not select the plugin's pods: %v", policy.Spec.PodSelector)
	}
}

func TestFlowSchema_isForBothComponents(t *testing.T) {
	const name = "rel-space-dra-driver"
	rendered := render(t, at("flowControl.enabled", true))
	schema := object[flowcontrolv1.FlowSchema](t, rendered, "FlowSchema/"+name)
	level := object[flowcontrolv1.PriorityLevelConfiguration](t, rendered, "PriorityLevelConfiguration/"+name)
	if schema.Spec.PriorityLevelConfiguration.Name != level.Name {
		t.Errorf("the FlowSchema is of %s", schema.Spec.PriorityLevelConfiguration.Name)
	}
	var accounts []string
	for _, subject := range schema.Spec.Rules[0].Subjects {
		accounts = append(accounts, subject.ServiceAccount.Namespace+"/"+subject.ServiceAccount.Name)
	}
	if want := []string{namespace + "/" + controllerName, namespace + "/" + pluginName}; !slices.Equal(accounts, want) {
		t.Errorf("the FlowSchema is for %q, want %q", accounts, want)
	}
	rendered = render(t, merge(at("flowControl.enabled", true), at("flowControl.priorityLevel", "workload-high")))
	schema = object[flowcontrolv1.FlowSchema](t, rendered, "FlowSchema/"+name)
	if schema.Spec.PriorityLevelConfiguration.Name != "workload-high" || rendered["PriorityLevelConfiguration/"+name] != nil {
		t.Error("the FlowSchema does not use the existing level")
	}
}

func TestCriticalPodsQuota_isForThePriorityClassesOfThePods(t *testing.T) {
	v := merge(at("criticalPodsQuota.enabled", true), at("controller.priorityClassName", "mine"))
	quota := object[corev1.ResourceQuota](t, render(t, v), "ResourceQuota/rel-space-dra-driver-critical-pods")
	scope := quota.Spec.ScopeSelector.MatchExpressions[0]
	if scope.ScopeName != corev1.ResourceQuotaScopePriorityClass || !slices.Equal(scope.Values, []string{"mine", "system-node-critical"}) {
		t.Errorf("the quota is for %v", scope)
	}
	none := merge(at("criticalPodsQuota.enabled", true), at("controller.priorityClassName", ""), at("kubeletPlugin.priorityClassName", ""))
	if render(t, none)["ResourceQuota/rel-space-dra-driver-critical-pods"] != nil {
		t.Error("the chart has a quota without PriorityClasses, which applies to all pods")
	}
}

func TestGlobalImageRegistry_replacesTheRegistry(t *testing.T) {
	for repository, want := range map[string]string{
		"registry.example.com/a/b": "mirror:5000/a/b:v0.1.0",
		"localhost:5000/b":         "mirror:5000/b:v0.1.0",
		"localhost/b":              "mirror:5000/b:v0.1.0",
		"a/b":                      "mirror:5000/a/b:v0.1.0",
	} {
		v := merge(at("global.imageRegistry", "mirror:5000"), at("global.imagePullSecrets", []any{"a", values{"name": "b"}}),
			at("imagePullSecrets", []any{values{"name": "b"}}), at("image.repository", repository))
		pod := pluginOf(t, v).Spec.Template.Spec
		if got := pod.Containers[0].Image; got != want {
			t.Errorf("the image of %s is %s, want %s", repository, got, want)
		}
		if secrets := pod.ImagePullSecrets; !slices.Equal(secrets, []corev1.LocalObjectReference{{Name: "b"}, {Name: "a"}}) {
			t.Errorf("the image pull secrets are %v", secrets)
		}
	}
}

// The flags of the components are those of pflag: the last one counts.
func TestExtraArgs_comeAfterTheArgsOfTheChart(t *testing.T) {
	v := merge(at("controller.extraArgs", []any{"--v=9"}), at("kubeletPlugin.extraArgs", []any{"--v=9"}))
	for _, pod := range []corev1.PodTemplateSpec{controllerOf(t, v).Spec.Template, pluginOf(t, v).Spec.Template} {
		if args := pod.Spec.Containers[0].Args; args[len(args)-1] != "--v=9" {
			t.Errorf("the flags end with %s", args[len(args)-1])
		}
	}
}

func TestServiceAccount_ofOthersIsUsedEverywhere(t *testing.T) {
	v := merge(allOptions, at("controller.serviceAccount", values{"create": false, "name": "own"}))
	rendered := render(t, v)
	if rendered["ServiceAccount/own"] != nil || rendered["ServiceAccount/"+controllerName] != nil {
		t.Error("the chart creates the controller's ServiceAccount")
	}
	for key, object := range rendered {
		text, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "serviceaccount:"+namespace+":"+controllerName) ||
			strings.Contains(string(text), `"serviceAccountName":"`+controllerName+`"`) {
			t.Errorf("%s refers to the default ServiceAccount", key)
		}
		if strings.HasSuffix(object.GetKind(), "RoleBinding") && strings.Contains(string(text), `{"kind":"ServiceAccount","name":"`+controllerName+`"`) {
			t.Errorf("%s binds the default ServiceAccount", key)
		}
	}
	if got := object[appsv1.Deployment](t, rendered, "Deployment/"+controllerName).Spec.Template.Spec.ServiceAccountName; got != "own" {
		t.Errorf("the controller uses the ServiceAccount %s", got)
	}
}

func TestOpenShift_isDetected(t *testing.T) {
	const key = "SecurityContextConstraints/" + pluginName
	served := []string{"--api-versions=security.openshift.io/v1"}
	for name, c := range map[string]struct {
		enabled any
		args    []string
		want    bool
	}{
		"by default":               {"auto", nil, false},
		"if its API is served":     {"auto", served, true},
		"unless the values say no": {false, served, false},
		"if the values say so":     {true, nil, true},
	} {
		rendered := render(t, at("openshift.enabled", c.enabled), c.args...)
		if got := rendered[key] != nil; got != c.want {
			t.Errorf("%s: SecurityContextConstraints exist: %v", name, got)
		}
		user := object[appsv1.Deployment](t, rendered, "Deployment/"+controllerName).Spec.Template.Spec.SecurityContext.RunAsUser
		if got := user == nil; got != c.want {
			t.Errorf("%s: OpenShift chooses the user of the controller: %v", name, got)
		}
	}
}

func TestNamespaceOverride_isTheNamespaceOfAllObjects(t *testing.T) {
	for key, object := range render(t, merge(allOptions, at("namespaceOverride", "other"))) {
		if got := object.GetNamespace(); got == namespace {
			t.Errorf("%s is in the namespace of the release", key)
		}
		if text, _ := json.Marshal(object); strings.Contains(string(text), "system:serviceaccount:"+namespace+":") {
			t.Errorf("%s names ServiceAccounts in the namespace of the release", key)
		}
	}
}

func TestHelmTest_writesOnlyWhereTheRoleAllowsIt(t *testing.T) {
	for name, c := range map[string]struct {
		values values
		writes bool
	}{
		"by default":                      {nil, true},
		"a role without write permission": {at("space.clusterRole", "view"), false},
		"a role without write permission, and admin in the class": {merge(at("space.clusterRole", "view"), at("defaultDeviceClass.config.clusterRoles", []any{"admin"})), true},
		"an unknown role": {at("defaultDeviceClass.config.clusterRoles", []any{"mine"}), false},
	} {
		pod := object[corev1.Pod](t, render(t, c.values), "Pod/rel-space-dra-driver-test")
		if got := slices.Contains(pod.Spec.Containers[0].Args, "--write"); got != c.writes {
			t.Errorf("%s: writing is %v", name, got)
		}
		checkUnprivileged(t, pod.Spec.Containers)
		if ptr.Deref(pod.Spec.AutomountServiceAccountToken, true) {
			t.Error("the pod of the test has another token than the space's")
		}
	}
}
