// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"net/http"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestThePluginsMetricsAreForThoseWhoMayGetThem(t *testing.T) {
	t.Parallel()
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "reads-metrics"},
		Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
	}
	if _, err := env.Client.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ns := env.Namespace(t)
	n := newEmptyNode(t)
	plain, secured := framework.FreeAddress(t), framework.FreeAddress(t)
	flags, anybody := framework.Certified(t, secured)
	n.launch(t, "pod-1", nil, append(flags, "--http-address="+plain)...)
	reader := anybody.As(env.Token(t, ns, "default"))
	framework.Plainly(plain).Await(t, "/metrics", http.StatusNotFound)
	anybody.Await(t, "/metrics", http.StatusUnauthorized)
	reader.Await(t, "/metrics", http.StatusForbidden)
	env.Bind(t, role.Name, ns, "default")
	reader.Await(t, "/metrics", http.StatusOK, "space_dra_prepared_claims 0")
}
