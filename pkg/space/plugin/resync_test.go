// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

func TestResync_updatesTheCAOfAllClaims(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		path := filepath.Join(t.TempDir(), "ca.crt")
		first, second, large := certificates(t, 1), certificates(t, 1), certificates(t, maxCASize-1000)
		n.replaceFile(path, first)
		n.server = APIServer{URL: testServer, CAFile: path}
		n.restart()
		n.preparedAs(claimA, "a", "b")
		other := claimFor("a")
		other.UID, other.Name = claimB, "other"
		_, err := prepareClaim(t.Context(), n.driver, n.create(readyFor(t, other, "account-1")))
		n.must(err)
		want := func(ca []byte) {
			t.Helper()
			synctest.Wait()
			n.wantServerFiles(claimA, "a", testServer, ca)
			n.wantServerFiles(claimA, "b", testServer, ca)
			n.wantServerFiles(claimB, "", testServer, ca)
		}
		want(first)
		mounted, err := os.OpenRoot(n.driver.store.credentialsPath(claimB, ""))
		n.must(err)
		defer func() { _ = mounted.Close() }()

		n.replaceFile(path, second)
		<-time.After(resyncInterval)
		want(second)
		if got, err := mounted.ReadFile("ca.crt"); err != nil || !bytes.Equal(got, second) {
			t.Errorf("a running container sees %q, error %v", got, err)
		}
		// What can't be used changes nothing.
		for _, bad := range [][]byte{nil, []byte("junk"), certificates(t, maxCASize+1)} {
			n.replaceFile(path, bad)
			<-time.After(resyncInterval)
			want(second)
		}
		n.must(os.Remove(path))
		<-time.After(resyncInterval)
		want(second)

		// A claim that is in use just then is updated a little later.
		n.replaceFile(path, large)
		_, unlock := take(t, n.driver.locks, claimB)
		<-time.After(resyncInterval)
		synctest.Wait()
		n.wantServerFiles(claimA, "a", testServer, large)
		n.wantServerFiles(claimB, "", testServer, second)
		unlock()
		<-time.After(resyncInterval)
		want(large)
	})
}

func TestResync_updatesTheServerOfAllClaims(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		n.wantServerFiles(claimA, "", testServer, []byte("the CA"))
		n.server = APIServer{URL: "https://api.example.com", CA: []byte("another CA")}
		n.restart()
		synctest.Wait()
		n.wantServerFiles(claimA, "", "https://api.example.com", []byte("another CA"))
	})
}

func TestResync_removesAClaimThatEndedAndIsNotUnprepared(t *testing.T) {
	for name, end := range map[string]func(n *node, claim *resourceapi.ResourceClaim){
		"deallocated": func(n *node, claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation = nil
			n.update(claim)
		},
		"allocated again": func(n *node, claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
			n.update(claim)
		},
		"deleted": func(n *node, claim *resourceapi.ResourceClaim) { n.remove(claim) },
		"another one of the name": func(n *node, claim *resourceapi.ResourceClaim) {
			claim.UID = claimB
			n.update(claim)
		},
		"deleted before the plugin started": func(n *node, claim *resourceapi.ResourceClaim) {
			n.driver.Stop()
			n.remove(claim)
			n.start()
		},
		"another one of the name before the plugin started": func(n *node, claim *resourceapi.ResourceClaim) {
			n.driver.Stop()
			n.remove(claim)
			claim.UID = claimB
			n.create(claim)
			n.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				end(n, n.preparedAs(claimA, "a", "b").DeepCopy())
				n.awaitUnprepare()
				n.wantEverything()
				n.resync()
				n.wantNothingLeft()
				n.wantNoTokenRequest("the claim was deallocated")
				n.wantNothingLeft()
			})
		})
	}
}

func TestResync_doesNotTrustAnAPIServerThatDoesNotKnow(t *testing.T) {
	claims := schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}
	for name, err := range map[string]error{
		"no answer":     errors.New("no API server"),
		"not allowed":   apierrors.NewForbidden(claims, "x", nil),
		"not served":    apierrors.NewGenericServerResponse(http.StatusNotFound, "get", claims, "x", "404 page not found", 0, true),
		"too much work": apierrors.NewTooManyRequests("later", 1),
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				n.remove(n.preparedAs(claimA, "a"))
				restore := n.failGet(err)
				n.awaitUnprepare()
				for range 5 {
					n.resync()
				}
				n.wantEverything()
				restore()
				n.resync()
				n.wantNothingLeft()
			})
		})
	}
}

func TestResync_readsNoClaimThatIsWatched(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		synctest.Wait()
		n.client.ClearActions()
		for range 3 {
			n.resync()
		}
		if actions := n.client.Actions(); len(actions) > 0 {
			t.Errorf("the API server was asked: %v", actions)
		}
		n.wantEverything()
	})
}

func TestResync_leavesAClaimThatWasPreparedAgain(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a").DeepCopy()
		claim.Status.Devices = nil
		claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
		claim = n.update(readyFor(t, claim, "account-2"))
		n.resync()
		_, err := prepareClaim(t.Context(), n.driver, claim)
		n.must(err)
		n.awaitTokenRequest("Prepare")
		n.awaitUnprepare()
		n.resync()
		n.wantEverything()
		if m := n.awaitTokenRequest("renewal"); m.account.UID != "account-2" {
			t.Errorf("renewed for %+v", m.account)
		}
	})
}

