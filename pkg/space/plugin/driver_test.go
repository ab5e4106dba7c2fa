// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

const (
	testDriver = spaceapi.DefaultDriverName
	testServer = "https://10.96.0.1:443"
	// lifetime is what the API server grants; two thirds of it are 40 minutes.
	lifetime = time.Hour
	renewal  = 40 * time.Minute
	// longTime is after which something that is awaited is not going to happen.
	longTime = 24 * time.Hour
)

// node is a node with the plugin, in a bubble with a clock of its own that moves
// on when everybody waits: a day takes no time, and durations are exact.
type node struct {
	t         *testing.T
	dir       string
	client    *fake.Clientset
	requester *fakeTokenRequester
	server    APIServer
	driver    *Driver
	// events are what the users of claims were told.
	events *eventrecord.FakeRecorder
	// onGet is called for each claim that is read, if set. It says how that fails.
	onGet atomic.Pointer[func() error]
	// metrics are those of the plugin that was started last.
	metrics componentmetrics.KubeRegistry
	// wallAhead is by how much somebody has set the time of day ahead.
	wallAhead atomic.Int64
}

// onNode runs a test on a node, with the plugin started.
func onNode(t *testing.T, test func(t *testing.T, n *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &node{t: t, dir: t.TempDir(), client: fake.NewClientset(), requester: &fakeTokenRequester{calls: make(chan tokenRequest, 1000)}, events: eventrecord.NewFakeRecorder(100), server: APIServer{URL: testServer, CA: []byte("the CA")}}
		n.client.PrependReactor("create", "serviceaccounts", n.requester.react)
		n.client.PrependReactor("get", "resourceclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
			if hook := n.onGet.Load(); hook != nil {
				return true, nil, (*hook)()
			}
			return false, nil, nil
		})
		n.start()
		t.Cleanup(func() { n.driver.Stop() })
		test(t, n)
	})
}

// start starts the plugin on what is on the node's disk.
func (n *node) start() {
	n.t.Helper()
	n.requester.Requester = token.Requester{Client: n.client, Node: "node-7", Lifetime: lifetime, Clock: clock.RealClock{}}
	n.metrics = componentmetrics.NewKubeRegistry()
	measured := metrics.NewPlugin(n.metrics.Registerer(), "v0")
	var err error
	n.driver, err = New(Config{
		Metrics: measured,
		Driver:  testDriver, Node: "node-7", Events: n.events, Client: n.client, TokenRequester: n.requester,
		CredentialsDir: filepath.Join(n.dir, "artifacts"), CDIDir: filepath.Join(n.dir, "cdi"),
		APIServer:      n.server,
		PrepareTimeout: 35 * time.Second,
		Clock:          clock.RealClock{}, // the bubble's
		Fail:           func(err error) { n.t.Errorf("the plugin gave up: %v", err) },
	})
	n.must(err)
	measured.Watch(n.driver.tokens.summary)
	n.driver.tokens.jitter = func() float64 { return 0 }
	n.driver.tokens.wall = func() time.Time { return time.Now().Add(time.Duration(n.wallAhead.Load())) }
	n.driver.Start(n.t.Context())
}

func (n *node) restart() {
	n.t.Helper()
	n.driver.Stop()
	n.start()
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// create, update and remove change a claim as others do, and return when
// everybody has noticed.
func (n *node) create(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
	n.t.Helper()
	_, err := n.client.ResourceV1().ResourceClaims(claim.Namespace).Create(n.t.Context(), claim, metav1.CreateOptions{})
	n.must(err)
	synctest.Wait()
	return claim
}

func (n *node) update(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
	n.t.Helper()
	synctest.Wait() // until those who watch, do: the fake API server replays nothing
	_, err := n.client.ResourceV1().ResourceClaims(claim.Namespace).UpdateStatus(n.t.Context(), claim, metav1.UpdateOptions{})
	n.must(err)
	synctest.Wait()
	return claim
}

func (n *node) remove(claim *resourceapi.ResourceClaim) {
	n.t.Helper()
	synctest.Wait()
	n.must(n.client.ResourceV1().ResourceClaims(claim.Namespace).Delete(n.t.Context(), claim.Name, metav1.DeleteOptions{}))
	synctest.Wait()
}

func (n *node) wantToken(claim *resourceapi.ResourceClaim, slot, want string) {
	n.t.Helper()
	synctest.Wait()
	got, err := os.ReadFile(filepath.Join(n.driver.store.credentialsPath(claim.UID, slot), "token"))
	if err != nil || string(got) != want {
		n.t.Errorf("containers read token %q, error %v, want %q", got, err, want)
	}
}

// wantFiles counts what is below a directory of the node.
func (n *node) wantFiles(below string, want int) {
	n.t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.dir, below))
	// Without the directories in which files are staged.
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.IsDir() && strings.HasPrefix(e.Name(), ".") })
	if err != nil || len(entries) != want {
		n.t.Errorf("in %s there are %v, error %v, want %d entries", below, entries, err, want)
	}
}

