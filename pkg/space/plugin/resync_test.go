// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"tags.cncf.io/container-device-interface/specs-go"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
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

		// A rotation begins with a bundle of both certificates. Some organizations have 60 KiB.
		for _, bundle := range [][]byte{slices.Concat(first, second), certificates(t, 60<<10), second} {
			n.replaceFile(path, bundle)
			<-time.After(resyncInterval)
			want(bundle)
		}
		if got, err := mounted.ReadFile("ca.crt"); err != nil || !bytes.Equal(got, second) {
			t.Errorf("a running container reads %q, error %v", got, err)
		}
		// Invalid files are ignored.
		for _, bad := range [][]byte{nil, []byte("junk"), certificates(t, maxCASize+1)} {
			n.replaceFile(path, bad)
			<-time.After(resyncInterval)
			want(second)
		}
		n.must(os.Remove(path))
		<-time.After(resyncInterval)
		want(second)

		// A claim that is locked is updated by the next resync.
		n.replaceFile(path, large)
		_, unlock := mustLock(t, n.driver.locks, claimB)
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
		claim := n.create(readyFor(t, withClaimConfig(claimFor("a"), `,"inCluster":true`), "account-1"))
		devices, err := prepareClaim(t.Context(), n.driver, claim)
		n.must(err)
		want := func(host string, ca string) {
			t.Helper()
			synctest.Wait()
			n.wantServerFiles(claim.UID, "", "https://"+host, []byte(ca))
			// The kubelet does not call Prepare again for new pods of the claim.
			env := n.containerEdits(devices[0].CDIDeviceIDs[0]).Env
			if !slices.Contains(env, "KUBERNETES_SERVICE_HOST="+host) || !slices.Contains(env, "TEST_CLAIM_CLUSTER=https://"+host) {
				t.Errorf("new containers have %q, want server %s", env, host)
			}
		}
		n.server = APIServer{URL: "https://api.example.com", CA: []byte("another CA")}
		n.restart()
		want("api.example.com", "another CA")
		n.server = APIServer{URL: "https://api2.example.com", CA: []byte("another CA")}
		n.restart()
		want("api2.example.com", "another CA")

		// Without a change, runtimes must not read the spec again.
		path := n.driver.specs.path(claim.UID)
		before, err := os.Stat(path)
		n.must(err)
		n.restart()
		want("api2.example.com", "another CA")
		if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("the spec was replaced without a change, error %v", err)
		}
	})
}

func TestResync_removesDeallocatedClaims(t *testing.T) {
	for name, end := range map[string]func(n *node, claim *resourceapi.ResourceClaim){
		"deallocated": func(n *node, claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation = nil
			n.update(claim)
		},
		"deleted": func(n *node, claim *resourceapi.ResourceClaim) { n.remove(claim) },
		"recreated": func(n *node, claim *resourceapi.ResourceClaim) {
			claim.UID = claimB
			n.update(claim)
		},
		"deleted before the plugin started": func(n *node, claim *resourceapi.ResourceClaim) {
			n.driver.Stop()
			n.remove(claim)
			n.start()
		},
		"recreated before the plugin started": func(n *node, claim *resourceapi.ResourceClaim) {
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
				n.wantAllFiles()
				n.resync()
				n.wantNoFiles()
				n.wantNoTokenRequest("the claim was deallocated")
				n.wantNoFiles()
			})
		})
	}
}

func TestResync_keepsDeallocatedClaimsAfterAnError(t *testing.T) {
	claims := schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}
	for name, err := range map[string]error{
		"unavailable": errors.New("no API server"),
		"forbidden":   apierrors.NewForbidden(claims, "x", nil),
		"not served":  apierrors.NewGenericServerResponse(http.StatusNotFound, "get", claims, "x", "404 page not found", 0, true),
		"overloaded":  apierrors.NewTooManyRequests("later", 1),
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				n.remove(n.preparedAs(claimA, "a"))
				restore := n.failGet(err)
				n.awaitUnprepare()
				for range 5 {
					n.resync()
				}
				n.wantAllFiles()
				restore()
				n.resync()
				n.wantNoFiles()
			})
		})
	}
}

