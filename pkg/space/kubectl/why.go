// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/knownissues"
)

// errNoSpace ends why with the exit code 1: there is no space that is ready. Errors have the code 2, as
// those of kubectl diff.
var errNoSpace = fmt.Errorf("no space is ready: %w", cmdutil.ErrExit)

func newWhy(o *options) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "why (CLAIM | POD | pod/POD | namespace/SPACE) ...",
		Short: "Explain why a claim or a pod has no space, or why a namespace still exists",
		Long: "Explain why a claim or a pod has no space, or why the namespace of a deprovisioned space still exists.\n" +
			"A name without pod/ or namespace/ is that of a claim, or of a pod if there is no such claim.\n" +
			"The exit code is 0 if all have a space that is ready, 1 if that is not the case, and 2 if there is an error.",
		Example: "  # Explain why a pod waits\n  kubectl space why pod/my-pod\n\n" +
			"  # Explain why a claim has no space\n  kubectl space why my-claim\n\n" +
			"  # Explain why a namespace still exists\n  kubectl space why namespace/ephemeral-ns-5h57rgwvpj\n\n" +
			"  # Print it as JSON\n  kubectl space why my-claim -o json",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: o.completeNames(claimKind, podKind, namespaceKind),
		RunE: o.withReader(func(ctx context.Context, r *reader, args []string) error {
			found := &explanations{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "List"}, Items: []explanation{}}
			failed := o.each(args, func(arg string) error {
				e, notes, err := r.why(ctx, arg)
				if err != nil {
					return err
				}
				if found.Items = append(found.Items, *e); notes != "" {
					fmt.Fprintln(o.streams.ErrOut, notes)
				}
				return nil
			})
			failed = cmp.Or(printAs(o.streams.Out, format, found), failed)
			if failed == nil && slices.ContainsFunc(found.Items, func(e explanation) bool { return !e.Ready }) {
				return errNoSpace
			}
			return failed
		}),
	}
	addOutputFlag(cmd, &format)
	return cmd
}

// explanations are what why prints.
type explanations struct {
	metav1.TypeMeta `json:",inline"`
	Items           []explanation `json:"items"`
}

// explanation says why a claim, a pod or the claim of a namespace has no space. Programs read it: new
// versions only add fields.
type explanation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Ready reports whether there is a space that is ready.
	Ready   bool   `json:"ready"`
	Message string `json:"message"`
}

// String implements fmt.Stringer.
func (e *explanations) String() string {
	var lines []string
	for _, item := range e.Items {
		lines = append(lines, escape(item.Message))
	}
	return strings.Join(lines, "\n")
}

// why returns an explanation in one paragraph, and notes about missing permissions and known issues.
func (r *reader) why(ctx context.Context, arg string) (e *explanation, notes string, err error) {
	kind, name, err := parseArg(arg, claimKind, podKind, namespaceKind)
	namespace, space := r.namespace, ""
	if kind == namespaceKind {
		space = name
		namespace, name, err = r.claimOfSpace(ctx, space)
	}
	if err != nil {
		return nil, "", err
	}
	s, err := r.readAll(ctx, namespace)
	if err != nil {
		return nil, "", err
	}
	s.slices, err = r.listSlices(ctx)
	if err := s.tolerateForbidden(err, listSlices); err != nil {
		return nil, "", err
	}
	for _, kind := range []string{podEvents, claimEvents} {
		if err := r.readEvents(ctx, s, kind, namespace); err != nil {
			return nil, "", err
		}
	}
	e = &explanation{TypeMeta: metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: "Explanation"}, ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	remaining, claim, pod := s.whyRemaining(namespace, name, space), s.claim(namespace, name), s.pod(namespace, name)
	switch {
	case remaining != "" && (space != "" || claim == nil && pod == nil):
		e.Message = remaining
	case claim != nil && kind != podKind:
		pods := s.consumers(claim)
		e.Message, e.Ready = s.whyClaim(claim, pods), s.isReady(claim, pods)
		return e, r.notes(ctx, s, pods...), nil
	case pod != nil && (kind == podKind || kind == ""):
		e.Message, e.Ready = s.whyPod(pod), s.isPodReady(pod)
		return e, r.notes(ctx, s, pod), nil
	default:
		return nil, "", errors.New(strings.TrimSpace(fmt.Sprintf("there is neither a ResourceClaim nor a Pod %s in namespace %s. %s", name, namespace, s.note())))
	}
	return e, s.note(), nil
}

