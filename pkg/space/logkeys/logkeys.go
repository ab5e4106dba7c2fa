// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package logkeys has the keys of structured log entries, which are the same in all
// components.
package logkeys

const (
	// Allocation is an allocation ID.
	Allocation = "allocation"
	// Claim is a ResourceClaim as namespace/name.
	Claim = "claim"
	// ClaimUID is a ResourceClaim's UID. It selects all entries about a claim.
	ClaimUID = "claimUID"
	// Duration is how long something took.
	Duration = "duration"
	// Namespace is a space's namespace.
	Namespace = "namespace"
	// Node is a node's name.
	Node = "node"
	// Path is a file or directory.
	Path = "path"
	// Pool is a pool's name.
	Pool = "pool"
	// Reason is a condition's or an event's reason.
	Reason = "reason"
	// Request is a request's name in a claim.
	Request = "request"
	// Server is the API server's URL.
	Server = "server"
	// Version is the driver's version.
	Version = "version"
)