func TestResync_doesNotReadWatchedClaims(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		synctest.Wait()
		n.client.ClearActions()
		for range 3 {
			n.resync()
		}
		if actions := n.client.Actions(); len(actions) > 0 {
			t.Errorf("got requests %v", actions)
		}
		n.wantAllFiles()
	})
}

// allocatedAgain returns a claim with another allocation, whose spaces are not ready yet.
func allocatedAgain(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
	claim = claim.DeepCopy()
	claim.Status.Devices = nil
	for i := range claim.Status.Allocation.Devices.Results {
		result := &claim.Status.Allocation.Devices.Results[i]
		result.ShareID = ptr.To("new-" + *result.ShareID)
	}
	return claim
}

func TestResync_preparesANewAllocation(t *testing.T) {
	for name, requests := range map[string][]string{"one space": {"a"}, "two spaces": {"a", "b"}} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.create(readyFor(t, claimFor(requests...), "account-1"))
				devices, err := prepareClaim(t.Context(), n.driver, claim)
				n.must(err)
				earlier := n.driver.tracked.get(claim.UID).prepared.Spaces
				var mounted []*os.Root
				for _, space := range earlier {
					n.awaitTokenRequest("Prepare")
					root, err := os.OpenRoot(n.driver.store.credentialsPath(claim.UID, space.Subdir))
					n.must(err)
					defer func() { _ = root.Close() }()
					mounted = append(mounted, root)
				}
				synctest.Wait()

				deallocated := claim.DeepCopy()
				deallocated.Status = resourceapi.ResourceClaimStatus{}
				n.update(deallocated)
				claim = n.update(allocatedAgain(claim))
				n.wantNoTokenRequest("the new spaces are not ready yet")
				n.wantAllFiles()

				claim = n.update(readyFor(t, claim, "account-2"))
				tokens := map[string]bool{}
				for range requests {
					m := n.awaitTokenRequest("the new allocation")
					tokens[m.value] = m.account.UID == "account-2"
				}
				synctest.Wait()
				now := n.driver.tracked.get(claim.UID).prepared.Spaces
				for i, root := range mounted {
					namespace, err := root.ReadFile("namespace")
					if err != nil || string(namespace) != now[i].Namespace || now[i].Namespace == earlier[i].Namespace {
						t.Errorf("containers read namespace %q, error %v, of %+v", namespace, err, now)
					}
					if token, err := root.ReadFile("token"); err != nil || !tokens[string(token)] {
						t.Errorf("containers read token %q, error %v, of %v", token, err, tokens)
					}
					// The kubelet remembers the devices.
					env := n.containerEdits(devices[i].CDIDeviceIDs[0]).Env
					if !slices.ContainsFunc(env, func(e string) bool { return strings.HasSuffix(e, "_NAMESPACE="+now[i].Namespace) }) {
						t.Errorf("new containers have variables %q, want namespace %s", env, now[i].Namespace)
					}
				}
				if e, _ := n.awaitEvent(); !strings.Contains(e, spaceapi.ReasonCredentialsReplaced) || !strings.Contains(e, now[0].Namespace) {
					t.Errorf("got event %q", e)
				}
				n.awaitTokenRequest("renewal")

				// The devices are the same in another process, and after another Prepare.
				n.restart()
				again, err := prepareClaim(t.Context(), n.driver, claim)
				n.must(err)
				for i := range devices {
					if got, want := again[i].CDIDeviceIDs, devices[i].CDIDeviceIDs; !slices.Equal(got, want) {
						t.Errorf("the devices are now %q, want %q", got, want)
					}
				}
				n.must(unprepareClaim(t.Context(), n.driver, claim.UID))
				n.wantNoFiles()
			})
		})
	}
}

func TestResync_preparesANewAllocationAfterARestart(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a")
		n.driver.Stop()
		claim = n.update(readyFor(t, allocatedAgain(claim), "account-2"))
		n.start()
		if m := n.awaitTokenRequest("the new allocation"); m.account.UID != "account-2" {
			t.Errorf("requested for %+v", m.account)
		}
		n.wantToken(claim, "", "token-2")
	})
}