// tokenRequest is one request for a token.
type tokenRequest struct {
	account token.Account
	at      time.Time
	value   string
	// lifetime is what was asked for, zero for the usual one.
	lifetime time.Duration
}

// fakeTokenRequester asks an API server that grants what it is told to.
type fakeTokenRequester struct {
	token.Requester
	calls chan tokenRequest

	mutex sync.Mutex
	fail  error
	count int
	// hook is asked first, if set. What it fails is not among the calls.
	hook func(context.Context, token.Account) error
}

func (m *fakeTokenRequester) askFirst(hook func(context.Context, token.Account) error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.hook = hook
}

func (m *fakeTokenRequester) Request(ctx context.Context, account token.Account, lifetime time.Duration) (token.Token, error) {
	at := time.Now()
	m.mutex.Lock()
	fail, hook := m.fail, m.hook
	m.mutex.Unlock()
	if hook != nil {
		if err := hook(ctx, account); err != nil {
			return token.Token{}, err
		}
	}
	if fail != nil {
		m.calls <- tokenRequest{account, at, "", lifetime}
		return token.Token{}, fail
	}
	t, err := m.Requester.Request(ctx, account, lifetime)
	m.calls <- tokenRequest{account, at, string(t.Reveal()), lifetime}
	return t, err
}

func (m *fakeTokenRequester) react(clienttesting.Action) (bool, runtime.Object, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.count++
	return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{
		Token: "token-" + strconv.Itoa(m.count), ExpirationTimestamp: metav1.NewTime(time.Now().Add(lifetime)),
	}}, nil
}

func (m *fakeTokenRequester) failWith(err error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.fail = err
}

// awaitMint waits for a token to be asked for.
func (n *node) awaitMint(why string) tokenRequest {
	n.t.Helper()
	select {
	case m := <-n.requester.calls:
		return m
	case <-time.After(longTime):
		n.t.Fatalf("waited %s for a token to be asked for: %s", longTime, why)
		return tokenRequest{}
	}
}

func (n *node) wantNoMint(why string) {
	n.t.Helper()
	select {
	case m := <-n.requester.calls:
		n.t.Errorf("a token was asked for, at %s for %+v: %s", m.at, m.account, why)
	case <-time.After(longTime):
	}
}

// claimFor returns an allocated claim whose spaces are not there yet.
func claimFor(requests ...string) *resourceapi.ResourceClaim {
	claim := &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team", Name: "pod-test-claim-x7x7x", UID: "claim-uid", Finalizers: []string{resourceapi.Finalizer},
			Annotations: map[string]string{resourceapi.PodResourceClaimAnnotation: "test-claim"},
		},
		Status: resourceapi.ResourceClaimStatus{Allocation: &resourceapi.AllocationResult{}},
	}
	for _, request := range requests {
		claim.Status.Allocation.Devices.Results = append(claim.Status.Allocation.Devices.Results, resourceapi.DeviceRequestAllocationResult{
			Driver: testDriver, Request: request, Pool: "spaces", Device: "space", ShareID: ptr.To(types.UID("share-" + request)),
		})
	}
	return claim
}

// readyWith is the claim after the controller has made its spaces, with
// ServiceAccounts of the given UID.
func readyWith(t *testing.T, claim *resourceapi.ResourceClaim, account types.UID) *resourceapi.ResourceClaim {
	t.Helper()
	a := allocation.FromClaim(claim, testDriver)
	var entries []claimstatus.Entry
	for _, result := range a.Results {
		ns := result.NamespaceName("ns-")
		entries = append(entries, claimstatus.Entry{
			Result: result,
			Ready:  metav1.Condition{Status: metav1.ConditionTrue, Reason: spaceapi.ReasonProvisioned},
			Data: &spaceapi.SpaceStatus{
				TypeMeta:     metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: spaceapi.SpaceStatusKind},
				AllocationID: a.ID, Namespace: ns, ServiceAccount: "space", ServiceAccountUID: account,
				// The plugin has its own, and believes nothing of it.
				Server: "https://status.example.com", Kubeconfig: "kubeconfig in the status",
			},
		})
	}
	return apply(t, claim, entries)
}

// notReadyBecause is the claim after the controller has said why it has no space.
func notReadyBecause(t *testing.T, claim *resourceapi.ResourceClaim, reason, message string) *resourceapi.ResourceClaim {
	t.Helper()
	var entries []claimstatus.Entry
	for _, result := range allocation.FromClaim(claim, testDriver).Results {
		entries = append(entries, claimstatus.Entry{
			Result: result, Ready: metav1.Condition{Status: metav1.ConditionFalse, Reason: reason, Message: message},
		})
	}
	return apply(t, claim, entries)
}

func apply(t *testing.T, claim *resourceapi.ResourceClaim, entries []claimstatus.Entry) *resourceapi.ResourceClaim {
	t.Helper()
	claim = claim.DeepCopy()
	if _, err := claimstatus.Apply(claim, testDriver, entries, metav1.Now()); err != nil {
		t.Fatal(err)
	}
	return claim
}