// isReady reports whether a claim's spaces are ready for some of its pods.
func (s *snapshot) isReady(claim *resourceapi.ResourceClaim, pods []*corev1.Pod) bool {
	return allocation.FromClaim(claim, s.driver) != nil &&
		!slices.ContainsFunc(s.spacesOf(claim), func(space spaceSummary) bool { return space.Ready == nil }) &&
		!slices.ContainsFunc(pods, func(pod *corev1.Pod) bool { return s.whyNotPrepared(claim, pod) != "" })
}

// isPodReady reports whether a pod has spaces, which are ready.
func (s *snapshot) isPodReady(pod *corev1.Pod) bool {
	spaces := 0
	for _, name := range claimsOf(pod) {
		claim := s.claim(pod.Namespace, name)
		switch {
		case claim == nil:
			return false
		case s.isReady(claim, []*corev1.Pod{pod}):
			spaces++
		case s.requestsSpace(claim) || claim.Status.Allocation == nil && s.missingClass(claim, "") != "":
			return false
		}
	}
	return spaces > 0 && !isTerminal(pod)
}

// notes returns a line about missing permissions, and one for the control plane and each node of the pods
// if they run a version of Kubernetes with known issues.
func (r *reader) notes(ctx context.Context, s *snapshot, pods ...*corev1.Pod) string {
	var lines []string
	if note := s.note(); note != "" {
		lines = append(lines, note)
	}
	warn := func(prefix, component, version string) {
		if warning := knownissues.Warning(component, version); warning != "" {
			lines = append(lines, "Warning: "+prefix+escape(warning)+".")
		}
	}
	if server, err := r.client.Discovery().ServerVersion(); err == nil {
		warn("", knownissues.ControlPlane, server.GitVersion)
	}
	nodes := sets.New[string]()
	for _, pod := range pods {
		nodes.Insert(pod.Spec.NodeName)
	}
	for _, name := range sets.List(nodes.Delete("")) {
		// Users without permission to get nodes cannot upgrade them either.
		if node, err := r.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{}); err == nil {
			warn("node "+name+": ", knownissues.Kubelet, node.Status.NodeInfo.KubeletVersion)
		}
	}
	return strings.Join(lines, "\n")
}

// whyPod explains why a pod has no space.
func (s *snapshot) whyPod(pod *corev1.Pod) string {
	if isTerminal(pod) {
		return fmt.Sprintf("Pod %s has terminated (%s). A space is deprovisioned when no pod uses its claim.", pod.Name, pod.Status.Phase)
	}
	if len(pod.Spec.ResourceClaims) == 0 && pod.Status.ExtendedResourceClaimStatus == nil {
		if message := schedulerMessage(pod); message != "" {
			return fmt.Sprintf("Pod %s has no ResourceClaim yet, and is not scheduled: %s.", pod.Name, message)
		}
		return fmt.Sprintf("Pod %s requests no space: its spec names no ResourceClaim.", pod.Name)
	}
	for _, ref := range pod.Spec.ResourceClaims {
		if claimOf(pod, ref) != "" {
			continue
		}
		if failed := s.lastEvent(pod.UID, "", "FailedResourceClaimCreation"); failed != nil {
			return fmt.Sprintf("ResourceClaim %s of pod %s could not be created from its template: %s.", ref.Name, pod.Name, reported(failed))
		}
		return fmt.Sprintf("ResourceClaim %s of pod %s is not created from its template yet. kube-controller-manager does that within seconds if the template exists.", ref.Name, pod.Name)
	}
	var texts []string
	for _, name := range claimsOf(pod) {
		claim := s.claim(pod.Namespace, name)
		if claim == nil {
			return fmt.Sprintf("Pod %s names ResourceClaim %s, which does not exist. The pod is scheduled once it is created.", pod.Name, name)
		}
		if s.requestsSpace(claim) || claim.Status.Allocation == nil && s.missingClass(claim, "") != "" {
			texts = append(texts, s.whyClaim(claim, []*corev1.Pod{pod}))
		}
	}
	if len(texts) == 0 {
		return fmt.Sprintf("Pod %s requests no space: none of its claims requests one, as far as their DeviceClasses could be read.", pod.Name)
	}
	return strings.Join(texts, " ")
}

