// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package containeredits_test

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
)

const driver = spaceapi.DefaultDriverName

// allocated returns the allocation of claim job with these requests.
func allocated(requests ...string) *allocation.Allocation {
	claim := &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "job", UID: "uid", Finalizers: []string{resourceapi.Finalizer}},
		Status:     resourceapi.ResourceClaimStatus{Allocation: &resourceapi.AllocationResult{}},
	}
	for i, request := range requests {
		claim.Status.Allocation.Devices.Results = append(claim.Status.Allocation.Devices.Results, resourceapi.DeviceRequestAllocationResult{
			Driver: driver, Request: request, Pool: "spaces", Device: "space", ShareID: ptr.To(types.UID(string(rune('a' + i)))),
		})
	}
	return allocation.FromClaim(claim, driver)
}

const server = "https://10.96.0.1:443"

func namespaces(a *allocation.Allocation) []string {
	var out []string
	for _, result := range a.Results {
		out = append(out, "ns-"+result.Subdir)
	}
	return out
}

// build returns what containers see, and fails the test on an error.
func build(t *testing.T, a *allocation.Allocation, configs ...config.ContainerConfig) []containeredits.Edits {
	t.Helper()
	got, err := containeredits.Build(driver, server, a, configs, namespaces(a))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := containeredits.Preview(driver, a, configs); err != nil {
		t.Errorf("Preview rejects what Build does not: %v", err)
	}
	return got
}

func wantEqual(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %s\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestBuild_appliesParametersToOneSpace(t *testing.T) {
	for name, test := range map[string]struct {
		configs   config.ContainerConfig
		prefix    string
		env, dirs []string
	}{
		"no parameters": {prefix: "JOB"},
		"envPrefix": {
			configs: config.ContainerConfig{EnvPrefix: "PREVIEW_1"},
			prefix:  "PREVIEW_1",
		},
		"mountPath": {
			configs: config.ContainerConfig{MountPath: "/home/app/.kube/"},
			prefix:  "JOB",
			dirs:    []string{"/home/app/.kube"},
		},
		"a mountPath that exists already": {
			configs: config.ContainerConfig{MountPath: "/etc/job"},
			prefix:  "JOB",
		},
		"inCluster": {
			configs: config.ContainerConfig{InCluster: true},
			prefix:  "JOB",
			env:     []string{"KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443"},
			dirs:    []string{"/var/run/secrets/kubernetes.io/serviceaccount"},
		},
		"kubeconfigEnv": {
			configs: config.ContainerConfig{KubeconfigEnv: true},
			prefix:  "JOB",
			env:     []string{"KUBECONFIG=/var/run/claim-artifacts/uid/kubeconfig"},
		},
		"env of class and claim": {
			configs: config.ContainerConfig{
				AdminEnv: map[string]string{"tier": "gold", "Region_2": ""},
				UserEnv:  map[string]string{"greeting": `say "hello", = 'ä'`, "_x": "$(HOME) `id`\nline"},
			},
			prefix: "JOB",
			env:    []string{"admin_Region_2=", "admin_tier=gold", "user__x=$(HOME) `id`\nline", `user_greeting=say "hello", = 'ä'`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := build(t, allocated("space"), test.configs)
			wantEqual(t, "variables", got[0].Env, append([]string{
				"DRA_RESOURCE_DRIVER_NAME=" + driver,
				test.prefix + "_CLUSTER=https://10.96.0.1:443",
				test.prefix + "_NAMESPACE=ns-",
				test.prefix + "_KUBECONFIG=/var/run/claim-artifacts/uid/kubeconfig",
			}, test.env...)...)
			wantEqual(t, "directories", got[0].Dirs, append([]string{"/var/run/claim-artifacts/uid", "/etc/job"}, test.dirs...)...)
		})
	}
}

func TestBuild_derivesThePrefixFromTheClaimsName(t *testing.T) {
	for name, want := range map[string]string{
		"test-claim":   "TEST_CLAIM",
		"a.b-c9":       "A_B_C9",
		"ALREADY_GOOD": "ALREADY_GOOD",
		"ünï=cödé\n":   "_N__C_D__",
	} {
		a := allocated("space")
		a.PodClaimName = name
		if got := build(t, a, config.ContainerConfig{})[0].Env; !slices.Contains(got, want+"_NAMESPACE=ns-") {
			t.Errorf("%q: got %q, want the prefix %q", name, got, want)
		}
	}
}

func TestBuild_rejectsNamesThatCannotBeUsed(t *testing.T) {
	for name, test := range map[string]struct {
		dir, variables string // what the error says of them
	}{
		"passwd":             {dir: "/etc/passwd"},
		"hosts":              {dir: "/etc/hosts"},
		"resolv.conf":        {dir: "/etc/resolv.conf"},
		"ssl":                {dir: "/etc/ssl"},
		"nginx":              {dir: "/etc/nginx"},
		"default":            {dir: "/etc/default"},
		"security":           {dir: "/etc/security"},
		"1abc":               {variables: "1ABC_"},
		"0":                  {variables: "0_"},
		"kubernetes":         {dir: "/etc/kubernetes", variables: "KUBERNETES_"},
		"kubernetes-service": {variables: "KUBERNETES_SERVICE_"},
		"ld":                 {variables: "LD_"},
		"pod":                {variables: "POD_"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, requests := range [][]string{{"space"}, {"a", "b"}} {
				a := allocated(requests...)
				a.PodClaimName = name
				configs := make([]config.ContainerConfig, len(requests))
				rejects := func() string {
					_, err := containeredits.Build(driver, server, a, configs, namespaces(a))
					if err == nil {
						return ""
					}
					return err.Error()
				}
				if len(requests) > 1 && name == "pod" {
					continue // POD_A_NAMESPACE is no variable of the pod
				}
				got := rejects()
				if has := strings.Contains(got, test.dir) && strings.Contains(got, "mountPath"); has != (test.dir != "") {
					t.Errorf("the error names the directory: %t: %s", has, got)
				}
				if has := strings.Contains(got, test.variables) && strings.Contains(got, "envPrefix"); has != (test.variables != "") {
					t.Errorf("the error names the variables: %t: %s", has, got)
				}
				for i := range configs {
					configs[i].EnvPrefix = "OK_" + string(rune('A'+i))
				}
				if got := rejects(); (got != "") != (test.dir != "") || strings.Contains(got, "envPrefix") {
					t.Errorf("with envPrefix: %s", got)
				}
				for i := range configs {
					configs[i].MountPath = "/creds/" + string(rune('a'+i))
				}
				if got := rejects(); got != "" {
					t.Errorf("with envPrefix and mountPath: %s", got)
				}
				for i := range configs {
					configs[i].MountPath, configs[i].DisableEtcMount = "", true
				}
				if got := rejects(); got != "" {
					t.Errorf("with envPrefix and disableEtcMount: %s", got)
				}
			}
		})
	}
}

