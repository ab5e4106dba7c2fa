// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// versionLabel is a label that the chart sets on its objects.
const versionLabel = "app.kubernetes.io/version"

// versions are those of kubectl space and of the installed driver.
type versions struct {
	ClientVersion string `json:"clientVersion"`
	DriverVersion string `json:"driverVersion,omitempty"`
}

// String implements fmt.Stringer.
func (v *versions) String() string {
	text := "Client Version: " + v.ClientVersion
	if v.DriverVersion != "" {
		text += "\nDriver Version: " + escape(v.DriverVersion)
	}
	return text
}

func newVersion(o *options, version string) *cobra.Command {
	var clientOnly bool
	var format string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of kubectl space and of the installed driver",
		Long: "Print the versions of kubectl space and of the installed driver.\n" +
			"The version of the driver is that of its image, which the DeviceClass of the driver has as a label.",
		Example: "  # Print both versions\n  kubectl space version\n\n" +
			"  # Print the version of kubectl space, without a cluster\n  kubectl space version --client",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			v := &versions{ClientVersion: version}
			var failed error
			if !clientOnly {
				failed = o.withReader(func(ctx context.Context, r *reader, _ []string) (err error) {
					v.DriverVersion, err = o.driverVersion(ctx, r)
					return err
				})(cmd, args)
			}
			return cmp.Or(printAs(o.streams.Out, format, v), failed)
		},
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "Print only the version of kubectl space, which needs no cluster.")
	addOutputFlag(cmd, &format)
	return cmd
}

// driverVersion returns the version in the label of the driver's DeviceClass. Only administrators can
// create DeviceClasses, while many users can create pods with such a label.
func (o *options) driverVersion(ctx context.Context, r *reader) (string, error) {
	class, err := r.client.ResourceV1().DeviceClasses().Get(ctx, r.driver, metav1.GetOptions{})
	s := &snapshot{}
	switch err := s.tolerateForbidden(err, getClasses); {
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("driver %s is not installed: the cluster has no DeviceClass of that name", r.driver)
	case err != nil:
		return "", err
	}
	if note := s.note(); note != "" {
		fmt.Fprintln(o.streams.ErrOut, note)
	}
	return cmp.Or(class.Labels[versionLabel], unknown), nil
}
