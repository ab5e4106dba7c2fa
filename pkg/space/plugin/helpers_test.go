// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	componentmetrics "k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	cdilib "tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// certificates returns a bundle of at least the given size.
func certificates(t *testing.T, size int) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return bytes.Repeat(block, size/len(block)+1)
}

// replaceFile replaces a file as the kubelet does.
func (n *node) replaceFile(path string, content []byte) {
	n.t.Helper()
	n.must(os.WriteFile(path+".new", content, 0o600))
	n.must(os.Rename(path+".new", path))
}

func (n *node) wantServerFiles(claim types.UID, dir, server string, ca []byte) {
	n.t.Helper()
	path := n.driver.store.credentialsPath(claim, dir)
	if got, err := os.ReadFile(filepath.Join(path, "ca.crt")); err != nil || !bytes.Equal(got, ca) {
		n.t.Errorf("claim %s has a CA of %d bytes, error %v, want %d bytes", claim, len(got), err, len(ca))
	}
	got, err := os.ReadFile(filepath.Join(path, "kubeconfig"))
	namespace, _ := os.ReadFile(filepath.Join(path, "namespace"))
	want := containeredits.Kubeconfig(server, filepath.Join("/var/run/claim-artifacts", string(claim), dir), string(namespace), "")
	if err != nil || string(got) != want || len(namespace) == 0 {
		n.t.Errorf("claim %s has, error %v, kubeconfig\n%s\nwant\n%s", claim, err, got, want)
	}
}

// watchHealth starts to receive reports.
func (n *node) watchHealth() *watcher {
	n.t.Helper()
	w := &watcher{n: n, reports: make(chan kubeletplugin.DeviceHealthReport)}
	ctx, cancel := context.WithCancel(n.t.Context())
	ended := make(chan error, 1)
	driver := n.driver
	go func() { ended <- driver.WatchHealthStatus(ctx, w.reports) }()
	n.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			n.t.Errorf("the reports ended with %v", err)
		}
	})
	return w
}

// rejectTokensOf makes requests for tokens of claims fail.
func (n *node) rejectTokensOf(claims ...*resourceapi.ResourceClaim) {
	n.t.Helper()
	rejected := map[string]bool{}
	for _, claim := range claims {
		for _, space := range n.driver.tracked.get(claim.UID).prepared.Spaces {
			rejected[space.Namespace] = true
		}
	}
	n.requester.intercept(func(_ context.Context, account token.Account) error {
		if rejected[account.Namespace] {
			return errors.New("denied by webhook")
		}
		return nil
	})
}

const (
	testDriver = spaceapi.DefaultDriverName
	testServer = "https://10.96.0.1:443"
	// lifetime is what the API server grants; two thirds of it are 40 minutes.
	lifetime = time.Hour
	renewal  = 40 * time.Minute
	// longTime is the timeout of waits.
	longTime = 24 * time.Hour
)

// node is a node with the plugin, in a synctest bubble, whose clock advances
// when all goroutines wait: a day takes no time, and durations are exact.
type node struct {
	t         *testing.T
	dir       string
	client    *fake.Clientset
	requester *fakeTokenRequester
	server    APIServer
	driver    *Driver
	// events are the events about claims.
	events *record.FakeRecorder
	// onGet returns how reading a claim fails, if set.
	onGet atomic.Pointer[func() error]
	// metrics are those of the plugin that was started last.
	metrics componentmetrics.KubeRegistry
	// wallAhead is by how much the time of day was set ahead.
	wallAhead atomic.Int64
}

// onNode runs a test on a node, with the plugin started.
func onNode(t *testing.T, test func(t *testing.T, n *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &node{t: t, dir: t.TempDir(), client: fake.NewClientset(), requester: &fakeTokenRequester{calls: make(chan tokenRequest, 1000)}, events: record.NewFakeRecorder(100), server: APIServer{URL: testServer, CA: []byte("the CA")}}
		n.client.PrependReactor("create", "serviceaccounts", n.requester.react)
		n.client.PrependReactor("get", "resourceclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
			if hook := n.onGet.Load(); hook != nil {
				return true, nil, (*hook)()
			}
			return false, nil, nil
		})
		n.client.PrependWatchReactor("resourceclaims", n.watchByName)
		n.start()
		t.Cleanup(func() { n.driver.Stop() })
		test(t, n)
	})
}

