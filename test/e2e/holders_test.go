// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/holder"
	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// developer returns a user with the permissions that docs/kubectl-space.md names, in a new namespace.
func developer(t *testing.T) user {
	t.Helper()
	buildKubectlSpace(t)
	ns := env.Namespace(t)
	env.Kubectl(t, "apply", "-n", ns, "-f", filepath.Join(framework.Root(), "demo/kubectl-space-role.yaml"))
	env.Kubectl(t, "create", "serviceaccount", "developer", "-n", ns)
	env.Kubectl(t, "create", "rolebinding", "developer", "-n", ns, "--role=space-user", "--serviceaccount="+ns+":developer")
	list := get(claims(ns, ""))
	framework.AwaitAllowed(t, list.String(), list.By(env.As(t, ns, "developer")))
	return user{env.UserWith(t, ns, "developer"), spaceapi.DefaultDriverName, ns}
}

// try runs kubectl space in the user's namespace, and returns its exit code.
func (u user) try(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	stdout, stderr, err := u.TryKubectlSpace(t.Context(), append([]string{"-n", u.ns}, args...)...)
	return stdout, stderr, exitCode(t, err)
}

// must is try for commands that succeed.
func (u user) must(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := u.try(t, args...)
	if code != 0 {
		t.Fatalf("kubectl space %q: exit code %d: %s%s", args, code, stdout, stderr)
	}
	return stdout
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var failed *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &failed):
		t.Fatal(err)
	}
	return failed.ExitCode()
}