func TestResync_doesNotDisturbACall(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.remove(n.preparedAs(claimA, "a"))
		_, unlockA := take(t, n.driver.locks, claimA)
		_, unlockB := take(t, n.driver.locks, claimB)
		n.must(n.driver.specs.write(claimB, []specs.Device{specDevice("x")}))
		n.awaitUnprepare()
		n.resync()
		n.wantFiles("claims", 1)
		n.wantFiles("cdi", 2)
		unlockA()
		unlockB()
		n.resync()
		n.wantNothingLeft()
	})
}

func TestResync_removesOrphanedSpecs(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		devices := []specs.Device{specDevice("x")}
		other, err := openCDISpecs("gpu.example.com", filepath.Join(n.dir, "cdi"))
		n.must(err)
		n.must(other.write(claimB, devices))
		n.must(os.WriteFile(filepath.Join(n.dir, "claims", string(claimB)+".txt"), nil, 0o600))
		n.resync()
		keep := n.files()

		n.must(n.driver.specs.write(claimB, devices))
		n.resync()
		if now := n.files(); !slices.Equal(now, keep) {
			t.Errorf("left:\n%q\nwant:\n%q", now, keep)
		}
	})
}

func TestResync_removesAbandonedFiles(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a", "b")
		keep := n.files()
		for _, name := range []string{"claims/.staging/1/2", "claims/.staging/3", "cdi/." + testDriver + "/1/spec.2.tmp"} {
			path := filepath.Join(n.dir, name)
			n.must(os.MkdirAll(filepath.Dir(path), 0o700))
			n.must(os.WriteFile(path, []byte("half"), 0o600))
		}
		n.resync()
		if now := n.files(); !slices.Equal(now, keep) {
			t.Errorf("left:\n%q\nwant:\n%q", now, keep)
		}
	})
}

func TestResync_renewsTokensWithoutTheListOfSpecs(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		dir := filepath.Join(n.dir, "cdi")
		n.must(os.RemoveAll(dir))
		n.must(os.WriteFile(dir, nil, 0o600))
		n.awaitTokenRequest("renewal")
	})
}

func TestResync_repairsMetadataOfAClaimThatItKnows(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		want, err := n.driver.store.get(claimA)
		n.must(err)
		n.truncateMetadata()
		synctest.Wait()
		n.client.ClearActions()
		n.resync()
		if actions := n.client.Actions(); len(actions) > 0 {
			t.Errorf("the API server was asked: %v", actions)
		}
		if got, err := n.driver.store.get(claimA); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, error %v, want %+v", got, err, want)
		}
		n.awaitTokenRequest("renewal")
	})
}

func TestResync_leavesDamagedMetadataToTheKubelet(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a")
		n.driver.Stop()
		n.truncateMetadata()
		n.start()
		n.wantNoTokenRequest("nothing is known of the claim")
		n.wantEverything()
		if got := n.findings(metrics.FoundDamaged); got != 1 {
			t.Errorf("reported %v times, want once", got)
		}
		n.wantRenewedAfterPrepare(claim)

		n.driver.Stop()
		n.truncateMetadata()
		n.start()
		n.wantNoTokenRequest("nothing is known of the claim")
		n.must(unprepareClaim(t.Context(), n.driver, claim.UID))
		n.wantNothingLeft()
	})
}

func TestResync_forgetsTheDamageOfAClaimThatWasRemoved(t *testing.T) {
	for name, remove := range map[string]func(n *node) error{
		"by the kubelet":     func(n *node) error { return unprepareClaim(n.t.Context(), n.driver, claimA) },
		"by another process": func(n *node) error { return n.driver.store.remove(claimA) },
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				n.preparedAs(claimA, "a")
				n.driver.Stop()
				n.truncateMetadata()
				n.start()
				synctest.Wait()
				n.must(remove(n))
				n.resync()
				if _, damaged := n.driver.damaged.Load(claimA); damaged {
					t.Error("the claim is remembered as damaged")
				}
			})
		})
	}
}

func TestResync_importsAndReleasesClaimsOfOtherProcesses(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, claimFor("a"), "account-1"))
		other, err := New(n.driver.Config)
		n.must(err)
		other.Start(t.Context())
		if _, err := prepareClaim(t.Context(), other, claim); err != nil {
			t.Fatal(err)
		}
		n.awaitTokenRequest("the first token")
		other.Stop()
		// The only process left has not prepared the claim.
		n.awaitTokenRequest("a renewal")
		synctest.Wait() // until it has let go of the claim

		n.must(n.driver.store.remove(claim.UID))
		n.resync()
		if c := n.driver.known.get(claim.UID); c != nil {
			t.Error("a claim that was removed is still renewed")
		}
	})
}

func TestResync_importsAnEndedClaimOnce(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		p := preparedClaim{Namespace: "team", Name: "gone", UID: "gone-uid", AllocationID: "x"}
		n.must(n.driver.store.put(p, nil))
		for range 3 {
			n.resync() // the claim does not exist, which the watch finds
		}
		if got := n.findings(metrics.FoundImported); got != 1 {
			t.Errorf("imported %v times, want once", got)
		}
		n.wantNoTokenRequest("the claim is gone")
		n.wantNothingLeft()
	})
}
