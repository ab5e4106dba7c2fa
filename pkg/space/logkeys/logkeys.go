// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package logkeys defines the keys of structured log entries that several components use. A key that only
// one log line has is a literal there.
package logkeys

// The values of keys without a comment are names.
const (
	Allocation = "allocation"
	// Claim is a ResourceClaim as namespace/name.
	Claim = "claim"
	// ClaimUID is a ResourceClaim's UID. It selects all entries about a claim.
	ClaimUID  = "claimUID"
	Duration  = "duration"
	Namespace = "namespace"
	Node      = "node"
	Path      = "path"
	Pool      = "pool"
	Reason    = "reason"
	Request   = "request"
	Server    = "server"
	Version   = "version"
)