// samples is how often something was measured, with the value of its only label.
func (n *node) samples(name, label, value string) uint64 {
	n.t.Helper()
	histogram, err := testutil.GetHistogramVecFromGatherer(n.metrics, name, map[string]string{label: value})
	if err != nil {
		return 0 // nothing with that value yet
	}
	return histogram.GetAggregatedSampleCount()
}

func TestCallsOfTheKubeletAreMeasured(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, claimFor("a"), "account-uid"))
		bad := claimFor("a")
		bad.UID, bad.Status.Allocation = "another", nil
		if _, err := n.driver.PrepareResourceClaims(t.Context(), []*resourceapi.ResourceClaim{claim, bad}); err != nil {
			t.Fatal(err)
		}
		if _, err := n.driver.UnprepareResourceClaims(t.Context(), []kubeletplugin.NamespacedObject{{
			NamespacedName: types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}, UID: claim.UID,
		}}); err != nil {
			t.Fatal(err)
		}
		for _, want := range [][3]string{
			{"space_dra_prepare_duration_seconds", "result", "success"},
			{"space_dra_prepare_duration_seconds", "result", "failure"},
			{"space_dra_prepare_step_duration_seconds", "step", "wait"},
			{"space_dra_prepare_step_duration_seconds", "step", "token"},
			{"space_dra_prepare_step_duration_seconds", "step", "files"},
			{"space_dra_unprepare_duration_seconds", "result", "success"},
		} {
			if got := n.samples(want[0], want[1], want[2]); got != 1 {
				t.Errorf("%s of %s %s: measured %d times, want once", want[0], want[1], want[2], got)
			}
		}
	})
}

func TestDriver_returnsAResultForEachClaim(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		good := n.create(readyFor(t, claimFor("a"), "account-1"))
		bad := readyFor(t, claimFor("a"), "account-1")
		bad.UID, bad.Status.Allocation = "bad-uid", nil
		results, err := n.driver.PrepareResourceClaims(t.Context(), []*resourceapi.ResourceClaim{good, bad})
		n.must(err)
		if r := results[good.UID]; r.Err != nil || len(r.Devices) != 1 {
			t.Errorf("the good claim: got %+v", r)
		}
		if r := results[bad.UID]; r.Err == nil || len(results) != 2 {
			t.Errorf("the bad claim: got %+v", r)
		}

		// Something that can't be removed, for as long as it has that name.
		ended, err := n.driver.UnprepareResourceClaims(t.Context(), []kubeletplugin.NamespacedObject{{UID: ""}, {UID: good.UID}})
		n.must(err)
		if ended[""] == nil || ended[good.UID] != nil || len(ended) != 2 {
			t.Errorf("got %v, want an error for the claim without UID only", ended)
		}
		n.wantNothingLeft()
	})
}

func TestStop_stopsRenewal(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		// The wall clock is compared once a minute, also while a request is not answered.
		<-time.After(wallInterval - 5*time.Second)
		n.prepared("a")
		var asked atomic.Int64
		n.requester.intercept(func(ctx context.Context, _ token.Account) error {
			asked.Add(1)
			<-ctx.Done()
			return ctx.Err()
		})
		<-time.After(renewal + 10*time.Second)
		n.driver.Stop()
		if got := asked.Load(); got != 1 {
			t.Errorf("a token was asked for %d times, once before the stop", got)
		}
	})
}

func TestStart_renewsImmediately(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		restarted := time.Now()
		n.restart()
		m := n.awaitTokenRequest("the renewal at start")
		if took := m.at.Sub(restarted); took != 0 || m.account.UID != "account-1" {
			t.Errorf("renewed %s after the start for ServiceAccount UID %s", took, m.account.UID)
		}
		n.wantToken(claim, "", m.value)
		if next := n.awaitTokenRequest("the renewal after that"); next.at.Sub(m.at) != renewal {
			t.Errorf("renewed again after %s, want %s", next.at.Sub(m.at), renewal)
		}
		n.must(n.driver.unprepare(t.Context(), claim.UID))
		n.wantNoTokenRequest("the claim was unprepared")
	})
}

func TestStart_ignoresUnpreparedClaims(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		n.must(n.driver.unprepare(t.Context(), claim.UID))
		n.restart()
		n.wantNoTokenRequest("the claim was unprepared before")
	})
}

func TestUnprepareResourceClaims_inParallel(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		_, unlock := take(t, n.driver.locks, claimA)
		done := make(chan map[types.UID]error, 1)
		n.must(n.driver.specs.write(claimB, []specs.Device{specDevice("x")}))
		go func() {
			results, err := n.driver.UnprepareResourceClaims(t.Context(), []kubeletplugin.NamespacedObject{{UID: claimA}, {UID: claimB}})
			n.must(err)
			done <- results
		}()
		<-time.After(time.Second)
		n.wantFiles("cdi", 1) // that of the one that has to wait
		unlock()
		results := <-done
		if len(results) != 2 || results[claimA] != nil || results[claimB] != nil {
			t.Errorf("got %v", results)
		}
		n.wantNothingLeft()
	})
}