// start starts kubectl space in a process group of its own, and waits until the command that it runs has
// printed a line.
func (u user) start(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := u.Command(context.Background(), append([]string{"-n", u.ns}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	if args[0] == "run" {
		if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
			t.Fatalf("kubectl space %q prints %q, error %v", args, line, err)
		}
	}
	return cmd
}

// awaitNothing waits until nothing of kubectl space is left of a namespace, and returns how long that took.
func (u user) awaitNothing(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	framework.Eventually(t, "nothing to be left of namespace "+u.ns, func(ctx context.Context) error {
		jobs, jobsErr := env.Client.BatchV1().Jobs(u.ns).List(ctx, metav1.ListOptions{})
		pods, podsErr := env.Client.CoreV1().Pods(u.ns).List(ctx, metav1.ListOptions{})
		claims, claimsErr := env.Client.ResourceV1().ResourceClaims(u.ns).List(ctx, metav1.ListOptions{})
		spaces, spacesErr := env.Spaces(ctx)
		if err := errors.Join(jobsErr, podsErr, claimsErr, spacesErr); err != nil {
			return err
		}
		spaces = slices.DeleteFunc(spaces, func(space corev1.Namespace) bool {
			return space.Annotations[spaceapi.KeysFor(spaceapi.DefaultDriverName).ClaimNamespace] != u.ns
		})
		if len(jobs.Items)+len(pods.Items)+len(claims.Items)+len(spaces) > 0 {
			return fmt.Errorf("there are %d Jobs, %d pods, %d claims and %d spaces", len(jobs.Items), len(pods.Items), len(claims.Items), len(spaces))
		}
		return nil
	})
	return time.Since(begin)
}

// waits prints a line and then waits.
var waits = []string{"run", "--", "sh", "-c", "echo started; exec sleep 600"}

// classWithoutDevices creates a DeviceClass for which there is never room.
func classWithoutDevices(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "class.yaml")
	if err := os.WriteFile(file, []byte(`{"apiVersion":"resource.k8s.io/v1","kind":"DeviceClass","metadata":{"name":"`+name+`"},"spec":{"selectors":[{"cel":{"expression":"device.driver == 'none.example.com'"}}]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	env.Kubectl(t, "apply", "-f", file)
	t.Cleanup(func() { _, _ = env.TryKubectl(context.Background(), "delete", "deviceclass", name) })
	return name
}

func TestKubectlSpaceRun_runsCommandsInNewSpaces(t *testing.T) {
	t.Parallel()
	dev := developer(t)
	begin := time.Now()
	stdout, stderr, code := dev.try(t, "run", "--", "sh", "-c", "kubectl auth whoami -o jsonpath={.status.userInfo.username}; exit 7")
	if code != 7 || !strings.HasPrefix(stdout, "system:serviceaccount:ephemeral-ns-") || !strings.HasSuffix(stdout, ":space") || stderr != "" {
		t.Errorf("got exit code %d, output %q, error %q", code, stdout, stderr)
	}
	t.Logf("the command took %s", time.Since(begin))
	if out := dev.must(t, "run", "--", "kubectl", "get", "pods", "-o", "name"); out != "" {
		t.Errorf("a new space has pods: %s", out)
	}
	t.Run("20 at once", func(t *testing.T) {
		const n = 20
		users := make([]string, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				out, errOut, err := dev.TryKubectlSpace(t.Context(), "-n", dev.ns, "run", "--timeout="+framework.Timeout.String(), "--", "kubectl", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
				if err != nil {
					t.Errorf("error %v: %s", err, errOut)
				}
				users[i] = out
			})
		}
		wg.Wait()
		seen := map[string]bool{}
		for _, name := range users {
			seen[name] = true
		}
		if len(seen) != n {
			t.Errorf("%d spaces for %d commands: %q", len(seen), n, users)
		}
	})
	dev.awaitNothing(t)
}

func TestKubectlSpaceRun_leavesNothingIfItIsKilled(t *testing.T) {
	t.Parallel()
	const most = time.Minute
	t.Run("while a command runs", func(t *testing.T) {
		t.Parallel()
		dev := developer(t)
		cmd := dev.start(t, waits...)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if took := dev.awaitNothing(t); took > most {
			t.Errorf("it takes %s, more than %s", took, most)
		} else {
			t.Logf("it takes %s", took)
		}
	})
	t.Run("before the space is ready", func(t *testing.T) {
		t.Parallel()
		dev := developer(t)
		cmd := dev.start(t, "create", "try", "--class", classWithoutDevices(t, "none-"+dev.ns))
		framework.AwaitAny(t, env.Client.BatchV1().RESTClient(), "jobs", dev.ns, framework.That("created", func(*batchv1.Job) bool { return true }))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if took := dev.awaitNothing(t); took > most {
			t.Errorf("it takes %s, more than %s", took, most)
		}
	})
}

func TestKubectlSpaceRun_leavesNothingIfItIsInterrupted(t *testing.T) {
	t.Parallel()
	interrupt := func(t *testing.T, cmd *exec.Cmd) {
		t.Helper()
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
	}
	t.Run("while a command runs", func(t *testing.T) {
		t.Parallel()
		dev := developer(t)
		cmd := dev.start(t, "run", "--", "sh", "-c", "trap 'exit 3' INT; echo started; sleep 600 & wait")
		interrupt(t, cmd)
		if code := exitCode(t, cmd.Wait()); code != 3 {
			t.Errorf("got exit code %d, want that of the command, 3", code)
		}
		dev.awaitNothing(t)
	})
	for name, times := range map[string]int{"while it waits": 1, "twice while it waits": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dev := developer(t)
			cmd := dev.start(t, "create", "try", "--class", classWithoutDevices(t, "none-"+dev.ns))
			framework.AwaitAny(t, env.Client.BatchV1().RESTClient(), "jobs", dev.ns, framework.That("created", func(*batchv1.Job) bool { return true }))
			for range times {
				interrupt(t, cmd)
			}
			err := cmd.Wait()
			if code := exitCode(t, err); code != 130 && times == 1 || code == 0 {
				t.Errorf("got %v, want exit code 130", err)
			}
			dev.awaitNothing(t)
		})
	}
}

func TestKubectlSpaceRun_explainsWhyThereIsNoSpace(t *testing.T) {
	t.Parallel()
	dev := developer(t)
	env.Kubectl(t, "create", "serviceaccount", "stranger", "-n", dev.ns)
	stranger := user{env.UserWith(t, dev.ns, "stranger"), dev.driver, dev.ns}
	poor, poorer := developer(t), developer(t)
	env.Kubectl(t, "create", "quota", "none", "-n", poor.ns, "--hard=pods=0")
	env.Kubectl(t, "create", "quota", "none", "-n", poorer.ns, "--hard=count/resourceclaims.resource.k8s.io=0")
	for _, u := range []user{poor, poorer} {
		env.Kubectl(t, "wait", "quota/none", "-n", u.ns, "--for=jsonpath={.status.hard}", "--timeout="+framework.Timeout.String())
	}
	parameters := filepath.Join(t.TempDir(), "space.yaml")
	if err := os.WriteFile(parameters, []byte("apiVersion: "+spaceapi.APIVersion+"\nkind: SpaceClaimConfig\nclusterRoles: [cluster-admin]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := classWithoutDevices(t, "none-"+dev.ns)
	tests := map[string]struct {
		user
		args []string
		want string
	}{
		"no permission":        {stranger, nil, `Error from server (Forbidden): resourceclaims.resource.k8s.io "space-`},
		"no such class":        {dev, []string{"--class=no-such-class"}, "error: DeviceClass no-such-class does not exist"},
		"no room":              {dev, []string{"--timeout=10s", "--class=" + empty}, "error: there is no space after 10s. There is no room for ResourceClaim space-"},
		"no such image":        {dev, []string{"--image=localhost:1/none:v1"}, "which holds the space, cannot start: "},
		"another image":        {dev, []string{"--image=registry.example.com/space-dra-driver/toolbox:v0.1.0"}, "which holds the space, cannot start: CreateContainerConfigError: "},
		"invalid parameters":   {dev, []string{"--filename=" + parameters}, "gets no space: InvalidParameters: "},
		"no quota for pods":    {poor, nil, "error: the pod that holds the space was rejected: "},
		"no quota for claims":  {poorer, nil, "Error from server (Forbidden): resourceclaims.resource.k8s.io \"space-"},
		"no server at address": {dev, []string{"--server=https://127.0.0.1:1"}, "The connection to the server 127.0.0.1:1 was refused"},
	}
	t.Run("errors", func(t *testing.T) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				stdout, stderr, code := test.try(t, append(append([]string{"run"}, test.args...), "--", "echo", "started")...)
				if code != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, test.want) {
					t.Errorf("got exit code %d, output %q, error %q, want one line with %q", code, stdout, stderr, test.want)
				}
				t.Log(stderr)
			})
		}
	})
	for _, u := range []user{dev, poor, poorer} {
		u.awaitNothing(t)
	}
}

