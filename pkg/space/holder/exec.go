// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
)

// maxTokenText is the length that no token has: a pod can print more.
const maxTokenText = 16 << 10

// PrintToken runs a command that prints a token in a container, and returns what it prints, which is of the
// author of the pod. The error contains nothing of that.
func PrintToken(ctx context.Context, config *rest.Config, namespace, pod, container string, command []string) ([]byte, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	url := client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdout: true}, scheme.ParameterCodec).URL()
	// As kubectl exec does: proxies that know no WebSockets may know SPDY.
	sockets, err := remotecommand.NewWebSocketExecutor(config, "GET", url.String())
	if err != nil {
		return nil, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(config, "POST", url)
	if err != nil {
		return nil, err
	}
	executor, err := remotecommand.NewFallbackExecutor(sockets, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := &limitedBuffer{exceeded: func() { stop(errors.New("it prints more than a token")) }}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: out})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return out.text.Bytes(), err
}

// limitedBuffer keeps at most maxTokenText. It has no ReadFrom, which io.Copy would call in place of Write.
type limitedBuffer struct {
	text     bytes.Buffer
	exceeded func()
}

// Write implements io.Writer.
func (b *limitedBuffer) Write(text []byte) (int, error) {
	if b.text.Len()+len(text) > maxTokenText {
		b.exceeded()
		return len(text), nil
	}
	return b.text.Write(text)
}