// watchByName watches the claim that a field selector names, which the fake API server ignores.
func (n *node) watchByName(action clienttesting.Action) (bool, watch.Interface, error) {
	restrictions := action.(clienttesting.WatchAction).GetWatchRestrictions()
	w, err := n.client.Tracker().Watch(action.GetResource(), action.GetNamespace())
	if err != nil {
		return true, nil, err
	}
	return true, watch.Filter(w, func(event watch.Event) (watch.Event, bool) {
		claim, ok := event.Object.(*resourceapi.ResourceClaim)
		return event, !ok || restrictions.Fields.Matches(fields.Set{metav1.ObjectNameField: claim.Name})
	}), nil
}

// watchWith watches claims with a client.
func watchWith(client kubernetes.Interface) ClaimWatcher {
	return func(ctx context.Context, name types.NamespacedName, version string) (watch.Interface, error) {
		return client.ResourceV1().ResourceClaims(name.Namespace).Watch(ctx, metav1.ListOptions{
			FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name).String(), ResourceVersion: version,
		})
	}
}

// start starts the plugin on what is on the node's disk.
func (n *node) start() {
	n.t.Helper()
	n.requester.Requester = token.Requester{Client: n.client, Node: "node-7", Lifetime: lifetime, Clock: clock.RealClock{}}
	n.metrics = componentmetrics.NewKubeRegistry()
	pluginMetrics := metrics.NewPlugin(n.metrics.Registerer(), "v0")
	var err error
	n.driver, err = New(Config{
		Metrics: pluginMetrics,
		Driver:  testDriver, Node: "node-7", Events: n.events, Client: n.client, WatchClaim: watchWith(n.client), TokenRequester: n.requester,
		CredentialsDir: filepath.Join(n.dir, "claims"), CDIDir: filepath.Join(n.dir, "cdi"),
		APIServer:      n.server,
		PrepareTimeout: 35 * time.Second,
		Clock:          clock.RealClock{}, // the bubble's
		Fail:           func(err error) { n.t.Errorf("the plugin gave up: %v", err) },
	})
	n.must(err)
	pluginMetrics.Collect(n.driver.tokenMetrics)
	n.driver.jitter = func() float64 { return 0 }
	n.driver.wall = func() time.Time { return time.Now().Add(time.Duration(n.wallAhead.Load())) }
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

// create, update and remove change a claim, and return when the plugin has handled that.
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

func (n *node) wantToken(claim *resourceapi.ResourceClaim, subdir, want string) {
	n.t.Helper()
	synctest.Wait()
	got, err := os.ReadFile(filepath.Join(n.driver.store.credentialsPath(claim.UID, subdir), "token"))
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
	// lifetime is the requested lifetime, or zero for the default.
	lifetime time.Duration
}

// fakeTokenRequester requests tokens from a fake API server.
type fakeTokenRequester struct {
	token.Requester
	calls chan tokenRequest

	mutex sync.Mutex
	fail  error
	count int
	// hook, if set, is called first. Requests for which it returns an error are not recorded.
	hook func(context.Context, token.Account) error
}

func (m *fakeTokenRequester) intercept(hook func(context.Context, token.Account) error) {
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

// awaitTokenRequest waits until a token is requested.
func (n *node) awaitTokenRequest(why string) tokenRequest {
	n.t.Helper()
	select {
	case m := <-n.requester.calls:
		return m
	case <-time.After(longTime):
		n.t.Fatalf("waited %s for a request of a token: %s", longTime, why)
		return tokenRequest{}
	}
}

func (n *node) wantNoTokenRequest(why string) {
	n.t.Helper()
	select {
	case m := <-n.requester.calls:
		n.t.Errorf("a token was requested, at %s for %+v: %s", m.at, m.account, why)
	case <-time.After(longTime):
	}
}

// claimFor returns an allocated claim whose spaces are not provisioned yet.
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

// readyFor returns the claim after the controller has provisioned its spaces, with ServiceAccounts of a
// UID.
func readyFor(t *testing.T, claim *resourceapi.ResourceClaim, account types.UID) *resourceapi.ResourceClaim {
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
				// The plugin ignores these, and uses its own configuration.
				Server: "https://status.example.com", Kubeconfig: "kubeconfig in the status",
			},
		})
	}
	return apply(t, claim, entries)
}