func TestBuild_acceptsNamesThatBreakNoUsualImage(t *testing.T) {
	for _, name := range []string{"redis", "memcached", "postgresql", "consul", "vault", "network"} {
		a := allocated("space")
		a.PodClaimName = name
		wantEqual(t, "directories of "+name, build(t, a, config.ContainerConfig{})[0].Dirs, "/var/run/claim-artifacts/uid", "/etc/"+name)
	}
}

func TestBuild_mountsInEtcUnlessDisabledOrReserved(t *testing.T) {
	const credentials = "/var/run/claim-artifacts/uid"
	for name, test := range map[string]struct {
		claim string
		config.ContainerConfig
		want []string
	}{
		"usually":                             {"job", config.ContainerConfig{}, []string{credentials, "/etc/job"}},
		"with mountPath":                      {"job", config.ContainerConfig{MountPath: "/creds"}, []string{credentials, "/etc/job", "/creds"}},
		"with mountPath, and a reserved name": {"passwd", config.ContainerConfig{MountPath: "/creds"}, []string{credentials, "/creds"}},
		"disabled":                            {"job", config.ContainerConfig{DisableEtcMount: true}, []string{credentials}},
		"disabled, but chosen by the claim":   {"job", config.ContainerConfig{DisableEtcMount: true, MountPath: "/etc/job"}, []string{credentials, "/etc/job"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := allocated("space")
			a.PodClaimName = test.claim
			wantEqual(t, "directories", build(t, a, test.ContainerConfig)[0].Dirs, test.want...)
		})
	}
}

func TestBuild_mountsTheMetadataFileOncePerRequest(t *testing.T) {
	a := allocated("a", "b/small", "b/small")
	const dir, file = "/var/run/kubernetes.io/dra-device-attributes/", "/space.resource.example.com-metadata.json"
	files := func() []string {
		var out []string
		for _, e := range build(t, a, config.ContainerConfig{}, config.ContainerConfig{}, config.ContainerConfig{}) {
			out = append(out, e.MetadataFile)
		}
		return out
	}
	wantEqual(t, "files", files(), dir+"resourceclaims/job/a"+file, dir+"resourceclaims/job/b"+file, "")
	a.PodClaimName, a.FromTemplate = "in-pod", true
	wantEqual(t, "files", files(), dir+"resourceclaimtemplates/in-pod/a"+file, dir+"resourceclaimtemplates/in-pod/b"+file, "")
}