func TestKubectlSpaceCreate_keepsASpaceForATime(t *testing.T) {
	t.Parallel()
	dev := developer(t)
	if out := dev.must(t, "create", "pr-42", "--ttl=1h"); !strings.HasPrefix(out, "resourceclaim.resource.k8s.io/pr-42 created: its space, ephemeral-ns-") {
		t.Errorf("create prints %q", out)
	}
	if _, stderr, code := dev.try(t, "create", "pr-42"); code != 1 || !strings.Contains(stderr, `"pr-42" already exists`) {
		t.Errorf("create it again: exit code %d: %s", code, stderr)
	}
	dev.must(t, "wait", "pr-42", "--for=ready")
	dev.must(t, "exec", "pr-42", "--", "kubectl", "create", "configmap", "keep")
	if out := dev.must(t, "run", "--claim=pr-42", "--", "kubectl", "get", "configmap", "keep", "-o", "name"); out != "configmap/keep\n" {
		t.Errorf("another command in the space prints %q", out)
	}
	shell := dev.Command(t.Context(), "-n", dev.ns, "shell", "--claim=pr-42", "--rm")
	shell.Env = append(shell.Env, "SHELL=/bin/sh")
	shell.Stdin = strings.NewReader("kubectl delete configmap keep\nexit 4\n")
	if out, err := shell.CombinedOutput(); exitCode(t, err) != 4 || !strings.Contains(string(out), `configmap "keep" deleted`) {
		t.Errorf("a shell in the space: error %v: %s", err, out)
	}
	dev.must(t, "wait", "pr-42", "--for=gone")
	dev.awaitNothing(t)

	dev.must(t, "create", "short", "--ttl=5s")
	dev.must(t, "wait", "short", "--for=gone")
	dev.awaitNothing(t)

	dev.must(t, "create", "deleted")
	if out := dev.must(t, "delete", "deleted"); out != "resourceclaim.resource.k8s.io/deleted deleted\n" {
		t.Errorf("delete prints %q", out)
	}
	dev.awaitNothing(t)

	// Another pod would have another space.
	dev.must(t, "create", "drained")
	env.Kubectl(t, "delete", "pod", "-n", dev.ns, "-l", "job-name=drained")
	dev.awaitNothing(t)

	env.CreateClaim(t, dev.ns, framework.NewClaim("mine"))
	if _, stderr, code := dev.try(t, "delete", "mine"); code != 1 || !strings.Contains(stderr, "ResourceClaim mine is not one of kubectl space create") {
		t.Errorf("delete a claim without a holder: exit code %d: %s", code, stderr)
	}
}

func TestHolder_givesAConfigOfTheSpace(t *testing.T) {
	t.Parallel()
	dev := developer(t)
	config, err := clientcmd.BuildConfigFromFlags("", dev.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	h, err := holder.Start(t.Context(), config, holder.Options{
		Namespace: dev.ns, Name: "try", Driver: dev.driver, Class: dev.driver, Image: holder.Image(cluster.DefaultTag),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), framework.Timeout)
	defer cancel()
	if err := h.Wait(ctx); err != nil {
		t.Error(err)
	} else {
		review, err := kubernetes.NewForConfigOrDie(h.Config()).AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if want := "system:serviceaccount:" + h.SpaceNamespace() + ":space"; err != nil || review.Status.UserInfo.Username != want {
			t.Errorf("the user is %q, error %v, want %s", review.Status.UserInfo.Username, err, want)
		}
	}
	if err := h.Close(ctx); err != nil {
		t.Error(err)
	}
	dev.awaitNothing(t)
}