// The pods of the new allocation may be on other nodes, or the controller has not recorded this
// node yet.
func TestResync_keepsANewAllocationWithoutTokens(t *testing.T) {
	for name, failure := range map[string]error{"not used on this node": errNodeNotRecorded, "no API server": errors.New("no API server")} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.preparedAs(claimA, "a")
				requests := 0
				n.requester.intercept(func(context.Context, token.Account) error {
					requests++
					return failure
				})
				claim = n.update(readyFor(t, allocatedAgain(claim), "account-2"))
				const during = 10 * time.Minute
				<-time.After(during)
				n.wantAllFiles()
				if limit := int(during/lastRetry) + 10; requests < 2 || requests > limit {
					t.Errorf("got %d requests within %s, want at most %d", requests, during, limit)
				}
				n.requester.intercept(nil)
				if m := n.awaitTokenRequest("tokens are allowed"); m.account.UID != "account-2" {
					t.Errorf("requested for %+v", m.account)
				}
				n.wantToken(claim, "", "token-2")

				n.remove(claim)
				n.awaitUnprepare()
				n.resync()
				n.wantNoFiles()
			})
		})
	}
}

func TestResync_rejectsANewAllocationWithOtherDevices(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a")
		before := n.files()
		claim = allocatedAgain(claim)
		result := claim.Status.Allocation.Devices.Results[0]
		result.ShareID = ptr.To(types.UID("second"))
		claim.Status.Allocation.Devices.Results = append(claim.Status.Allocation.Devices.Results, result)
		claim = n.update(readyFor(t, claim, "account-2"))
		if e, _ := n.awaitEvent(); !strings.Contains(e, spaceapi.ReasonTokenRenewalFailed) || !strings.Contains(e, "delete the pods") {
			t.Errorf("got event %q", e)
		}
		if now := n.files(); !slices.Equal(now, before) {
			t.Errorf("got files\n%q\nwant\n%q", now, before)
		}
		n.must(unprepareClaim(t.Context(), n.driver, claim.UID))
		n.wantNoFiles()
	})
}

func TestResync_renewsARestoredClaim(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a")
		n.remove(claim)
		n.awaitUnprepare()
		n.create(claim)
		n.awaitTokenRequest("the claim exists again")
		n.wantAllFiles()
		n.awaitTokenRequest("renewal")
	})
}

func TestResync_recreatesRemovedCredentials(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a", "b")
		n.must(os.RemoveAll(filepath.Dir(n.driver.store.credentialsPath(claimA, "a"))))
		n.resync()
		for _, subdir := range []string{"a", "b"} {
			m := n.awaitTokenRequest("the token was removed")
			n.wantServerFiles(claimA, subdir, testServer, []byte("the CA"))
			if got := n.tokenIn(claim, "a"); got != m.value && n.tokenIn(claim, "b") != m.value {
				t.Errorf("no container reads token %q", m.value)
			}
		}
		n.awaitTokenRequest("renewal")
	})
}

func TestResync_recreatesRemovedDirectories(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a", "b")
		files := n.files()
		n.must(os.RemoveAll(filepath.Join(n.dir, "claims")))
		n.resync()
		n.resync()
		if now := n.files(); !slices.Equal(now, files) {
			t.Errorf("got files\n%q\nwant\n%q", now, files)
		}
		tokens := []string{n.awaitTokenRequest("its files were removed").value, n.awaitTokenRequest("its files were removed").value}
		slices.Sort(tokens)
		if now := slices.Sorted(slices.Values([]string{n.tokenIn(claim, "a"), n.tokenIn(claim, "b")})); !slices.Equal(now, tokens) {
			t.Errorf("containers read %q, want %q", now, tokens)
		}
		if e, _ := n.awaitEvent(); !strings.Contains(e, spaceapi.ReasonCredentialsReplaced) {
			t.Errorf("got event %q", e)
		}
		n.awaitTokenRequest("renewal")
	})
}

func TestResync_recreatesARemovedSpec(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, claimFor("a"), "account-1"))
		devices, err := prepareClaim(t.Context(), n.driver, claim)
		n.must(err)
		n.restart()
		synctest.Wait()
		before := n.containerEdits(devices[0].CDIDeviceIDs[0])
		n.must(os.RemoveAll(filepath.Join(n.dir, "cdi")))
		n.resync()
		n.resync()
		n.resync()
		if now := n.containerEdits(devices[0].CDIDeviceIDs[0]); !reflect.DeepEqual(now, before) {
			t.Errorf("got edits %+v, want %+v", now, before)
		}
	})
}