func TestEdits_dirIsTheShortest(t *testing.T) {
	for mountPath, want := range map[string]string{"": "/etc/job", "/x": "/x", "/home/app/.space": "/etc/job"} {
		if got := build(t, allocated("space"), config.ContainerConfig{MountPath: mountPath})[0].Dir(); got != want {
			t.Errorf("with mountPath %q, got %s, want %s", mountPath, got, want)
		}
	}
}

// What is accepted of the names of claims and requests never covers what a container needs.
func FuzzBuild_hidesNothingThatContainersNeed(f *testing.F) {
	for _, name := range []string{"test-claim", "1abc", "passwd", "kubernetes-service", "pod", "a.b", "hosts", "ssl", "resolv.conf"} {
		f.Add(name, "a", "b")
		f.Add(name, "certs", "")
	}
	f.Add("ssl", "certs", "private")
	variable := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	f.Fuzz(func(t *testing.T, name, first, second string) {
		requests := []string{first}
		if second != "" {
			requests = append(requests, second)
		}
		valid := len(validation.IsDNS1123Subdomain(name)) == 0
		for _, request := range requests {
			valid = valid && len(validation.IsDNS1123Label(request)) == 0
		}
		if !valid {
			return // the API server rejects it
		}
		a := allocated(requests...)
		a.PodClaimName = name
		edits, err := containeredits.Build(driver, server, a, make([]config.ContainerConfig, len(requests)), namespaces(a))
		if err != nil {
			return
		}
		for _, e := range edits {
			for _, env := range e.Env {
				name, _, _ := strings.Cut(env, "=")
				if !variable.MatchString(name) || strings.HasPrefix(name, "KUBERNETES_") || strings.HasPrefix(name, "LD_") || name == "POD_NAMESPACE" {
					t.Errorf("got variable %q", name)
				}
			}
			for _, dir := range e.Dirs {
				if path.Clean(dir) != dir || !strings.HasPrefix(dir, "/etc/"+name) && !strings.HasPrefix(dir, "/var/run/claim-artifacts/uid") {
					t.Errorf("got directory %q", dir)
				}
				if dir, _, _ := strings.Cut(strings.TrimPrefix(dir, "/etc/"), "/"); spaceapi.ReservedMountPath("/etc/"+dir) != "" {
					t.Errorf("got directory /etc/%s", dir)
				}
			}
		}
	})
}

func TestBuild_separatesSpacesByRequest(t *testing.T) {
	a := allocated("build/small", "deploy-it", "test")
	got := build(t, a,
		config.ContainerConfig{},
		config.ContainerConfig{EnvPrefix: "PROD", KubeconfigEnv: true, MountPath: "/prod", InCluster: true},
		config.ContainerConfig{},
	)
	for i, want := range []struct{ namespace, kubeconfig string }{
		{"JOB_BUILD_NAMESPACE=ns-build", "JOB_BUILD_KUBECONFIG=/var/run/claim-artifacts/uid/build/kubeconfig"},
		{"PROD_NAMESPACE=ns-deploy-it", "PROD_KUBECONFIG=/var/run/claim-artifacts/uid/deploy-it/kubeconfig"},
		{"JOB_TEST_NAMESPACE=ns-test", "JOB_TEST_KUBECONFIG=/var/run/claim-artifacts/uid/test/kubeconfig"},
	} {
		if !slices.Contains(got[i].Env, want.namespace) || !slices.Contains(got[i].Env, want.kubeconfig) {
			t.Errorf("space %d lacks %v: %q", i, want, got[i].Env)
		}
	}
	if want := "KUBECONFIG=/var/run/claim-artifacts/uid/deploy-it/kubeconfig"; !slices.Contains(got[1].Env, want) {
		t.Errorf("the environment lacks %s: %q", want, got[1].Env)
	}
	wantEqual(t, "directories", got[1].Dirs, "/var/run/claim-artifacts/uid/deploy-it", "/etc/job/deploy-it", "/var/run/secrets/kubernetes.io/serviceaccount", "/prod")
}

func TestBuild_setsInClusterVariablesForTheServer(t *testing.T) {
	for server, want := range map[string][]string{
		"https://[fd00::1]:6443":          {"KUBERNETES_SERVICE_HOST=fd00::1", "KUBERNETES_SERVICE_PORT=6443"},
		"https://api.example.com":         {"KUBERNETES_SERVICE_HOST=api.example.com", "KUBERNETES_SERVICE_PORT=443"},
		"https://api.example.com/cluster": nil,
		"http://10.0.0.1:8080":            nil,
		"https://":                        nil,
		"::":                              nil,
	} {
		a := allocated("space")
		got, err := containeredits.Build(driver, server, a, []config.ContainerConfig{{InCluster: true}}, []string{"ns"})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got[0].Env[4:], want) {
			t.Errorf("%s: got %q, want %q", server, got[0].Env[4:], want)
		}
	}
}

