// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package availability checks whether a pod's credentials worked at all times, but for
// outages of the API server.
package availability

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// slack is how long after an outage an attempt may begin and still fail: a connection
	// is made, and the API server fills its caches.
	slack = 5 * time.Second
	// maxGap is how long an attempt may take: a pod's timeout, the second between attempts,
	// and the delay of a busy machine. A pod that lost its container would be silent for good.
	maxGap = time.Minute
)

// Outage is a time in which the API server did not answer.
type Outage struct {
	Begin, End time.Time
}

// timeouts are in the messages of a client that got no answer in time. Nothing of the
// driver is between a pod and the API server: such an attempt is a sign of a busy machine,
// and says nothing about the pod's space. A refusal does, and so does an invalid certificate.
var timeouts = []string{"deadline exceeded", "Client.Timeout", "i/o timeout", "handshake timeout", "request canceled"}

// Attempt is one request of a pod.
type Attempt struct {
	begin, end time.Time
	// failure is kubectl's error, or empty.
	failure string
}

// Unanswered reports whether the attempt got no answer in time.
func (a Attempt) Unanswered() bool {
	return slices.ContainsFunc(timeouts, func(words string) bool { return strings.Contains(a.failure, words) })
}

// Result counts the attempts of a pod.
type Result struct {
	Attempts int
	// Failed attempts are all. Of these, Excused are those in an outage, and Unanswered
	// those besides that got no answer in time.
	Failed, Excused, Unanswered int
	// Longest is the longest time without a successful attempt.
	Longest time.Duration
	faults  []string
}

// Err is what the outages do not explain, or nil.
func (r Result) Err() error {
	if len(r.faults) == 0 {
		return nil
	}
	const enough = 5
	return fmt.Errorf("%s; %d faults: %s", r, len(r.faults), strings.Join(r.faults[:min(enough, len(r.faults))], "; "))
}

func (r Result) String() string {
	return fmt.Sprintf("%d attempts, %d failed, of these %d in an outage and %d without an answer in time; longest time without success: %s",
		r.Attempts, r.Failed, r.Excused, r.Unanswered, r.Longest.Round(time.Second))
}

// Parse reads the log of a pod. A line has the time at which the runtime got it, the time
// at which the attempt began, and its result.
func Parse(log string) ([]Attempt, error) {
	var attempts []Attempt
	for line := range strings.Lines(log) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(fields) < 3 {
			return nil, fmt.Errorf("the line %q is cut off", line)
		}
		end, err := time.Parse(time.RFC3339Nano, fields[0])
		if err != nil {
			return nil, fmt.Errorf("the line %q has no time: %w", line, err)
		}
		begin, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the line %q has no time of its beginning: %w", line, err)
		}
		a := Attempt{begin: time.Unix(begin, 0), end: end}
		switch {
		case fields[2] == "ok":
		case fields[2] == "failed" && len(fields) == 4:
			a.failure = fields[3]
		case fields[2] == "failed":
			a.failure = "without a reason"
		default:
			return nil, fmt.Errorf("the line %q has neither ok nor failed", line)
		}
		attempts = append(attempts, a)
	}
	if len(attempts) == 0 {
		return nil, errors.New("there was no attempt")
	}
	return attempts, nil
}

// Check finds the failures that no outage explains.
func Check(attempts []Attempt, outages []Outage) Result {
	r := Result{Attempts: len(attempts)}
	good, before := attempts[0].begin, attempts[0].end
	for _, a := range attempts {
		if gap := a.end.Sub(before); gap > maxGap {
			r.faults = append(r.faults, fmt.Sprintf("no attempt for %s before %s", gap.Round(time.Second), clockTime(a.end)))
		}
		before = a.end
		r.Longest = max(r.Longest, a.end.Sub(good))
		if a.failure == "" {
			good = a.end
			continue
		}
		r.Failed++
		switch {
		case slices.ContainsFunc(outages, a.in):
			r.Excused++
		case a.Unanswered():
			r.Unanswered++
		default:
			r.faults = append(r.faults, fmt.Sprintf("%s to %s: %s", clockTime(a.begin), clockTime(a.end), a.failure))
		}
	}
	if last := attempts[len(attempts)-1]; last.failure != "" {
		r.faults = append(r.faults, "the last attempt failed: "+last.failure)
	}
	return r
}

// in reports whether the attempt was under way in an outage or the slack after it.
func (a Attempt) in(o Outage) bool {
	return !a.end.Before(o.Begin) && !a.begin.After(o.End.Add(slack))
}

func clockTime(t time.Time) string { return t.UTC().Format("15:04:05.000") }
