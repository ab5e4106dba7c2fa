// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package config resolves the installation's defaults and the opaque parameters of class and
// claim to the configuration of a space. The scheduler copies the parameters into the claim
// when it allocates, so they do not change while the allocation exists. All functions are pure.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/utils/ptr"
	kjson "sigs.k8s.io/json"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Defaults are the same for all spaces of an installation: the defaults of parameters, and the
// limits for classes.
type Defaults struct {
	// Driver is the driver's name.
	Driver string

	// NamespacePrefix is the prefix of the names of namespaces.
	NamespacePrefix string
	// ClusterRole is bound to a space's ServiceAccount in its namespace.
	ClusterRole string
	// PodSecurity is the Pod Security Standard that is enforced. Without one, a tenant
	// could control the node with a privileged pod.
	PodSecurity string
	// Network is the network mode.
	Network spaceapi.NetworkMode

	// AllowedClusterRoles are the ClusterRoles that classes can bind in namespaces, in
	// addition to ClusterRole. ClusterWideRoles are those that they can bind in the whole
	// cluster.
	AllowedClusterRoles []string
	ClusterWideRoles    []string
	// CopyFromNamespaces are the namespaces that classes can copy from.
	CopyFromNamespaces []string
}

// Roles returns the ClusterRoles that spaces can have in their namespaces.
func (d Defaults) Roles() []string {
	return append([]string{d.ClusterRole, spaceapi.AdminAccessClusterRole}, d.AllowedClusterRoles...)
}

// SpaceConfig is the complete configuration of one space.
type SpaceConfig struct {
	// NamespacePrefix is the prefix of the namespace's name.
	NamespacePrefix string
	// Labels and Annotations are added to the Namespace when it is created.
	Labels      map[string]string
	Annotations map[string]string
	// InheritLabels are the keys of labels that the Namespace gets from the claim's.
	InheritLabels []string
	// PodSecurity always has Enforce set. Other fields that are empty have the cluster's
	// defaults.
	PodSecurity spaceapi.PodSecurity
	// AllowNestedSpaces allows requests for spaces in the space.
	AllowNestedSpaces bool
	// MaxTerminationGracePeriod limits the grace periods of pods in the space. It is never zero.
	MaxTerminationGracePeriod time.Duration

	Recorded
	ContainerConfig
}

// Recorded is the part of the configuration that is recorded on the Namespace, so that a
// space keeps it when classes or the installation change.
type Recorded struct {
	// ClusterRoles are bound in the namespace, ClusterWideRoles in the whole cluster.
	ClusterRoles     []string `json:"clusterRoles"`
	ClusterWideRoles []string `json:"clusterWideRoles,omitempty"`
	// Access is bound in the namespace. An admission policy of the chart reads it.
	Access []spaceapi.Access `json:"access,omitempty"`
	// ResourceQuota and LimitRange limit resource consumption in the namespace, unless they are nil.
	ResourceQuota *corev1.ResourceQuotaSpec `json:"resourceQuota,omitempty"`
	LimitRange    *corev1.LimitRangeSpec    `json:"limitRange,omitempty"`
	// Network restricts the network access of pods. Its Mode is always set.
	Network spaceapi.Network `json:"network"`
	// CopyFrom names what is copied into the namespace. If nil, nothing is copied.
	CopyFrom *spaceapi.CopyFrom `json:"copyFrom,omitempty"`
	// MaxLifetime is how long the space can exist. If zero, there is no limit.
	MaxLifetime metav1.Duration `json:"maxLifetime,omitzero"`
	// MaxExtension is by how much MaxLifetime can be extended.
	MaxExtension metav1.Duration `json:"maxExtension,omitzero"`
	// Retention is how long the namespace is retained when the space is deprovisioned. If
	// zero, it is deleted immediately.
	Retention metav1.Duration `json:"retention,omitzero"`
	// RetentionWhen is whether Retention depends on a failed pod. If it is not OnFailure, it does not.
	RetentionWhen spaceapi.RetentionWhen `json:"retentionWhen,omitempty"`
}

// ContainerConfig is the part of a space's configuration that determines what containers see of it.
type ContainerConfig struct {
	// TokenLifetime is the requested lifetime of tokens. If zero, it is the kubelet plugin's default.
	TokenLifetime time.Duration
	// EnvPrefix replaces the prefix from the claim's name, unless it is empty.
	EnvPrefix string
	// MountPath is an additional directory with the space's files, or empty.
	MountPath string
	// DisableEtcMount omits the directory in /etc.
	DisableEtcMount bool
	// InCluster mounts the space's files in place of the pod's own token.
	InCluster bool
	// KubeconfigEnv sets KUBECONFIG.
	KubeconfigEnv bool
	// EmbedToken writes the token to the kubeconfig, too.
	EmbedToken bool
	// AdminEnv and UserEnv are environment variables of the class and of the claim, without their
	// prefixes admin_ and user_.
	AdminEnv map[string]string
	UserEnv  map[string]string
}

// LimitQuota limits the space to its part of the budget of a pool, unless class or claim set lower limits.
func (c *Recorded) LimitQuota(part map[resourceapi.QualifiedName]resource.Quantity) {
	spec := ptr.Deref(c.ResourceQuota.DeepCopy(), corev1.ResourceQuotaSpec{})
	for capacity, amount := range part {
		name := spaceapi.QuotaResource(string(capacity))
		if have, limited := spec.Hard[name]; name != "" && (!limited || amount.Cmp(have) < 0) {
			if spec.Hard == nil {
				spec.Hard = corev1.ResourceList{}
			}
			spec.Hard[name] = amount
			c.ResourceQuota = &spec
		}
	}
}

// Encode returns the value of the annotation that records the configuration of a space.
func (c Recorded) Encode() string {
	text, err := json.Marshal(c)
	utilruntime.Must(err)
	return string(text)
}

// DecodeRecorded decodes what Encode returned. It ignores fields that a newer version of the driver
// added, so that a space keeps the rest of its configuration after a downgrade. The error means that
// the text is missing or damaged, and that no part of it is valid.
func DecodeRecorded(text string) (Recorded, error) {
	var c Recorded
	strict, err := kjson.UnmarshalStrict([]byte(text), &c, kjson.DisallowDuplicateFields)
	switch {
	case err != nil:
	case len(strict) > 0:
		err = strict[0]
	case len(c.ClusterRoles) == 0 || slices.Contains(slices.Concat(c.ClusterRoles, c.ClusterWideRoles), ""):
		err = errors.New("a ClusterRole is missing")
	case c.Network.Mode != spaceapi.NetworkIsolated && c.Network.Mode != spaceapi.NetworkOpen:
		err = fmt.Errorf("network mode %q is unknown", c.Network.Mode)
	case c.MaxLifetime.Duration < 0 || c.MaxExtension.Duration < 0 || c.Retention.Duration < 0:
		err = errors.New("a duration is negative")
	}
	if err != nil {
		return Recorded{}, fmt.Errorf("read the configuration in the annotations of a space: %w", err)
	}
	return c, nil
}
