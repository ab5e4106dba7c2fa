// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// Slack is how long after an outage an attempt may still fail that was begun
	// then: a connection is made, and what the API server caches is read.
	Slack = 5 * time.Second
	// maxGap is how long an attempt may take: what a pod would wait for an answer,
	// the second that it lets pass, and what a busy machine adds. A pod that lost its
	// container would be silent for good.
	maxGap = time.Minute
)

// late are the words of a client that got no answer in time. Nothing of the driver
// is between a pod and the API server: such an attempt tells of a busy machine, and
// not of the pod's space. A refusal does, and so does a certificate that does not fit.
var late = []string{"deadline exceeded", "Client.Timeout", "i/o timeout", "handshake timeout", "request canceled"}

// attempt is one request of a standing pod.
type attempt struct {
	begin, end time.Time
	// failure is what kubectl said, or empty.
	failure string
}

// Verdict is what a standing pod has seen.
type Verdict struct {
	Pod      string
	Attempts int
	// Failed attempts are all, Excused those that an outage explains, and Late
	// those without an answer in time, besides.
	Failed, Excused, Late int
	// Longest is the longest time without a successful attempt.
	Longest time.Duration
	faults  []string
}

// Err is what the outages do not explain, or nil.
func (v Verdict) Err() error {
	if len(v.faults) == 0 {
		return nil
	}
	const enough = 5
	shown := v.faults[:min(enough, len(v.faults))]
	return fmt.Errorf("pod %s: %d of %d attempts failed, %d of them because of an outage, %d without an answer in time; what else was wrong (%d times): %s",
		v.Pod, v.Failed, v.Attempts, v.Excused, v.Late, len(v.faults), strings.Join(shown, "; "))
}

func (v Verdict) String() string {
	return fmt.Sprintf("pod %s: %d attempts, %d failed, %d of them in an outage and %d for want of an answer in time, at longest without success for %s",
		v.Pod, v.Attempts, v.Failed, v.Excused, v.Late, v.Longest.Round(time.Second))
}

// parse reads the log of a standing pod: the runtime's time of the line, when the
// attempt was begun, and what came of it.
func parse(log string) ([]attempt, error) {
	var attempts []attempt
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
			return nil, fmt.Errorf("the line %q does not say when it was begun: %w", line, err)
		}
		a := attempt{begin: time.Unix(begin, 0), end: end}
		switch {
		case fields[2] == "ok":
		case fields[2] == "failed" && len(fields) == 4:
			a.failure = fields[3]
		case fields[2] == "failed":
			a.failure = "without a reason"
		default:
			return nil, fmt.Errorf("the line %q says neither ok nor failed", line)
		}
		attempts = append(attempts, a)
	}
	if len(attempts) == 0 {
		return nil, errors.New("it has never asked")
	}
	return attempts, nil
}

// judge finds the failures that no outage explains.
func judge(pod string, attempts []attempt, outages []Outage) Verdict {
	v := Verdict{Pod: pod, Attempts: len(attempts)}
	good, before := attempts[0].begin, attempts[0].end
	for _, a := range attempts {
		if gap := a.end.Sub(before); gap > maxGap {
			v.faults = append(v.faults, fmt.Sprintf("for %s before %s it did not ask", gap.Round(time.Second), clockTime(a.end)))
		}
		before = a.end
		v.Longest = max(v.Longest, a.end.Sub(good))
		if a.failure == "" {
			good = a.end
			continue
		}
		v.Failed++
		if excused(a, outages) {
			v.Excused++
			continue
		}
		if inVain(a) {
			v.Late++
			continue
		}
		v.faults = append(v.faults, fmt.Sprintf("%s to %s: %s", clockTime(a.begin), clockTime(a.end), a.failure))
	}
	if last := attempts[len(attempts)-1]; last.failure != "" {
		v.faults = append(v.faults, "the last attempt failed: "+last.failure)
	}
	return v
}

// excused says whether an attempt was under way in an outage or the slack after it.
func excused(a attempt, outages []Outage) bool {
	for _, o := range outages {
		if !a.end.Before(o.Begin) && !a.begin.After(o.End.Add(Slack)) {
			return true
		}
	}
	return false
}

// inVain says whether an attempt had no answer in time.
func inVain(a attempt) bool {
	return slices.ContainsFunc(late, func(words string) bool { return strings.Contains(a.failure, words) })
}

func clockTime(t time.Time) string { return t.UTC().Format("15:04:05.000") }
