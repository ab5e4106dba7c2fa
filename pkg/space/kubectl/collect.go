// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"
	"k8s.io/kubectl/pkg/describe"
	"sigs.k8s.io/yaml"
)

func newCollect(o *options) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "collect (CLAIM | namespace/SPACE) -o FILE",
		Short: "Write what is in a space to an archive, to debug it later",
		Long: "Write the objects, events, descriptions and logs in the spaces of a claim to an archive, a tar file that is compressed\n" +
			"with gzip. With namespace/SPACE, write those of one space, which can be a retained one.\n" +
			"It contains neither Secrets nor tokens, and what you do not have permission to read is missing.",
		Example: "  # Write what is in the spaces of a claim to a file\n  kubectl space collect my-claim -o my-claim.tgz\n\n" +
			"  # Write what is in a retained space\n  kubectl space collect namespace/ephemeral-ns-5h57rgwvpj -o failed.tgz\n\n" +
			"  # List the files\n  kubectl space collect my-claim -o - | tar tz",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeNames(claimKind, namespaceKind),
		RunE: o.withReader(func(ctx context.Context, r *reader, args []string) error {
			config, err := o.factory.ToRESTConfig()
			if err != nil {
				return err
			}
			// It lists deprecated kinds, too.
			config = rest.CopyConfig(config)
			config.WarningHandlerWithContext = rest.NoWarnings{}
			c := &collector{reader: r}
			if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
				return err
			}
			claim, spaces, err := c.find(ctx, args[0])
			if err != nil {
				return err
			}
			if file == "-" {
				err = c.write(ctx, o.streams.Out, claim, spaces)
			} else {
				err = c.writeFile(ctx, file, claim, spaces)
			}
			if err != nil {
				return fmt.Errorf("write the archive: %w", err)
			}
			for _, line := range c.missing() {
				fmt.Fprintln(o.streams.ErrOut, escape(line))
			}
			if c.objects == 0 {
				return fmt.Errorf("nothing in %s could be read", strings.Join(spaces, ", "))
			}
			return nil
		}),
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "File of the archive, or - for the standard output.")
	if err := cmd.MarkFlagRequired("output"); err != nil {
		panic(err)
	}
	return cmd
}

// collector writes an archive.
type collector struct {
	*reader
	dynamic dynamic.Interface
	archive *tar.Writer
	// spool has a file until its size is known.
	spool *os.File
	// objects is the number of objects.
	objects int
	// denied has permissions that the user does not have, and failed what could not be read for other reasons.
	denied snapshot
	failed []string
}

// find returns the description of a claim, and the namespaces of its spaces.
func (c *collector) find(ctx context.Context, arg string) (claim string, spaces []string, err error) {
	s, namespace, name, err := c.readClaim(ctx, arg)
	kind, space, _ := parseArg(arg, claimKind, namespaceKind)
	if kind == namespaceKind && apierrors.IsForbidden(err) {
		return "", []string{space}, c.denied.tolerateForbidden(err, "read the claim of the space")
	}
	if err != nil {
		return "", nil, err
	}
	all := s.deprovisionedSpaces(namespace, name)
	if current := s.claim(namespace, name); current != nil {
		all = append(s.spacesOf(current), all...)
	}
	for _, summary := range all {
		if summary.Space != "" && (kind != namespaceKind || summary.Space == space) {
			spaces = append(spaces, summary.Space)
		}
	}
	if len(spaces) == 0 {
		return "", nil, fmt.Errorf("ResourceClaim %s has no space: kubectl space why %s explains it", name, name)
	}
	var text strings.Builder
	tabs := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	s.describe(escapingWriter{describe.NewPrefixWriter(tabs)}, namespace, name)
	err = tabs.Flush()
	return text.String(), spaces, err
}

// writeFile writes the archive to a file. Only the user can read it: what programs log may be secret.
func (c *collector) writeFile(ctx context.Context, name, claim string, spaces []string) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return cmp.Or(c.write(ctx, file, claim, spaces), file.Close())
}

// write writes the archive.
func (c *collector) write(ctx context.Context, out io.Writer, claim string, spaces []string) (err error) {
	if c.spool, err = os.CreateTemp("", "kubectl-space-"); err != nil {
		return err
	}
	// So that nothing remains, whatever ends the program. Windows only deletes files that are closed.
	_ = os.Remove(c.spool.Name())
	defer func() { _, _ = c.spool.Close(), os.Remove(c.spool.Name()) }()
	compressed := gzip.NewWriter(out)
	c.archive = tar.NewWriter(compressed)
	if claim != "" {
		err = c.add("claim.txt", "", stringOf(claim, nil))
	}
	for _, space := range spaces {
		if err == nil {
			err = c.collect(ctx, space)
		}
	}
	if missing := c.missing(); err == nil && len(missing) > 0 {
		err = c.add("missing.txt", "", stringOf(strings.Join(missing, "\n")+"\n", nil))
	}
	return cmp.Or(err, c.archive.Close(), compressed.Close())
}

// missing returns what could not be read.
func (c *collector) missing() []string {
	if note := c.denied.note(); note != "" {
		return append(slices.Clone(c.failed), note)
	}
	return c.failed
}

