// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// FreeAddress returns an address without a listener. Its host is one of the many
// loopback addresses, from which no connection begins, so that no other process takes
// the port.
func FreeAddress(t testing.TB) string {
	t.Helper()
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

// Asker sends HTTP requests to a component.
type Asker struct {
	Client *http.Client
	// URL is what paths are added to.
	URL string
	// Token authenticates the requests, unless it is empty.
	Token string
}

// Plainly sends requests without encryption.
func Plainly(address string) Asker {
	return Asker{Client: http.DefaultClient, URL: "http://" + address}
}

// As is the same asker with a token.
func (a Asker) As(token string) Asker {
	a.Token = token
	return a
}

// Ask returns the code of the answer and its text.
func (a Asker) Ask(ctx context.Context, path string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+path, nil)
	if err != nil {
		return 0, "", err
	}
	if a.Token != "" {
		r.Header.Set("Authorization", "Bearer "+a.Token)
	}
	resp, err := a.Client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// Await waits until the answer has the code and the words, and returns its text.
func (a Asker) Await(t testing.TB, path string, code int, words ...string) string {
	t.Helper()
	var text, last string
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, Patience, true, func(ctx context.Context) (bool, error) {
		got, body, err := a.Ask(ctx, path)
		text, last = body, fmt.Sprintf("%d, error %v: %s", got, err, body[:min(len(body), 1000)])
		for _, word := range words {
			if !strings.Contains(body, word) {
				return false, nil
			}
		}
		return err == nil && got == code, nil
	})
	if err != nil {
		t.Fatalf("waited until %s%s answers %d with %q: %v; the last answer: %s", a.URL, path, code, words, err, last)
	}
	return text
}
