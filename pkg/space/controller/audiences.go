// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// tokenAudiences returns the audiences of the API server, for the admission policy that restricts
// the audiences of tokens for nodes. It returns none if they are unknown.
func (r *Reconciler) tokenAudiences(ctx context.Context) []string {
	if r.config.TokenFile == "" {
		return nil
	}
	audiences, err := token.AudiencesOf(r.config.TokenFile)
	if err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "Cannot determine the audiences of the API server")
	}
	return audiences
}

// audiencesChanged reports whether the audiences of the API server are known, and differ from those in
// the annotation of a namespace.
func (r *Reconciler) audiencesChanged(ns *corev1.Namespace, audiences []string) bool {
	return len(audiences) > 0 && ns.Annotations[r.keys.TokenAudiences] != strings.Join(audiences, ",")
}

// recordAudiences updates the annotation with the audiences of the API server.
func (r *Reconciler) recordAudiences(ctx context.Context, space *desiredSpace) error {
	audiences := space.objects.Namespace.Annotations[r.keys.TokenAudiences]
	if audiences == "" || space.namespace.Annotations[r.keys.TokenAudiences] == audiences {
		return nil
	}
	err := r.annotate(ctx, space.namespace, map[string]any{r.keys.TokenAudiences: audiences})
	if spaceclient.IgnoreNotFound(err) != nil {
		return fmt.Errorf("set the audiences of namespace %s: %w", space.name, err)
	}
	return nil
}