// notReady returns the claim with a Ready condition that is False.
func notReady(t *testing.T, claim *resourceapi.ResourceClaim, reason, message string) *resourceapi.ResourceClaim {
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

// samples returns the number of samples of a histogram with a value of its only label.
func (n *node) samples(name, label, value string) uint64 {
	n.t.Helper()
	histogram, err := testutil.GetHistogramVecFromGatherer(n.metrics, name, map[string]string{label: value})
	if err != nil {
		return 0 // nothing with that value yet
	}
	return histogram.GetAggregatedSampleCount()
}

// mustLock takes a lock that is free.
func mustLock(t *testing.T, l *locks, claim types.UID) (context.Context, func()) {
	t.Helper()
	ctx, unlock, err := l.lock(t.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, unlock
}

// containerEdits returns the edits that the container runtime applies for a device.
func (n *node) containerEdits(id string) specs.ContainerEdits {
	n.t.Helper()
	cache, err := cdilib.NewCache(cdilib.WithSpecDirs(filepath.Join(n.dir, "cdi")), cdilib.WithAutoRefresh(false))
	n.must(err)
	n.must(cache.Refresh())
	device := cache.GetDevice(id)
	if device == nil {
		n.t.Fatalf("the container runtime finds %q, but not %q", cache.ListDevices(), id)
	}
	return device.ContainerEdits
}

func (n *node) wantNoFiles() {
	n.t.Helper()
	for _, below := range []string{"claims", "cdi"} {
		n.wantFiles(below, 0)
	}
}

// errNodeNotRecorded is the error of the admission policy for a node that is not recorded.
var errNodeNotRecorded = apierrors.NewForbidden(corev1.Resource("serviceaccounts"), "space", errors.New("no pod is known to be here"))

// withClassConfig and withClaimConfig add parameters to a claim's allocation: an
// administrator's and a user's. fields are JSON with a leading comma.
func withClassConfig(claim *resourceapi.ResourceClaim, fields string, requests ...string) *resourceapi.ResourceClaim {
	return withConfig(claim, resourceapi.AllocationConfigSourceClass, spaceapi.SpaceClassConfigKind, fields, requests)
}

func withClaimConfig(claim *resourceapi.ResourceClaim, fields string, requests ...string) *resourceapi.ResourceClaim {
	return withConfig(claim, resourceapi.AllocationConfigSourceClaim, spaceapi.SpaceClaimConfigKind, fields, requests)
}

func withConfig(claim *resourceapi.ResourceClaim, source resourceapi.AllocationConfigSource, kind, fields string, requests []string) *resourceapi.ResourceClaim {
	config := resourceapi.DeviceAllocationConfiguration{Source: source, Requests: requests}
	config.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: testDriver, Parameters: runtime.RawExtension{
		Raw: fmt.Appendf(nil, `{"apiVersion":%q,"kind":%q%s}`, spaceapi.APIVersion, kind, fields),
	}}
	claim.Status.Allocation.Devices.Config = append(claim.Status.Allocation.Devices.Config, config)
	return claim
}

// Claims as the API server makes them have such UIDs.
const (
	claimA = types.UID("7791ecd8-b343-4545-821c-d5b05db2d590")
	claimB = types.UID("0f4b1d2c-9a8e-4c07-8d53-6f2e1b7a9c40")
)

// preparedAs returns a claim with this UID that is ready and was prepared just now.
func (n *node) preparedAs(uid types.UID, requests ...string) *resourceapi.ResourceClaim {
	n.t.Helper()
	claim := claimFor(requests...)
	claim.UID = uid
	claim = n.create(readyFor(n.t, claim, "account-1"))
	_, err := prepareClaim(n.t.Context(), n.driver, claim)
	n.must(err)
	for range requests {
		n.awaitTokenRequest("Prepare")
	}
	synctest.Wait() // until the claim's first resync, which writes its files too, is over
	return claim
}

// prepared returns a claim that is ready and was prepared just now.
func (n *node) prepared(requests ...string) *resourceapi.ResourceClaim {
	n.t.Helper()
	return n.preparedAs("claim-uid", requests...)
}

func (n *node) wantAllFiles() {
	n.t.Helper()
	for _, below := range []string{"claims", "cdi"} {
		n.wantFiles(below, 1)
	}
}

// resync waits until a resync has taken place.
func (n *node) resync() {
	<-time.After(resyncInterval)
	synctest.Wait()
}

// awaitUnprepare waits for as long as the kubelet has to unprepare a claim that ended.
func (n *node) awaitUnprepare() {
	<-time.After(unprepareTimeout - time.Second)
	synctest.Wait()
}

// failGet makes reading claims fail until the returned function is called.
func (n *node) failGet(err error) (restore func()) {
	fail := func() error { return err }
	n.onGet.Store(&fail)
	return func() { n.onGet.Store(nil) }
}

// files returns all files of the node.
func (n *node) files() []string {
	n.t.Helper()
	var out []string
	n.must(filepath.WalkDir(n.dir, func(path string, e os.DirEntry, err error) error {
		out = append(out, path)
		return err
	}))
	return out
}

// truncateMetadata cuts the metadata of claimA off.
func (n *node) truncateMetadata() {
	n.t.Helper()
	path := filepath.Join(n.dir, "claims", string(claimA), metadataFile)
	content, err := os.ReadFile(path)
	n.must(err)
	n.must(os.WriteFile(path, content[:len(content)/2], 0o600))
}

func (n *node) findings(kind string) float64 {
	n.t.Helper()
	counter, err := n.driver.Metrics.Findings.GetMetricWithLabelValues(kind)
	n.must(err)
	count, err := testutil.GetCounterMetricValue(counter)
	n.must(err)
	return count
}

// once returns a reaction that uses the given watch for the first request only.
func once(first func() (watch.Interface, error)) clienttesting.WatchReactionFunc {
	used := false
	return func(clienttesting.Action) (bool, watch.Interface, error) {
		if used {
			return false, nil, nil
		}
		used = true
		w, err := first()
		return true, w, err
	}
}

func (n *node) wantRenewedAfterPrepare(claim *resourceapi.ResourceClaim) {
	n.t.Helper()
	_, err := prepareClaim(n.t.Context(), n.driver, claim)
	n.must(err)
	first := n.awaitTokenRequest("Prepare")
	if next := n.awaitTokenRequest("renewal"); next.at.Sub(first.at) != renewal {
		n.t.Errorf("renewed after %s, want %s", next.at.Sub(first.at), renewal)
	}
}

// tokenIn returns the token that containers read.
func (n *node) tokenIn(claim *resourceapi.ResourceClaim, subdir string) string {
	n.t.Helper()
	synctest.Wait()
	content, err := os.ReadFile(filepath.Join(n.driver.store.credentialsPath(claim.UID, subdir), "token"))
	n.must(err)
	return string(content)
}

func (n *node) wantNoEvent(during time.Duration) {
	n.t.Helper()
	select {
	case e := <-n.events.Events:
		n.t.Errorf("there is event %q", e)
	case <-time.After(during):
	}
}

// awaitEvent waits for an event, and returns how long that took.
func (n *node) awaitEvent() (string, time.Duration) {
	n.t.Helper()
	start := time.Now()
	select {
	case e := <-n.events.Events:
		return e, time.Since(start)
	case <-time.After(longTime):
		n.t.Fatalf("waited %s for an event", longTime)
		return "", 0
	}
}

// awaitSuccess waits for a request that returned a token.
func (n *node) awaitSuccess() tokenRequest {
	n.t.Helper()
	for {
		if m := n.awaitTokenRequest("a token"); m.value != "" {
			return m
		}
	}
}

// prepareClaim and unprepareClaim make a call of the kubelet about one claim.
func prepareClaim(ctx context.Context, d *Driver, claim *resourceapi.ResourceClaim) ([]kubeletplugin.Device, error) {
	results, err := d.PrepareResourceClaims(ctx, []*resourceapi.ResourceClaim{claim})
	return results[claim.UID].Devices, errors.Join(err, results[claim.UID].Err)
}

func unprepareClaim(ctx context.Context, d *Driver, claim types.UID) error {
	results, err := d.UnprepareResourceClaims(ctx, []kubeletplugin.NamespacedObject{{UID: claim}})
	return errors.Join(err, results[claim])
}

// prepareInBackground calls Prepare, and returns when Prepare waits.
func (n *node) prepareInBackground(ctx context.Context, claim *resourceapi.ResourceClaim) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := prepareClaim(ctx, n.driver, claim)
		result <- err
	}()
	synctest.Wait()
	return result
}

// await waits until Prepare returns, and returns how long that took.
func (n *node) await(result <-chan error) (time.Duration, error) {
	n.t.Helper()
	start := time.Now()
	select {
	case err := <-result:
		return time.Since(start), err
	case <-time.After(longTime):
		n.t.Fatalf("waited %s for Prepare to return", longTime)
		return 0, nil
	}
}
