// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
)

const (
	lifetime     = time.Hour
	maxExtension = 4 * time.Hour
)

// expiring returns a claim whose space expires after its lifetime and the extension in the annotation.
func expiring(t *testing.T, annotations map[string]string) *resourceapi.ResourceClaim {
	t.Helper()
	c := ready(t, "c", "p")
	c.Annotations = annotations
	a := allocation.FromClaim(c, driver)
	condition, data, err := claimstatus.Read(c, driver, a, a.Results[0])
	if err != nil {
		t.Fatal(err)
	}
	extension, err := time.ParseDuration(cmp.Or(annotations[keys.Extension], "0s"))
	if err != nil {
		extension = 0
	}
	data.ExpirationTimestamp = ptr.To(metav1.NewTime(now.Add(lifetime + min(extension, maxExtension))))
	data.MaxExpirationTimestamp = ptr.To(metav1.NewTime(now.Add(lifetime + maxExtension)))
	if _, err := claimstatus.Apply(c, driver, []claimstatus.Entry{{Result: a.Results[0], Ready: *condition, Data: data}}, metav1.NewTime(now)); err != nil {
		t.Fatal(err)
	}
	return c
}

// extended returns the claim after a patch, as the controller reports it.
func extended(t *testing.T, action clienttesting.Action) *resourceapi.ResourceClaim {
	t.Helper()
	var patch resourceapi.ResourceClaim
	if err := json.Unmarshal(action.(clienttesting.PatchAction).GetPatch(), &patch); err != nil {
		t.Fatal(err)
	}
	return expiring(t, patch.Annotations)
}

func TestExtend_waitsForTheController(t *testing.T) {
	notReady := withCondition(t, allocated(claim("c", driver), "spaces", "p"), spaceapi.ReasonExpired, "too old")
	for name, test := range map[string]struct {
		claim *resourceapi.ResourceClaim
		by    time.Duration
		// react changes the claim after the patch. If nil, the controller extends it.
		react func(*resourceapi.ResourceClaim) *resourceapi.ResourceClaim
		until time.Duration
		err   string
	}{
		"the first extension":       {claim: expiring(t, nil), by: time.Hour, until: 2 * time.Hour},
		"another one":               {claim: expiring(t, map[string]string{keys.Extension: "30m"}), by: time.Hour, until: 150 * time.Minute},
		"the longest one":           {claim: expiring(t, nil), by: 4 * time.Hour, until: 5 * time.Hour},
		"more than the class":       {claim: expiring(t, nil), by: 4*time.Hour + time.Second, err: "its class allows extensions until 2026-03-01T17:00:00Z at most"},
		"no limit":                  {claim: ready(t, "c", "p"), by: time.Hour, err: "the lifetime of ResourceClaim c is not limited"},
		"expired":                   {claim: notReady, by: time.Hour, err: "has no space that is ready (Expired: too old)"},
		"an annotation of the user": {claim: expiring(t, map[string]string{keys.Extension: "x"}), by: time.Hour, err: "is not a duration: remove it"},
		"expires meanwhile": {claim: expiring(t, nil), by: time.Hour, err: "has no space that is ready", react: func(*resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
			return notReady
		}},
		"no controller": {claim: expiring(t, nil), by: time.Hour, err: "the controller has not extended", react: func(c *resourceapi.ResourceClaim) *resourceapi.ResourceClaim { return c }},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(test.claim)
			patches := 0
			client.PrependReactor("patch", "resourceclaims", func(action clienttesting.Action) (bool, runtime.Object, error) {
				patches++
				result := extended(t, action)
				if test.react != nil {
					result = test.react(test.claim)
				}
				return true, result, client.Tracker().Update(resourceapi.SchemeGroupVersion.WithResource("resourceclaims"), result, "team")
			})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if name == "no controller" {
				ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
			}
			defer cancel()
			until, err := (&reader{client: client, driver: driver, namespace: "team"}).extend(ctx, "c", test.by)
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("got error %v, want %q", err, test.err)
			}
			if err == nil && until.Sub(now) != test.until {
				t.Errorf("extended until %s", until)
			}
			if want := map[bool]int{true: 1}[err == nil || test.react != nil]; patches != want {
				t.Errorf("patched the claim %d times, want %d", patches, want)
			}
		})
	}
}

func TestExtend_extendsTheHolder(t *testing.T) {
	for name, test := range map[string]struct {
		claim    *resourceapi.ResourceClaim
		deadline time.Duration
		until    time.Duration
		patched  []string
	}{
		"that ends before its space":               {expiring(t, nil), 30 * time.Minute, 45 * time.Minute, []string{"jobs"}},
		"that ends before its space, and then not": {expiring(t, nil), 55 * time.Minute, 70 * time.Minute, []string{"resourceclaims", "jobs"}},
		"that ends after its space":                {expiring(t, nil), 2 * time.Hour, 75 * time.Minute, []string{"resourceclaims"}},
		"of a space without a limit":               {ready(t, "c", "p"), time.Hour, 75 * time.Minute, []string{"jobs"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.claim.Labels = map[string]string{driver + "/holder": "true"}
			test.claim.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: "c", UID: "job"}}
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "c", UID: "job"}}
			job.Spec.ActiveDeadlineSeconds, job.Status.StartTime = ptr.To(int64(test.deadline.Seconds())), ptr.To(metav1.NewTime(now))
			client := fake.NewClientset(test.claim, job)
			var patched []string
			client.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
				patched = append(patched, action.GetResource().Resource)
				if action.GetResource().Resource != "resourceclaims" {
					return false, nil, nil
				}
				result := extended(t, action)
				return true, result, client.Tracker().Update(action.GetResource(), result, "team")
			})
			until, err := (&reader{client: client, driver: driver, namespace: "team"}).extend(t.Context(), "c", 15*time.Minute)
			if err != nil || until.Sub(now) != test.until {
				t.Fatalf("extended until %s, error %v", until, err)
			}
			if strings.Join(patched, " ") != strings.Join(test.patched, " ") {
				t.Errorf("patched %q, want %q", patched, test.patched)
			}
			job, err = client.BatchV1().Jobs("team").Get(t.Context(), "c", metav1.GetOptions{})
			if want := max(test.deadline, test.until); err != nil || *job.Spec.ActiveDeadlineSeconds != int64(want.Seconds()) {
				t.Errorf("the deadline of the Job is %d, error %v, want %s", *job.Spec.ActiveDeadlineSeconds, err, want)
			}
		})
	}
}

func TestExtend_rejectsDurations(t *testing.T) {
	for _, duration := range []string{"soon", "0s", "1", "999ms"} {
		if _, errOut, code := run(t, "kubectl-space", serve(t, nil), "extend", "c", duration); code != 1 || !strings.Contains(errOut, "is not a duration of at least one second") {
			t.Errorf("%s: exit code %d, %q", duration, code, errOut)
		}
	}
}
