// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
)

const head = `<!-- Made by make generate of the comments in ` + source + `. Do not edit. -->

# Events and conditions

What the driver says about spaces, and what to do about it. Where to look:

| of | command | has |
|---|---|---|
| a pod | ` + "`kubectl describe pod NAME`" + ` | why it has no space, or has it no longer. While it waits, also the kubelet's ` + "`FailedPrepareDynamicResources`" + `, with the same words |
| a claim | ` + "`kubectl describe resourceclaim NAME`" + ` | everything, from the first event to the last |
| a claim that has gone | ` + "`kubectl events --for resourceclaim/NAME`" + ` | how its space ended, for as long as the cluster keeps events (an hour, as a rule) |
| a namespace of a space | ` + "`kubectl describe namespace NAME`" + ` | whom it serves, in annotations that begin with the driver's name: ` + "`claim-namespace` and `claim-name`" + `; and why it is still there. Events about namespaces are in the namespace ` + "`default`" + ` |

The condition ` + "`Ready`" + ` is in ` + "`status.devices`" + ` of the claim, for each space. Its reason and message are those of the event. With binding
conditions, ` + "`Failed`" + ` repeats them when the scheduler is to try another allocation.

The controller says nothing twice as long as nothing changes, but for what goes on failing to end. client-go, by which events are
written, puts the same event about the same object together to one with a count, and so it does from the 10th on within ten minutes
with those that differ in their message only. About one object a component writes 25 events of a type at once, and then one
every 5 minutes; others are dropped. So a count is a hint, not a number.
Nobody waits for an event to be written, and an event that can't be written costs nothing but the event: conditions, metrics and logs have
what matters. No event has a token in it.

Each is provoked by a test on a real API server. The letters say where: I and N on a control plane, with the shipped controller and with the
shipped plugin besides, E on a cluster. Tests without a letter are unit tests.

| Reason | Event | On | Condition ` + "`Ready`" + ` | Shown by |
|---|---|---|---|---|
`

// shownBy names the tests that provoke each reason.
func shownBy() map[string]string {
	return map[string]string{
		"Provisioned":          "I `TestWhatGoesWrongWithASpaceIsSaidInEvents`",
		"ProvisioningFailed":   "I `TestWhatGoesWrongWithASpaceIsSaidInEvents`, `TestReconcileAllocation_reportsWhyASpaceIsNotProvisioned`",
		"InvalidParameters":    "E `TestParametersThatAreNotAllowedAreRefusedInTheSameWordsEverywhere`",
		"NameConflict":         "I `TestTheController`, `TestReconcileAllocation_reportsWhyASpaceIsNotProvisioned`",
		"NamespaceTerminating": "I `TestWhatGoesWrongWithASpaceIsSaidInEvents`, `TestReconcileAllocation_reportsWhyASpaceIsNotProvisioned`",
		"Expired":              "I `TestTheLifeOfASpace`, E `TestAPodIsToldThatItsSpaceHasExpired`",
		"Repaired":             "E `TestADeletedServiceAccountIsMadeAgainAndPodsGetANewToken`",
		"Deleted":              "I `TestWhatGoesWrongWithASpaceIsSaidInEvents`",
		"DeletionFailed":       "I `TestWhatGoesWrongWithASpaceIsSaidInEvents`, `TestDeprovision_revokesBeforeItDeletes`",
		"Retained":             "I `TestTheLifeOfASpace`, `TestDeprovision_retainsTheNamespaceWithoutCredentials`",
		"StuckTerminating":     "I `TestTheLifeOfASpace`",
		"RenewalFailing":       "N `TestARenewalThatGoesOnFailingIsSaidInAnEvent`, `TestUsersHearOfARenewalThatGoesOnFailing`",
	}
}

// generate writes the page about the constants in a file.
func generate(file string) ([]byte, error) {
	all, err := reasons(file)
	if err != nil {
		return nil, err
	}
	tests := shownBy()
	var out bytes.Buffer
	fmt.Fprint(&out, head)
	for _, r := range all {
		if tests[r.name] == "" {
			return nil, fmt.Errorf("no test is named for %s", r.name)
		}
		fmt.Fprintf(&out, "| [%s](#%s) | %s | %s | %s | %s |\n", r.name, bytes.ToLower([]byte(r.name)), r.kind, r.on, cmp.Or(r.ready, "as it was"), tests[r.name])
		delete(tests, r.name)
	}
	if len(tests) > 0 {
		return nil, fmt.Errorf("tests are named for %v, which are no reasons", slices.Sorted(maps.Keys(tests)))
	}
	for _, r := range all {
		fmt.Fprintf(&out, "\n## %s\n\n* Cause: %s\n* Remedy: %s\n", r.name, r.meaning, r.remedy)
	}
	return out.Bytes(), nil
}
