// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package availability checks whether a pod's credentials worked at all times, except during outages
// of the API server and the time that the driver may take to replace credentials.
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
	// slack is how long after an outage an attempt may begin and still fail: the client reconnects,
	// and the API server fills its caches.
	slack = 5 * time.Second
	// maxGap is how long an attempt may take: a pod's timeout, the second between attempts,
	// and the delay of a busy machine. Without a limit, a pod whose container was lost would pass.
	maxGap = time.Minute
	// recoveryTime is how long credentials may be invalid after a disruption while the API server is
	// up.
	recoveryTime = time.Minute
)

// Outage is a time in which the API server did not run.
type Outage struct {
	Begin, End time.Time
}

// timeouts are in the messages of clients that time out. The driver does not proxy requests of pods:
// a timeout is a sign of a busy machine, and not of a fault of the space, unlike a denied request or
// an invalid certificate.
var timeouts = []string{"deadline exceeded", "Client.Timeout", "i/o timeout", "handshake timeout", "request canceled"}

// Attempt is one request of a pod.
type Attempt struct {
	begin, end time.Time
	// failure is kubectl's error, or empty.
	failure string
}

// Begin is when the attempt began.
func (a Attempt) Begin() time.Time { return a.begin }

// Worked reports whether the attempt was successful.
func (a Attempt) Worked() bool { return a.failure == "" }

// timedOut reports whether the attempt timed out.
func (a Attempt) timedOut() bool {
	return slices.ContainsFunc(timeouts, func(words string) bool { return strings.Contains(a.failure, words) })
}

// Result counts the attempts of a pod.
type Result struct {
	Attempts int
	// Failed counts all failed attempts. Of these, InOutage were in an outage, Disrupted soon after a
	// disruption, and TimedOut are other attempts that timed out.
	Failed, InOutage, Disrupted, TimedOut int
	// Longest is the longest time without a successful attempt, and LongestUp the longest such time
	// without the outages.
	Longest, LongestUp time.Duration
	faults             []string
}

// Err returns an error about the failures that no outage and no disruption explains, or nil.
func (r Result) Err() error {
	if len(r.faults) == 0 {
		return nil
	}
	const enough = 5
	return fmt.Errorf("%s; %d faults: %s", r, len(r.faults), strings.Join(r.faults[:min(enough, len(r.faults))], "; "))
}

func (r Result) String() string {
	return fmt.Sprintf("%d attempts, %d failed, of these %d in an outage, %d after a disruption, and %d timed out; longest time without success: %s, without outages: %s",
		r.Attempts, r.Failed, r.InOutage, r.Disrupted, r.TimedOut, r.Longest.Round(time.Second), r.LongestUp.Round(time.Second))
}

// Parse reads the log of a pod. A line has the time at which the runtime got it, the time
// at which the attempt began, and its result.
func Parse(log string) ([]Attempt, error) {
	var attempts []Attempt
	for line := range strings.Lines(log) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(fields) < 3 {
			return nil, fmt.Errorf("the line %q is truncated", line)
		}
		end, err := time.Parse(time.RFC3339Nano, fields[0])
		if err != nil {
			return nil, fmt.Errorf("the line %q has no time: %w", line, err)
		}
		begin, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the line %q has no start time: %w", line, err)
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

// Check finds the failures that no outage and no disruption explains. A disruption makes the
// credentials invalid.
func Check(attempts []Attempt, outages []Outage, disruptions []time.Time) Result {
	r := Result{Attempts: len(attempts)}
	good, before := attempts[0].begin, attempts[0].end
	for _, a := range attempts {
		if gap := a.end.Sub(before); gap > maxGap {
			r.faults = append(r.faults, fmt.Sprintf("no attempt for %s before %s", gap.Round(time.Second), clockTime(a.end)))
		}
		before = a.end
		without := uptime(good, a.end, outages)
		r.Longest, r.LongestUp = max(r.Longest, a.end.Sub(good)), max(r.LongestUp, without)
		if a.Worked() {
			good = a.end
			continue
		}
		r.Failed++
		switch {
		case slices.ContainsFunc(outages, a.in):
			r.InOutage++
		case without <= recoveryTime && slices.ContainsFunc(disruptions, func(d time.Time) bool {
			return !a.end.Before(d) && uptime(d, a.begin, outages) <= recoveryTime
		}):
			r.Disrupted++
		case a.timedOut():
			r.TimedOut++
		default:
			r.faults = append(r.faults, fmt.Sprintf("%s to %s: %s", clockTime(a.begin), clockTime(a.end), a.failure))
		}
	}
	if last := attempts[len(attempts)-1]; last.failure != "" {
		r.faults = append(r.faults, "the last attempt failed: "+last.failure)
	}
	return r
}

// in reports whether the attempt was in progress in an outage or the slack after it.
func (a Attempt) in(o Outage) bool {
	return !a.end.Before(o.Begin) && !a.begin.After(o.End.Add(slack))
}

// uptime returns the time between two times, without outages and the slack after them.
func uptime(from, to time.Time, outages []Outage) time.Duration {
	up := to.Sub(from)
	for _, o := range outages {
		begin, end := o.Begin, o.End.Add(slack)
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		up -= max(0, end.Sub(begin))
	}
	return up
}

func clockTime(t time.Time) string { return t.UTC().Format("15:04:05.000") }
