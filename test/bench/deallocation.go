// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/bench/report"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// settings of kube-controller-manager that are tried, each on a cluster of its own.
func controllerManagers() []struct {
	name  string
	flags []string
} {
	return []struct {
		name  string
		flags []string
	}{
		{"defaults", nil},
		{"--concurrent-namespace-syncs=50 --kube-api-qps=200 --kube-api-burst=300",
			[]string{"--concurrent-namespace-syncs=50", "--kube-api-qps=200", "--kube-api-burst=300"}},
	}
}

// Deallocation frees many spaces at once, and reports when their credentials were refused
// and when their namespaces were gone, the latter against plain namespaces with the same
// contents.
func Deallocation(ctx context.Context, s Settings) (*report.Report, error) {
	r := &report.Report{Name: "deallocation", Title: "Many spaces freed at once, against plain namespaces with the same contents", Machine: report.ThisMachine()}
	for _, manager := range controllerManagers() {
		if err := s.onControlPlane(ctx, manager.flags, func(env *framework.Env) error {
			return withController(env, func() error { return s.deallocation(ctx, env, manager.name, r) })
		}); err != nil {
			return nil, fmt.Errorf("kube-controller-manager with %s: %w", manager.name, err)
		}
	}
	r.Notes = append(r.Notes, fmt.Sprintf("%d spaces or namespaces in each round, freed or deleted by %d requests at the same time.", s.Spaces, s.Parallel),
		"Refused: a request with the space's own token was. Tables have the last round's values, but for what is per second.")
	return r, nil
}

func (s Settings) deallocation(ctx context.Context, env *framework.Env, manager string, r *report.Report) error {
	var plainRates, spaceRates []float64
	var plainGone, refused, gone []float64
	for round := range s.Rounds {
		_, all, err := claims{env.Client, s.Parallel, spaceapi.DefaultDriverName}.ready(ctx, fmt.Sprintf("d%d", round), s.Spaces, func(*resourceapi.ResourceClaim) {})
		if err != nil {
			return err
		}
		loop, err := copyOf(ctx, env, all[0])
		if err != nil {
			return err
		}
		spaces := func() error {
			if refused, gone, err = s.free(ctx, env, all); err == nil {
				spaceRates = append(spaceRates, float64(len(gone))/slices.Max(gone))
			}
			return err
		}
		plain := func() error {
			if plainGone, err = s.deletePlain(ctx, env, loop, round); err == nil {
				plainRates = append(plainRates, float64(len(plainGone))/slices.Max(plainGone))
			}
			return err
		}
		order := []func() error{plain, spaces}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, step := range order {
			if err := step(); err != nil {
				return err
			}
		}
		s.logf("round %d: plain %.1f/s, spaces %.1f/s, last refused after %.2f s", round, plainRates[round], spaceRates[round], slices.Max(refused))
	}
	r.Tables = append(r.Tables,
		report.NewTable("gone per second, "+manager, "1/s", report.Series{Name: "plain namespaces", Values: plainRates}, report.Series{Name: "spaces", Values: spaceRates}),
		report.NewTable("round by round, "+manager, "ratio", report.Series{Name: "spaces to plain namespaces", Values: report.Ratios(spaceRates, plainRates)}),
		report.NewTable("after the first was freed, "+manager, "s",
			report.Series{Name: "plain namespaces gone", Values: plainGone}, report.Series{Name: "spaces gone", Values: gone}, report.Series{Name: "credentials refused", Values: refused}))
	return nil
}