// whyClaim explains why a claim has no space for some of its pods.
func (s *snapshot) whyClaim(claim *resourceapi.ResourceClaim, pods []*corev1.Pod) string {
	switch {
	case allocation.FromClaim(claim, s.driver) != nil:
		return s.whyAllocated(claim, pods)
	case claim.Status.Allocation != nil && !s.requestsSpace(claim):
		return fmt.Sprintf("ResourceClaim %s is allocated, but no device in it is of driver %s.", claim.Name, s.driver)
	case claim.DeletionTimestamp != nil || claim.Status.Allocation != nil:
		return fmt.Sprintf("ResourceClaim %s is being deleted, and its space with it. Pods that wait for a space need a new claim.", claim.Name)
	case len(pods) > 0:
		return s.whyUnallocated(claim, pods[0])
	case s.lacks(listPods):
		return fmt.Sprintf("ResourceClaim %s is not allocated: that happens when a pod that names it is scheduled. You cannot list pods, so the pods that reference the claim are unknown.", claim.Name)
	default:
		return fmt.Sprintf("No pod uses ResourceClaim %s. A claim gets its space when a pod that names it is scheduled.", claim.Name)
	}
}

// whyUnallocated explains why the scheduler has not allocated a claim for a pod.
func (s *snapshot) whyUnallocated(claim *resourceapi.ResourceClaim, pod *corev1.Pod) string {
	message := schedulerMessage(pod)
	quoted := ""
	if message != "" {
		quoted = fmt.Sprintf(" The scheduler reports: %s.", message)
	}
	if class := s.missingClass(claim, message); class != "" {
		return fmt.Sprintf("ResourceClaim %s names DeviceClass %s, which does not exist.%s", claim.Name, class, quoted)
	}
	pools := s.poolsFor(claim)
	switch noDevice := strings.Contains(message, "cannot allocate all claims"); {
	case isGated(pod):
		return fmt.Sprintf("ResourceClaim %s waits for pod %s to be scheduled, which has scheduling gates.", claim.Name, pod.Name)
	case message != "" && !noDevice:
		return fmt.Sprintf("Pod %s cannot be scheduled, so ResourceClaim %s is not allocated.%s", pod.Name, claim.Name, quoted)
	case len(pools) == 0 && !s.lacks(listSlices):
		return fmt.Sprintf("Driver %s has published no pool, so no claim gets a space. Check that its controller runs, or its kubelet plugin for pools per node.%s", s.driver, quoted)
	case !noDevice:
		return fmt.Sprintf("ResourceClaim %s waits for pod %s to be scheduled. No message of the scheduler about it was found.", claim.Name, pod.Name)
	case s.lacks(listSlices):
		return fmt.Sprintf("There is no room for ResourceClaim %s of pod %s: its pool is full, or has no space for the nodes that the pod can run on. To find out which, you need permission to list resourceslices.%s", claim.Name, pod.Name, quoted)
	}
	var usage, consumers []string
	for _, pool := range pools {
		usage = append(usage, pool.usage())
		if len(pool.total) > 0 {
			consumers = append(consumers, pool.consumers...)
		}
	}
	return fmt.Sprintf("There is no room for ResourceClaim %s on the nodes that pod %s can run on: %s.%s%s", claim.Name, pod.Name, strings.Join(usage, ", "), usedBy(consumers, pod), quoted)
}

// missingClass returns a class of a claim that does not exist, according to the snapshot or
// to the scheduler's message.
func (s *snapshot) missingClass(claim *resourceapi.ResourceClaim, message string) string {
	for _, name := range classesOf(claim) {
		if s.class(name) == nil && (!s.lacks(listClasses) || strings.Contains(message, "device class "+name+" does not exist")) {
			return name
		}
	}
	return ""
}

