// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package availability

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// at returns a time by its seconds.
func at(seconds float64) time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

func TestCheck_findsFailuresOutsideOfOutages(t *testing.T) {
	outages := []Outage{{Begin: at(10), End: at(14)}, {Begin: at(40), End: at(41)}}
	ok := func(begin, end float64) Attempt { return Attempt{begin: at(begin), end: at(end)} }
	failed := func(begin, end float64) Attempt { return Attempt{at(begin), at(end), "refused"} }
	with := func(begin float64, words string) Attempt { return Attempt{at(begin), at(begin + 5), words} }
	for name, c := range map[string]struct {
		attempts []Attempt
		fault    string
	}{
		"all good":                         {[]Attempt{ok(1, 2), ok(3, 4)}, ""},
		"fails in an outage":               {[]Attempt{ok(8, 9), failed(11, 12), ok(15, 16)}, ""},
		"begun before the outage":          {[]Attempt{ok(8, 9), failed(9, 11), ok(15, 16)}, ""},
		"fails soon after the outage":      {[]Attempt{ok(8, 9), failed(18, 19), ok(21, 22)}, ""},
		"fails long after the outage":      {[]Attempt{ok(8, 9), failed(20, 21), ok(21, 22)}, "refused"},
		"fails before the outage":          {[]Attempt{ok(3, 4), failed(8, 9.9), ok(15, 16)}, "refused"},
		"never recovers":                   {[]Attempt{ok(8, 9), failed(11, 12)}, "the last attempt failed"},
		"stops its attempts":               {[]Attempt{ok(8, 9), ok(80, 81)}, "no attempt for"},
		"a timeout":                        {[]Attempt{ok(20, 21), with(22, "Unable to connect to the server: context deadline exceeded"), with(28, "Unable to connect to the server: net/http: TLS handshake timeout"), ok(34, 35)}, ""},
		"a timeout at the end":             {[]Attempt{ok(20, 21), with(22, "Unable to connect to the server: context deadline exceeded")}, "the last attempt failed"},
		"an unknown certificate authority": {[]Attempt{ok(20, 21), with(22, "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority"), ok(28, 29)}, "x509"},
		"the second outage counts as one":  {[]Attempt{ok(38, 39), failed(40, 41), ok(42, 43)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(c.attempts, outages, nil).Err()
			if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %v, want %q", err, c.fault)
			}
		})
	}
}

func TestCheck_excusesTheMinuteAfterADisruption(t *testing.T) {
	outages := []Outage{{Begin: at(110), End: at(125)}}
	disruptions := []time.Time{at(100), at(150), at(300)}
	ok := func(second float64) Attempt { return Attempt{begin: at(second), end: at(second + 1)} }
	failed := func(from, to float64) (attempts []Attempt) {
		for ; from <= to; from += 2 {
			attempts = append(attempts, Attempt{at(from), at(from + 1), "refused"})
		}
		return attempts
	}
	for name, c := range map[string]struct {
		first    float64
		failures []Attempt
		last     float64
		fault    string
	}{
		"fails before it":                        {90, failed(98, 98), 100, "refused"},
		"fails after it":                         {98, failed(100, 108), 110, ""},
		"an outage does not count":               {98, failed(100, 176), 178, ""},
		"fails later":                            {220, failed(240, 240), 242, "refused"},
		"fails for longer, with two disruptions": {98, failed(100, 190), 192, "refused"},
		"fails for a minute":                     {298, failed(300, 358), 360, ""},
		"fails for more than a minute":           {298, failed(300, 370), 372, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			attempts := append(append([]Attempt{ok(c.first)}, c.failures...), ok(c.last))
			err := Check(attempts, outages, disruptions).Err()
			if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %v, want %q", err, c.fault)
			}
		})
	}
}

func TestCheck_countsAndMeasures(t *testing.T) {
	v := Check([]Attempt{{at(0), at(1), ""}, {at(2), at(3), "x"}, {at(9), at(10), "y"}, {at(16), at(18), ""}}, []Outage{{at(9), at(10)}}, []time.Time{at(2)})
	if v.Attempts != 4 || v.Failed != 2 || v.InOutage != 1 || v.Disrupted != 1 || v.Longest != 17*time.Second || v.LongestUp != 11*time.Second {
		t.Errorf("got %+v, want 4 attempts, 2 failed, 17s without success, 11s of these outside of the outage", v)
	}
}

func TestParse_readsEachLine(t *testing.T) {
	line := func(text string) string {
		return fmt.Sprintf("%s %s\n", at(1.5).UTC().Format(time.RFC3339Nano), text)
	}
	got, err := Parse(line("1700000001 ok") + line("1700000002 failed no route to host") + line("1700000003 failed"))
	if err != nil || len(got) != 3 {
		t.Fatalf("got %v, %v", got, err)
	}
	if got[0].failure != "" || !got[0].begin.Equal(at(1)) || !got[0].end.Equal(at(1.5)) || got[1].failure != "no route to host" || got[2].failure == "" {
		t.Errorf("got %v", got)
	}
	for _, bad := range []string{"", "cut\n", "2026 1 ok\n", line("x ok"), line("1700000001 perhaps")} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("%q gives %v, want an error", bad, got)
		}
	}
}
