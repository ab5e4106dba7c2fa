// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Listing is what a Store has.
type Listing struct {
	// Prepared are the records.
	Prepared []Prepared
	// Unreadable are the claims that have a file, but no record in it.
	Unreadable []Unreadable
}

// Unreadable is a claim whose record can't be read.
type Unreadable struct {
	// UID is the claim's, by the file's name.
	UID types.UID
	// Namespace and Name are the claim's if the file still has them, and its UID
	// beside them; else both are empty.
	Namespace string
	Name      string
	// Path is where the file is now, and Err what is wrong with it.
	Path string
	Err  error
}

// List returns what there is. A file with something else than a record in it is
// set aside, where a person can look at it, and stays among the unreadable until
// the claim has a record again or is removed.
func (s *Store) List() (Listing, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return Listing{}, fmt.Errorf("list the records: %w", err)
	}
	var out Listing
	have := map[types.UID]bool{}
	for _, e := range entries {
		uid, isRecord := strings.CutSuffix(e.Name(), extension)
		if e.IsDir() || !isRecord {
			continue
		}
		path := filepath.Join(s.dir, e.Name())
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		have[types.UID(uid)] = true
		if err != nil {
			// It may be whole. Perhaps it can be read next time.
			out.Unreadable = append(out.Unreadable, Unreadable{UID: types.UID(uid), Path: path, Err: err})
			continue
		}
		p, err := decode(types.UID(uid), raw)
		if err == nil {
			out.Prepared = append(out.Prepared, p)
			continue
		}
		u := unreadable(types.UID(uid), path+aside, raw, err)
		if err := os.Rename(path, path+aside); err != nil {
			u.Path, u.Err = path, errors.Join(u.Err, err)
		}
		out.Unreadable = append(out.Unreadable, u)
	}
	for _, e := range entries {
		uid, isAside := strings.CutSuffix(e.Name(), extension+aside)
		if e.IsDir() || !isAside || have[types.UID(uid)] {
			continue
		}
		path := filepath.Join(s.dir, e.Name())
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var p Prepared
		if err == nil {
			p, err = decode(types.UID(uid), raw)
		}
		if err == nil {
			// An earlier version of the plugin did not know it; this one does.
			err = os.Rename(path, strings.TrimSuffix(path, aside))
		}
		if err == nil {
			out.Prepared = append(out.Prepared, p)
			continue
		}
		out.Unreadable = append(out.Unreadable, unreadable(types.UID(uid), path, raw, err))
	}
	return out, nil
}

// Get returns the record of a claim. If there is none, the error is fs.ErrNotExist.
func (s *Store) Get(claim types.UID) (Prepared, error) {
	path, err := s.path(claim)
	if err != nil {
		return Prepared{}, err
	}
	raw, err := os.ReadFile(path)
	if err == nil {
		var p Prepared
		if p, err = decode(claim, raw); err == nil {
			return p, nil
		}
	}
	return Prepared{}, fmt.Errorf("read the record of claim %s: %w", claim, err)
}

// Has says whether a claim has a file, be it one that can't be read.
func (s *Store) Has(claim types.UID) (bool, error) {
	path, err := s.path(claim)
	if err != nil {
		return false, err
	}
	for _, p := range []string{path, path + aside} {
		_, err := os.Lstat(p)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("look for the record of claim %s: %w", claim, err)
		}
	}
	return false, nil
}

func decode(claim types.UID, raw []byte) (Prepared, error) {
	var p Prepared
	if err := json.Unmarshal(raw, &p); err != nil {
		return p, err
	}
	if p.APIVersion != APIVersion || p.Kind != Kind {
		return p, fmt.Errorf("kind %q, apiVersion %q is not known; this version knows %q, %q", p.Kind, p.APIVersion, Kind, APIVersion)
	}
	if p.UID != claim {
		return p, fmt.Errorf("it is about claim %q", p.UID)
	}
	return p, nil
}

// unreadable looks for whatever the file still says about whose record it was. Of
// the rest nothing is believed.
func unreadable(claim types.UID, path string, raw []byte, err error) Unreadable {
	u := Unreadable{UID: claim, Path: path, Err: err}
	fields := firstFields(raw)
	if fields["uid"] == string(claim) && fields["namespace"] != "" && fields["name"] != "" {
		u.Namespace, u.Name = fields["namespace"], fields["name"]
	}
	return u
}

// firstFields returns the strings in a JSON object, up to where it stops being one.
func firstFields(raw []byte) map[string]string {
	out := map[string]string{}
	d := json.NewDecoder(bytes.NewReader(raw))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return out
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			break
		}
		var value any
		if err := d.Decode(&value); err != nil {
			break
		}
		if name, ok := key.(string); ok {
			out[name], _ = value.(string)
		}
	}
	return out
}