// whyAllocated explains the state of an allocated claim: the controller provisions its
// spaces, and then the node prepares them for the pod.
func (s *snapshot) whyAllocated(claim *resourceapi.ResourceClaim, pods []*corev1.Pod) string {
	var names []string
	for _, space := range s.spacesOf(claim) {
		if space.Ready == nil {
			return s.whyNotReady(space)
		}
		names = append(names, space.Space)
	}
	text := fmt.Sprintf("ResourceClaim %s has its space, %s, and it is ready.", claim.Name, strings.Join(names, " and "))
	for _, pod := range pods {
		if notPrepared := s.whyNotPrepared(claim, pod); notPrepared != "" {
			return notPrepared
		}
		if pod.Status.Phase == corev1.PodPending && pod.Spec.NodeName != "" {
			text += fmt.Sprintf(" Pod %s is starting on node %s.", pod.Name, pod.Spec.NodeName)
		}
	}
	return text
}

// reasons are explanations for the reasons of a Ready condition that is False, and for
// DeprovisioningFailed.
var reasons = map[string]string{
	spaceapi.ReasonInvalidParameters:    "ResourceClaim %s has invalid parameters: %s. This is final: change the claim or its DeviceClass, and recreate the claim.",
	spaceapi.ReasonExpired:              "The space of ResourceClaim %s has expired: %s. This is final: recreate the claim, or have the class changed.",
	spaceapi.ReasonUnsupportedConsumer:  "ResourceClaim %s gets no space: %s. Use a claim, or a ResourceClaimTemplate, that the pods themselves name.",
	spaceapi.ReasonNameConflict:         "The namespace for ResourceClaim %s already exists and does not belong to the claim: %s.",
	spaceapi.ReasonNamespaceTerminating: "The namespace of ResourceClaim %s was deleted, and is recreated when it no longer exists: %s.",
	spaceapi.ReasonDeprovisioningFailed: "A space of ResourceClaim %s is to be deprovisioned, but that fails, and its credentials may still be valid: %s. The driver retries, at most a minute apart.",
	spaceapi.ReasonProvisioningFailed:   "The space of ResourceClaim %s could not be provisioned, and the driver retries: %s.",
}

// whyNotReady explains why an allocated space is not ready.
func (s *snapshot) whyNotReady(space spaceSummary) string {
	claim, message := space.Name, clause(space.Message)
	if format, known := reasons[space.State]; known {
		return fmt.Sprintf(format, claim, message)
	}
	if space.State != stateProvisioning || message != "" {
		return fmt.Sprintf("The space of ResourceClaim %s is not ready, with reason %s: %s.", claim, space.State, message)
	}
	text := fmt.Sprintf("ResourceClaim %s is allocated from pool %s, and the controller has not reported anything about its space yet.", claim, space.Pool)
	if space.AllocatedAt != nil {
		text += fmt.Sprintf(" It was allocated %s ago.", age(s.now, space.AllocatedAt.Time))
	}
	return text + " A report usually takes a second or two: check that the controller runs and has a leader."
}