// add adds a file without tokens. It records that what the file is about could not be read, which may need a
// permission. It returns errors of the archive.
func (c *collector) add(name, permission string, write func(io.Writer) error) error {
	if _, err := c.spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	content := &redactor{w: c.spool}
	if err := c.denied.tolerateForbidden(cmp.Or(write(content), content.flush()), permission); err != nil {
		c.failed = append(c.failed, fmt.Sprintf("%s is not complete: %s: %v", name, permission, err))
	}
	size, err := c.spool.Seek(0, io.SeekCurrent)
	if err != nil || size == 0 {
		return err
	}
	err = c.archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: c.clock.Now()})
	if err == nil {
		_, err = io.Copy(c.archive, io.NewSectionReader(c.spool, 0, size))
	}
	return err
}

// stringOf returns the content of a file that is in memory, or the error that it could not be read.
func stringOf(text string, err error) func(io.Writer) error {
	return func(w io.Writer) error {
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		return err
	}
}

// collect adds the files of a space.
func (c *collector) collect(ctx context.Context, space string) error {
	settings := describe.DescriberSettings{ShowEvents: true, ChunkSize: pageSize}
	text, err := (&describe.NamespaceDescriber{Interface: c.client}).Describe("", space, settings)
	if err := c.add(path.Join(space, "namespace.txt"), "describe the namespace", stringOf(text, err)); err != nil {
		return err
	}
	kinds, err := discovery.ServerPreferredNamespacedResources(c.client.Discovery())
	if err != nil {
		c.failed = append(c.failed, fmt.Sprintf("objects of some kinds are missing: %v", err))
	}
	var pods []corev1.Pod
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list"}}, kinds) {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return err
		}
		for _, kind := range list.APIResources {
			resource := version.WithResource(kind.Name)
			name := resource.GroupResource().String()
			// The events of both groups are the same.
			if name == "secrets" || name == "events.events.k8s.io" {
				continue
			}
			if err := c.add(path.Join(space, name+".yaml"), "list "+name, func(w io.Writer) error {
				return c.list(ctx, resource, space, func(object *unstructured.Unstructured) error {
					if name == "pods" {
						pods = append(pods, corev1.Pod{})
						if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &pods[len(pods)-1]); err != nil {
							return err
						}
						pods[len(pods)-1].Spec = corev1.PodSpec{} // There can be many pods.
					}
					return c.writeYAML(w, object)
				})
			}); err != nil {
				return err
			}
		}
	}
	for i := range pods {
		text, err := (&describe.PodDescriber{Interface: c.client}).Describe(space, pods[i].Name, settings)
		if err := c.add(path.Join(space, "pods", pods[i].Name+".txt"), "describe pods", stringOf(text, err)); err != nil {
			return err
		}
		if err := c.logs(ctx, space, &pods[i]); err != nil {
			return err
		}
	}
	return nil
}

// pageSize is how many objects are in memory.
const pageSize = 50

func (c *collector) list(ctx context.Context, resource schema.GroupVersionResource, space string, each func(*unstructured.Unstructured) error) error {
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return c.dynamic.Resource(resource).Namespace(space).List(ctx, options)
	})
	pages.PageSize, pages.PageBufferSize = pageSize, 0
	return pages.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		item, isObject := object.(*unstructured.Unstructured)
		if !isObject {
			return fmt.Errorf("the list contains a %T", object)
		}
		return each(item)
	})
}

func (c *collector) writeYAML(w io.Writer, object *unstructured.Unstructured) error {
	c.objects++
	object.SetManagedFields(nil)
	text, err := yaml.Marshal(object.Object)
	if err == nil {
		_, err = fmt.Fprintf(w, "---\n%s", text)
	}
	return err
}

// logs adds the logs of the containers of a pod that have started.
func (c *collector) logs(ctx context.Context, space string, pod *corev1.Pod) error {
	for _, container := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses) {
		for suffix, options := range map[string]*corev1.PodLogOptions{".log": {}, ".previous.log": {Previous: true}} {
			if options.Previous && container.LastTerminationState.Terminated == nil || !options.Previous && container.State.Waiting != nil {
				continue
			}
			options.Container, options.Timestamps = container.Name, true
			if err := c.add(path.Join(space, "pods", pod.Name, container.Name+suffix), "get pods/log", func(w io.Writer) error {
				log, err := c.client.CoreV1().Pods(space).GetLogs(pod.Name, options).Stream(ctx)
				if err != nil {
					return err
				}
				defer log.Close()
				_, err = io.Copy(w, log)
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// tokens matches JSON Web Tokens, also in base64, of the characters of tokenCharacters.
var tokens = regexp.MustCompile(`(eyJ|ZXlK)[\w+/=-]{10,}(\.[\w-]*)*`)

// maxWord is the length of a word that is no token.
const maxWord = 1 << 20

const tokenCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+/=.-"

// redactor writes text without tokens. It keeps what may be the beginning of a token.
type redactor struct {
	w       io.Writer
	pending []byte
}

// Write implements io.Writer.
func (r *redactor) Write(text []byte) (int, error) {
	r.pending = append(r.pending, text...)
	complete := max(0, len(r.pending)-maxWord)
	complete = max(complete, len(bytes.TrimRight(r.pending, tokenCharacters)))
	_, err := r.w.Write(tokens.ReplaceAll(r.pending[:complete], []byte("[token]")))
	r.pending = append(r.pending[:0], r.pending[complete:]...)
	return len(text), err
}

// flush writes the rest.
func (r *redactor) flush() error {
	_, err := r.w.Write(tokens.ReplaceAll(r.pending, []byte("[token]")))
	r.pending = nil
	return err
}
