// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"errors"
	"fmt"
	"net/url"
	"syscall"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// interrupted is the exit code of a program that Ctrl-C has ended.
const interrupted = 130

// message says an error as kubectl says it.
func message(err error) string {
	var status apierrors.APIStatus
	var request *url.Error
	switch {
	case apierrors.IsUnauthorized(err):
		return "error: You must be logged in to the server (Unauthorized)"
	case errors.As(err, &status):
		s := status.Status()
		if s.Reason == metav1.StatusReasonUnknown {
			return "Error from server: " + s.Message
		}
		return fmt.Sprintf("Error from server (%s): %s", s.Reason, s.Message)
	case errors.As(err, &request) && errors.Is(err, syscall.ECONNREFUSED):
		server := request.URL
		if at, parseErr := url.Parse(server); parseErr == nil {
			server = at.Host
		}
		return fmt.Sprintf("The connection to the server %s was refused - did you specify the right host or port?", server)
	case errors.As(err, &request):
		return "Unable to connect to the server: " + request.Err.Error()
	default:
		return "error: " + err.Error()
	}
}

// misused is an error of whoever called a command, with where to read about it.
func misused(cmd *cobra.Command, format string, args ...any) error {
	return fmt.Errorf("%w\nSee '%s --help' for usage", fmt.Errorf(format, args...), cmd.CommandPath())
}

// nothing is for commands without arguments.
func nothing(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misused(cmd, "%s takes no names, but got %q", cmd.Name(), args[0])
	}
	return nil
}

// one is for commands with a single name, and some for those with several.
func one(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return misused(cmd, "%s takes the name of one %s, but got %d", cmd.Name(), what, len(args))
		}
		return nil
	}
}

func some(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return misused(cmd, "%s takes the name of at least one %s", cmd.Name(), what)
		}
		return nil
	}
}