// whyNotPrepared explains why a pod does not have a space that is ready, or returns nothing.
func (s *snapshot) whyNotPrepared(claim *resourceapi.ResourceClaim, pod *corev1.Pod) string {
	message, failed := schedulerMessage(pod), s.lastEvent(pod.UID, "", "FailedPrepareDynamicResources")
	reserved := slices.ContainsFunc(claim.Status.ReservedFor, func(r resourceapi.ResourceClaimConsumerReference) bool { return r.UID == pod.UID })
	switch scheduled := pod.Spec.NodeName != ""; {
	case pod.Status.Phase != corev1.PodPending:
		return ""
	case !scheduled && isGated(pod):
		return fmt.Sprintf("The space of ResourceClaim %s is ready, but pod %s is not scheduled: it has scheduling gates.", claim.Name, pod.Name)
	case !scheduled && (message == "" || reserved):
		return ""
	case !scheduled && strings.Contains(message, "exclusive and in use"):
		return fmt.Sprintf("ResourceClaim %s has a space for one pod at a time, and pod %s is not that one: %s.%s", claim.Name, pod.Name, message, strategyHint(pod))
	case !scheduled:
		return fmt.Sprintf("The space of ResourceClaim %s is ready, but there is no node for pod %s to use it on: %s.", claim.Name, pod.Name, message)
	case failed == nil || hasStarted(pod):
		return ""
	case strings.Contains(failed.Message, s.driver+" is not registered"):
		return fmt.Sprintf("The space of ResourceClaim %s is ready, but the kubelet plugin does not run on node %s, which pod %s needs: %s.", claim.Name, pod.Spec.NodeName, pod.Name, reported(failed))
	default:
		return fmt.Sprintf("The space of ResourceClaim %s is ready, but node %s could not prepare it for pod %s: %s. The kubelet retries after one to two minutes.", claim.Name, pod.Spec.NodeName, pod.Name, reported(failed))
	}
}

// whyRemaining explains why the namespace of a deprovisioned space of a claim still exists: the given
// one, or the first in the order of states below. It returns nothing if there is none.
func (s *snapshot) whyRemaining(namespace, name, space string) string {
	spaces := slices.DeleteFunc(s.deprovisionedSpaces(namespace, name), func(d spaceSummary) bool { return space != "" && d.Space != space })
	text := fmt.Sprintf("A space of ResourceClaim %s is deprovisioned, and its credentials are revoked. Its namespace ", name)
	for _, state := range []string{spaceapi.ReasonDeprovisioningFailed, stateContentRemaining, stateTerminating, stateRetained, stateDeprovisioning} {
		d := find(spaces, func(d *spaceSummary) bool { return d.State == state })
		switch {
		case d == nil:
			continue
		case state == spaceapi.ReasonDeprovisioningFailed:
			return fmt.Sprintf(reasons[state], name, d.Message)
		case state == stateContentRemaining:
			return text + fmt.Sprintf("%s still exists: %s.%s The driver only removes finalizers of RoleBindings. The next space does not wait for it.", d.Space, d.Message, s.deletionAdvice(d.Space))
		case state == stateTerminating:
			return text + fmt.Sprintf("%s is being deleted: %s.", d.Space, cmp.Or(d.Message, "that usually takes a few seconds"))
		case state == stateRetained:
			return text + fmt.Sprintf("%s is retained for debugging until %s.", d.Space, d.RetainedUntil)
		default:
			return fmt.Sprintf("A space of ResourceClaim %s is to be deprovisioned. Until then, its credentials may be valid, and its namespace %s exists. That usually takes a second or two: check that the controller runs and has a leader.", name, d.Space)
		}
	}
	return ""
}

// schedulerMessage returns the reason why the scheduler could not schedule a pod, or nothing.
func schedulerMessage(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason != corev1.PodReasonSchedulingGated {
			return clause(c.Message)
		}
	}
	return ""
}

// lastEvent returns the last event about an object with one of the reasons and some text in its
// message, or nil.
func (s *snapshot) lastEvent(object types.UID, text string, reasons ...string) *corev1.Event {
	var last *corev1.Event
	for i, e := range s.events {
		if e.InvolvedObject.UID == object && strings.Contains(e.Message, text) && slices.Contains(reasons, e.Reason) &&
			(last == nil || !e.LastTimestamp.Before(&last.LastTimestamp)) {
			last = &s.events[i]
		}
	}
	return last
}

// reported returns the message of an event, and which component reports it. A user who can create
// events can name any component.
func reported(e *corev1.Event) string {
	return fmt.Sprintf("%s (event from %s)", clause(e.Message), cmp.Or(e.Source.Component, e.ReportingController, unknown))
}

func isGated(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated
	})
}

// hasStarted reports whether a container of the pod ran, so its claims were prepared.
func hasStarted(pod *corev1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses), func(c corev1.ContainerStatus) bool {
		return c.State.Running != nil || c.State.Terminated != nil || c.RestartCount > 0
	})
}
