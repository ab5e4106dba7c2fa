// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// As returns a client with a token of a ServiceAccount.
func (e *Env) As(t testing.TB, namespace, account string) kubernetes.Interface {
	t.Helper()
	return e.WithToken(t, e.Token(t, namespace, account))
}

// AsPod returns a client with a token that is bound to a pod, and so names the pod's node.
func (e *Env) AsPod(t testing.TB, pod *corev1.Pod) kubernetes.Interface {
	t.Helper()
	bound := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	token, err := e.boundToken(t.Context(), pod.Namespace, pod.Spec.ServiceAccountName, bound)
	if err != nil {
		t.Fatal(err)
	}
	return e.WithToken(t, token)
}

// WriteKubeconfigOf writes a kubeconfig with a token of a ServiceAccount.
func (e *Env) WriteKubeconfigOf(t testing.TB, namespace, account, file string) {
	t.Helper()
	config, err := clientcmd.LoadFromFile(e.Cluster.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	token := e.Token(t, namespace, account)
	// A separate file, as in pods.
	tokenFile := file + ".token"
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{TokenFile: tokenFile}
	}
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
}

// Token returns a token of a ServiceAccount.
func (e *Env) Token(t testing.TB, namespace, account string) string {
	t.Helper()
	token, err := e.TryToken(t.Context(), namespace, account)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TryToken is Token for a ServiceAccount that may not exist.
func (e *Env) TryToken(ctx context.Context, namespace, account string) (string, error) {
	return e.boundToken(ctx, namespace, account, nil)
}

func (e *Env) boundToken(ctx context.Context, namespace, account string, bound *authenticationv1.BoundObjectReference) (string, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound}}
	response, err := e.Client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("get a token of ServiceAccount %s/%s: %w", namespace, account, err)
	}
	return response.Status.Token, nil
}

// WithToken returns a client with a token.
func (e *Env) WithToken(t testing.TB, token string) kubernetes.Interface {
	t.Helper()
	config, err := e.Cluster.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	config = rest.AnonymousClientConfig(config)
	config.BearerToken = token
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TokenValidity returns when a token was issued and when it expires, according to its claims.
func TokenValidity(t testing.TB, token string) (issued, expires time.Time) {
	t.Helper()
	var claims struct{ Iat, Exp int64 }
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[len(parts)/2])
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	if err != nil {
		t.Fatal("the token is not a JSON Web Token")
	}
	return time.Unix(claims.Iat, 0), time.Unix(claims.Exp, 0)
}