func TestBuild_rejectsConflicts(t *testing.T) {
	all := func(e config.ContainerConfig) []config.ContainerConfig { return []config.ContainerConfig{e, e} }
	for name, test := range map[string]struct {
		requests []string
		configs  []config.ContainerConfig
		want     []string
	}{
		"the subdirectory of a device is the name of another request": {
			[]string{"a", "a", "a-0"}, make([]config.ContainerConfig, 3), []string{"a.0 and a-0", "JOB_A_0_NAMESPACE"},
		},
		"the same envPrefix": {
			[]string{"a", "b"}, all(config.ContainerConfig{EnvPrefix: "X"}), []string{"a and b", "X_NAMESPACE"},
		},
		"the same envPrefix for several devices of a request": {
			[]string{"a", "a"}, all(config.ContainerConfig{EnvPrefix: "X"}), []string{"a.0 and a.1", "X_NAMESPACE"},
		},
		"an envPrefix that is the default of another request": {
			[]string{"a", "b"}, []config.ContainerConfig{{EnvPrefix: "JOB_B"}, {}}, []string{"a and b", "JOB_B_NAMESPACE"},
		},
		"the same kubeconfigEnv": {
			[]string{"a", "b"}, all(config.ContainerConfig{KubeconfigEnv: true}), []string{"a and b", "KUBECONFIG to different values"},
		},
		"different values in env of classes": {
			[]string{"a", "b"},
			[]config.ContainerConfig{{AdminEnv: map[string]string{"tier": "gold"}}, {AdminEnv: map[string]string{"tier": "silver"}}},
			[]string{"a and b", "admin_tier"},
		},
		"different values in env of claims": {
			[]string{"a", "b"},
			[]config.ContainerConfig{{UserEnv: map[string]string{"k": "1"}}, {UserEnv: map[string]string{"k": "2"}}},
			[]string{"a and b", "user_k"},
		},
		"the same inCluster": {[]string{"a", "b"}, all(config.ContainerConfig{InCluster: true}), []string{"a and b", "/var/run/secrets/kubernetes.io/serviceaccount"}},
		"the same mountPath": {[]string{"a", "b"}, all(config.ContainerConfig{MountPath: "/x"}), []string{"a and b", "both", "/x"}},
		"the same directory through a link": {
			[]string{"a", "b"}, []config.ContainerConfig{{InCluster: true}, {MountPath: "/run/secrets/kubernetes.io/serviceaccount"}},
			[]string{"a and b", "both"},
		},
		"a mountPath below another": {
			[]string{"a", "b"}, []config.ContainerConfig{{MountPath: "/x"}, {MountPath: "/x/y"}}, []string{"b cannot be at /x/y", "of request a are at /x"},
		},
		"a mountPath above another": {
			[]string{"a", "b"}, []config.ContainerConfig{{MountPath: "/x/y"}, {MountPath: "/x"}}, []string{"a cannot be at /x/y", "of request b are at /x"},
		},
		"a mountPath below its own files": {
			[]string{"a"}, []config.ContainerConfig{{MountPath: "/etc/job/x"}}, []string{"a cannot be at /etc/job/x", "at /etc/job"},
		},
		"a mountPath above the files of each request": {
			[]string{"a", "b"}, []config.ContainerConfig{{MountPath: "/etc/job"}, {}}, []string{"cannot be at /etc/job/a", "at /etc/job,"},
		},
		"a mountPath above the files through a link": {
			[]string{"a"}, []config.ContainerConfig{{MountPath: "/run/claim-artifacts"}}, []string{"cannot be at /var/run/claim-artifacts/uid"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := allocated(test.requests...)
			_, err := containeredits.Build(driver, server, a, test.configs, namespaces(a))
			if err == nil {
				t.Fatal("got no error")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error lacks %q: %v", part, err)
				}
			}
			if _, check := containeredits.Preview(driver, a, test.configs); check == nil || check.Error() != err.Error() {
				t.Errorf("Preview returns %v, Build %v", check, err)
			}
		})
	}
}

func TestBuild_allowsEqualValues(t *testing.T) {
	e := config.ContainerConfig{AdminEnv: map[string]string{"tier": "gold"}, UserEnv: map[string]string{"k": "v"}}
	for _, s := range build(t, allocated("a", "b"), e, e) {
		if !slices.Contains(s.Env, "admin_tier=gold") || !slices.Contains(s.Env, "user_k=v") {
			t.Errorf("got %q", s.Env)
		}
	}
	// /xy is not below /x.
	build(t, allocated("a", "b"), config.ContainerConfig{MountPath: "/x"}, config.ContainerConfig{MountPath: "/xy"})
}