func TestUnprepare_succeedsWithoutDirectories(t *testing.T) {
	for _, dir := range []string{"claims", "cdi", "claims/.staging", "cdi/." + testDriver, "."} {
		t.Run(dir, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.prepared("a")
				n.must(os.RemoveAll(filepath.Join(n.dir, dir)))
				n.must(unprepareClaim(t.Context(), n.driver, claim.UID))
				n.resync()
				n.wantNoFiles()
				n.wantRenewedAfterPrepare(claim)
				n.wantAllFiles()
			})
		})
	}
}

func TestResync_waitsForACall(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.remove(n.preparedAs(claimA, "a"))
		_, unlockA := mustLock(t, n.driver.locks, claimA)
		_, unlockB := mustLock(t, n.driver.locks, claimB)
		n.must(n.driver.specs.write(claimB, []specs.Device{specDevice("x")}))
		n.awaitUnprepare()
		n.resync()
		n.wantFiles("claims", 1)
		n.wantFiles("cdi", 2)
		unlockA()
		unlockB()
		n.resync()
		n.wantNoFiles()
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
			t.Errorf("got files\n%q\nwant\n%q", now, keep)
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
			t.Errorf("got files\n%q\nwant\n%q", now, keep)
		}
	})
}

func TestResync_renewsTokensIfSpecsCannotBeListed(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		dir := filepath.Join(n.dir, "cdi")
		n.must(os.RemoveAll(dir))
		n.must(os.WriteFile(dir, nil, 0o600))
		n.awaitTokenRequest("renewal")
	})
}

func TestResync_restoresDamagedMetadata(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		want, err := n.driver.store.get(claimA)
		n.must(err)
		n.truncateMetadata()
		synctest.Wait()
		n.client.ClearActions()
		n.resync()
		if actions := n.client.Actions(); len(actions) > 0 {
			t.Errorf("got requests %v", actions)
		}
		if got, err := n.driver.store.get(claimA); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, error %v, want %+v", got, err, want)
		}
		n.awaitTokenRequest("renewal")
	})
}

func TestResync_doesNotRenewWithDamagedMetadata(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a")
		n.driver.Stop()
		n.truncateMetadata()
		n.start()
		n.wantNoTokenRequest("the metadata is damaged")
		n.wantAllFiles()
		if got := n.findings(metrics.DamagedMetadata); got != 1 {
			t.Errorf("reported %v times, want once", got)
		}
		n.wantRenewedAfterPrepare(claim)

		n.driver.Stop()
		n.truncateMetadata()
		n.start()
		n.wantNoTokenRequest("the metadata is damaged")
		n.must(unprepareClaim(t.Context(), n.driver, claim.UID))
		n.wantNoFiles()
	})
}

func TestResync_untracksRemovedDamagedClaims(t *testing.T) {
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
					t.Error("the claim is still recorded as damaged")
				}
			})
		})
	}
}

func TestResync_importsAndReleasesClaims(t *testing.T) {
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
		// The process that prepared the claim has stopped.
		n.awaitTokenRequest("a renewal")
		synctest.Wait() // until it has unlocked the claim

		_, err = n.driver.specs.remove(claim.UID)
		n.must(errors.Join(err, n.driver.store.remove(claim.UID)))
		n.resync()
		if c := n.driver.tracked.get(claim.UID); c != nil {
			t.Error("a claim that was removed is still renewed")
		}
	})
}

func TestResync_importsADeallocatedClaimOnce(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		p := preparedClaim{Namespace: "team", Name: "deleted", UID: "deleted-uid", AllocationID: "x"}
		n.must(n.driver.store.put(p, nil))
		for range 3 {
			n.resync() // The watch finds that the claim does not exist.
		}
		if got := n.findings(metrics.UntrackedClaim); got != 1 {
			t.Errorf("imported %v times, want once", got)
		}
		n.wantNoTokenRequest("the claim does not exist")
		n.wantNoFiles()
	})
}
