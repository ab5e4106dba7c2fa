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
	"slices"
	"strings"
	"testing"
)

// FreeAddress returns an address without a listener. Its host is a random loopback address, which no
// outgoing connection uses, so that no other process takes the port.
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

// HTTPClient sends HTTP requests to a component, with a URL as prefix of paths.
type HTTPClient struct {
	Client *http.Client
	URL    string
	// Token authenticates the requests, unless it is empty.
	Token string
}

// PlainHTTP returns a client without TLS.
func PlainHTTP(address string) HTTPClient {
	return HTTPClient{Client: http.DefaultClient, URL: "http://" + address}
}

// As returns the same client with a token.
func (a HTTPClient) As(token string) HTTPClient {
	a.Token = token
	return a
}

// Get returns the status code and the body of the response.
func (a HTTPClient) Get(ctx context.Context, path string) (int, string, error) {
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

// Await waits until the response has the status code and the words, and returns its body.
func (a HTTPClient) Await(t testing.TB, path string, code int, words ...string) string {
	t.Helper()
	var text string
	Eventually(t, fmt.Sprintf("%s%s to return status %d with %q", a.URL, path, code, words), func(ctx context.Context) error {
		got, body, err := a.Get(ctx, path)
		if text = body; err != nil || got != code || slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(body, word) }) {
			return fmt.Errorf("the status is %d, error %v: %.1000s", got, err, body) //nolint:errorlint // it may be nil
		}
		return nil
	})
	return text
}