// free deallocates claims, and returns after how long each credential was refused and each
// namespace was gone.
func (s Settings) free(ctx context.Context, env *framework.Env, all []*resourceapi.ResourceClaim) (refused, gone []float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tokens := make([]string, len(all))
	names := map[string]bool{}
	spaces := make([]string, len(all))
	if err := each(ctx, len(all), s.Parallel, func(ctx context.Context, i int) error {
		data, err := dataOf(all[i])
		if err != nil {
			return err
		}
		spaces[i] = data.Namespace
		token, err := env.Client.CoreV1().ServiceAccounts(data.Namespace).CreateToken(ctx, spaceapi.ServiceAccountName, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("get a token for namespace %s: %w", data.Namespace, err)
		}
		tokens[i] = token.Status.Token
		return nil
	}); err != nil {
		return nil, nil, err
	}
	byName := map[string]int{}
	for i, name := range spaces {
		names[name], byName[name] = true, i
	}
	tenant, err := newTenant(env)
	if err != nil {
		return nil, nil, err
	}
	namespaceAPI, bindingAPI := env.Client.CoreV1().Namespaces(), env.Client.RbacV1().RoleBindings(metav1.NamespaceAll)
	namespaces, err := follow(ctx, namespaceAPI.List, namespaceAPI.Watch, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("watch namespaces: %w", err)
	}
	defer namespaces.Stop()
	// Tokens are tried from the moment on that the RoleBinding is gone, so that
	// trying does not slow down what is measured.
	bindings, err := follow(ctx, bindingAPI.List, bindingAPI.Watch, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, spaceapi.RoleBindingName).String()})
	if err != nil {
		return nil, nil, fmt.Errorf("watch RoleBindings: %w", err)
	}
	defer bindings.Stop()
	start := time.Now()
	refused = make([]float64, len(all))
	errs := make([]error, len(all)+1)
	var trying sync.WaitGroup
	trying.Go(func() {
		for left := len(all); left > 0; {
			event, open := <-bindings.ResultChan()
			if !open {
				errs[len(all)] = fmt.Errorf("%d RoleBindings were there when the watch ended", left)
				return
			}
			if event.Type != watch.Deleted {
				continue
			}
			i, ours := byName[event.Object.(metav1.Object).GetNamespace()]
			if !ours {
				continue
			}
			left--
			trying.Go(func() {
				errs[i] = tenant.awaitRefusal(ctx, spaces[i], tokens[i])
				refused[i] = time.Since(start).Seconds()
			})
		}
	})
	if err := each(ctx, len(all), s.Parallel, func(ctx context.Context, i int) error {
		_, err := env.Client.ResourceV1().ResourceClaims(all[i].Namespace).Patch(ctx, all[i].Name, types.MergePatchType, []byte(`{"status":{"allocation":null,"devices":null}}`), metav1.PatchOptions{}, "status")
		return err
	}); err != nil {
		return nil, nil, fmt.Errorf("deallocate: %w", err)
	}
	gone, err = awaitGone(namespaces, names, start)
	trying.Wait()
	return refused, gone, errors.Join(append(errs, err)...)
}

// deletePlain makes namespaces with the contents of spaces and deletes them, and
// returns after how long each was gone.
func (s Settings) deletePlain(ctx context.Context, env *framework.Env, loop *bare, round int) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	name := func(i int) string { return fmt.Sprintf("bare-d%d-%d", round, i) }
	names := map[string]bool{}
	for i := range s.Spaces {
		names[name(i)] = true
	}
	if err := each(ctx, s.Spaces, s.Parallel, func(ctx context.Context, i int) error { return loop.make(ctx, name(i)) }); err != nil {
		return nil, fmt.Errorf("make plain namespaces: %w", err)
	}
	api := env.Client.CoreV1().Namespaces()
	w, err := follow(ctx, api.List, api.Watch, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("watch namespaces: %w", err)
	}
	defer w.Stop()
	start := time.Now()
	if err := each(ctx, s.Spaces, s.Parallel, func(ctx context.Context, i int) error {
		return api.Delete(ctx, name(i), metav1.DeleteOptions{})
	}); err != nil {
		return nil, fmt.Errorf("delete plain namespaces: %w", err)
	}
	return awaitGone(w, names, start)
}

func awaitGone(w watch.Interface, names map[string]bool, start time.Time) ([]float64, error) {
	var seconds []float64
	for event := range w.ResultChan() {
		if ns, ok := event.Object.(metav1.Object); event.Type == watch.Deleted && ok && names[ns.GetName()] {
			seconds = append(seconds, time.Since(start).Seconds())
		}
		if len(seconds) == len(names) {
			return seconds, nil
		}
	}
	return nil, fmt.Errorf("%d of %d namespaces were gone when the watch ended", len(seconds), len(names))
}

// tenant makes requests with tokens of spaces, over one connection.
type tenant struct {
	host   string
	client *http.Client
}

func newTenant(env *framework.Env) (*tenant, error) {
	config, err := env.Cluster.RESTConfig()
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(rest.AnonymousClientConfig(config))
	if err != nil {
		return nil, fmt.Errorf("make a client for tenants: %w", err)
	}
	return &tenant{config.Host, client}, nil
}

// awaitRefusal tries a token until it is refused.
func (t *tenant) awaitRefusal(ctx context.Context, namespace, token string) error {
	return wait.PollUntilContextTimeout(ctx, 5*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.host+"/api/v1/namespaces/"+namespace+"/configmaps/none", nil)
		if err != nil {
			return false, err
		}
		request.Header.Set("Authorization", "Bearer "+token)
		answer, err := t.client.Do(request)
		if err != nil {
			return false, fmt.Errorf("try the token of namespace %s: %w", namespace, err)
		}
		_, err = io.Copy(io.Discard, answer.Body)
		return answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized, errors.Join(err, answer.Body.Close())
	})
}
