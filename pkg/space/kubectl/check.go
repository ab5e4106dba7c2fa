// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util/podutils"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// releaseNamespace is an annotation that Helm sets on the objects of a release.
const releaseNamespace = "meta.helm.sh/release-namespace"

// Labels that the chart sets on its objects, and the values of componentLabel on pods.
const (
	nameLabel      = "app.kubernetes.io/name"
	instanceLabel  = "app.kubernetes.io/instance"
	componentLabel = "app.kubernetes.io/component"
)

// checks are the parts of an installation. Programs read them: new versions only add fields.
type checks struct {
	metav1.TypeMeta `json:",inline"`
	Checks          []check `json:"checks"`
}

// check says whether a part of an installation works. OK is nil if that is not known.
type check struct {
	Name    string `json:"name"`
	OK      *bool  `json:"ok,omitempty"`
	Message string `json:"message"`
}

// add adds what was found about a part, or the permission that is missing. It returns any other error.
func (c *checks) add(name string, ok bool, message, permission string, err error) error {
	found := check{name, &ok, message}
	if apierrors.IsForbidden(err) {
		found, err = check{name, nil, "you do not have permission to " + permission}, nil
	}
	c.Checks = append(c.Checks, found)
	return err
}

// failed reports whether a part does not work.
func (c *checks) failed() bool {
	return slices.ContainsFunc(c.Checks, func(check check) bool { return !ptr.Deref(check.OK, true) })
}

// String implements fmt.Stringer.
func (c *checks) String() string {
	var out strings.Builder
	tabs := tabwriter.NewWriter(&out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(tabs, "CHECK\tOK\tMESSAGE")
	for _, check := range c.Checks {
		ok := unknown
		if check.OK != nil {
			ok = map[bool]string{true: "yes", false: "no"}[*check.OK]
		}
		fmt.Fprintf(tabs, "%s\t%s\t%s\n", check.Name, ok, escape(check.Message))
	}
	_ = tabs.Flush() // A strings.Builder does not fail.
	return out.String()
}

func newCheck(o *options) *cobra.Command {
	var format string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check that the driver is installed and runs",
		Long: "Check that the cluster serves the API that the driver needs, that its DeviceClass exists, that its pods are ready, and\n" +
			"that it has published pools. The exit code is 1 if one of these is not the case. What you do not have permission to\n" +
			"read is not known.",
		Example: "  # Check the driver\n  kubectl space check\n\n  # Wait after an installation\n  kubectl space check --wait 2m",
		Args:    cobra.NoArgs,
		RunE: o.withReader(func(ctx context.Context, r *reader, _ []string) error {
			var found *checks
			var err error
			_ = wait.PollUntilContextTimeout(ctx, time.Second, timeout, true, func(context.Context) (bool, error) {
				found, err = r.check(ctx)
				return err == nil && !found.failed(), nil
			})
			if err == nil {
				err = printAs(o.streams.Out, format, found)
			}
			if err == nil && found.failed() {
				return cmdutil.ErrExit
			}
			return err
		}),
	}
	cmd.Flags().DurationVar(&timeout, "wait", 0, "How long to wait until the driver runs.")
	addOutputFlag(cmd, &format)
	return cmd
}

// check checks each part of the installation.
func (r *reader) check(ctx context.Context) (*checks, error) {
	c := &checks{TypeMeta: metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: "Check"}}
	api := resourceapi.SchemeGroupVersion.String()
	if _, err := r.client.Discovery().ServerResourcesForGroupVersion(api); err != nil {
		if !apierrors.IsNotFound(err) {
			return nil, err
		}
		return c, c.add("API", false, errNoAPI.Error(), "", nil)
	}
	class, err := r.client.ResourceV1().DeviceClasses().Get(ctx, r.driver, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return c, c.add("DeviceClass", false, fmt.Sprintf("DeviceClass %s does not exist: the driver is not installed", r.driver), "", nil)
	}
	published, slicesErr := r.listSlices(ctx)
	return c, cmp.Or(
		c.add("API", true, "the cluster serves "+api, "", nil),
		c.add("DeviceClass", true, fmt.Sprintf("%s exists, version %s", r.driver, cmp.Or(class.Labels[versionLabel], unknown)), getClasses, err),
		r.checkPods(ctx, c, "Controller", "controller", class),
		r.checkPods(ctx, c, "Kubelet plugin", "kubeletplugin", class),
		c.add("Pools", len(published) > 0, fmt.Sprintf("%d ResourceSlices are published", len(published)), listSlices, slicesErr),
	)
}

// checkPods checks the pods of a component. The DeviceClass, which only administrators can create, has the
// labels and the namespace of the release.
func (r *reader) checkPods(ctx context.Context, c *checks, name, component string, class *resourceapi.DeviceClass) error {
	if class.Labels[instanceLabel] == "" {
		c.Checks = append(c.Checks, check{name, nil, "the DeviceClass does not have the labels of a release"})
		return nil
	}
	pods, err := r.client.CoreV1().Pods(class.Annotations[releaseNamespace]).List(ctx, metav1.ListOptions{LabelSelector: labels.Set{
		nameLabel: class.Labels[nameLabel], instanceLabel: class.Labels[instanceLabel], componentLabel: component,
	}.String()})
	ready := 0
	for i := range pods.Items {
		if podutils.IsPodReady(&pods.Items[i]) {
			ready++
		}
	}
	return c.add(name, ready > 0 && ready == len(pods.Items), fmt.Sprintf("%d of %d pods are ready", ready, len(pods.Items)), listPods+" in the namespace of the driver", err)
}
